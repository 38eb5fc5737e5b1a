/** The rule `audit`: any broken link fails it, and a recording that decides nothing does not pass it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AUDIT_LINKS } from '../../src/model/audit.ts';
import { type Plan, record } from '../audit/training.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('audit-rule');
const PLAN: Plan = { optimizer: 'adamw', seed: 7, clip: 8, weightDecay: 0.02 };
/** The recorded losses are noise, so only the rule that is tried may decide. */
const ONLY = ['--settle', '0', '--no-config', '--rule'];

async function captureOf(plan: Partial<Plan>): Promise<string> {
  const folder = join(scratch(), 'capture');
  await record(folder, { ...PLAN, ...plan });
  return folder;
}

const FAULTS = [
  ['audit-clip', { clipInactive: true }, 'clip-inactive'],
  ['audit-optimizer', { rateTimes: 2 }, 'rate-factor'],
  ['audit-gradient', { noZeroGrad: true }, 'no-zero-grad'],
] as const;

test.each(FAULTS)(
  '%s fails the rule audit, its own rule, and no rule of another link',
  async (id, fault, cause) => {
    const capture = await captureOf({ fault });
    for (const rule of ['audit', 'capture-mismatch', id]) {
      const { code, out } = await cli(['gate', capture, ...ONLY, rule]);
      expect([rule, code]).toEqual([rule, 1]);
      expect(out).toContain(`FAIL  ${rule === 'capture-mismatch' ? 'audit' : rule}  ${cause}`);
    }
    const other = await cli(['gate', capture, ...ONLY, 'audit-batch']);
    expect(other.out).not.toContain('FAIL');
  },
);

test('a training that does what it declares passes, and one whose weights were not compared does not', async () => {
  const healthy = await cli(['gate', await captureOf({}), ...ONLY, 'audit']);
  expect([healthy.code, healthy.out]).toEqual([0, expect.stringContaining('pass  audit')]);
  const short = await cli(['gate', await captureOf({ every: 1000 }), ...ONLY, 'audit']);
  expect([short.code, short.out]).toEqual([
    4,
    expect.stringContaining('the capture holds the weights before its first step only'),
  ]);
});

test('without a capture the rule is inconclusive where it was asked for, and no part of the preset', async () => {
  const log = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');
  const asked = await cli(['gate', log, ...ONLY, 'audit']);
  expect([asked.code, asked.out]).toEqual([
    4,
    expect.stringContaining('no capture is in the folder of the log'),
  ]);
  const preset = JSON.parse((await cli(['gate', log, '--settle', '0', '--json'])).out);
  expect(preset.gate.exitCode).toBe(0);
  expect(preset.gate.skipped).toContainEqual(expect.objectContaining({ id: 'audit' }));
});

test('JUnit, SARIF and JSON of a gate have the finding, its fix and its page', async () => {
  const capture = await captureOf({ fault: { normTimes: 0.5 } });
  const folder = scratch();
  const targets = ['json', 'junit', 'sarif'].flatMap((format) => [
    '--report',
    `${format}:${join(folder, format)}`,
  ]);
  expect((await cli(['gate', capture, ...ONLY, 'audit', ...targets])).code).toBe(1);
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const [run] = JSON.parse(read('json')).runs;
  expect(run.audit.links[0]).toMatchObject({ link: 'clip', cause: 'clip-norm-factor' });
  expect(run.findings).toContainEqual(
    expect.objectContaining({
      id: 'audit-clip',
      severity: 'error',
      measured: expect.objectContaining({ unit: '1' }),
    }),
  );
  expect(read('junit')).toContain('clip-norm-factor');
  const { results, tool } = JSON.parse(read('sarif')).runs[0];
  expect(results.map(({ ruleId }: { ruleId: string }) => ruleId)).toContain('audit-clip');
  expect(tool.driver.rules.map(({ id }: { id: string }) => id)).toContain('audit-clip');
});

test('every link has a kind of finding, with a page', async () => {
  for (const link of AUDIT_LINKS) {
    const { code, out } = await cli(['explain', `audit-${link}`]);
    expect([code, out]).toEqual([0, expect.stringContaining(`audit-${link}`)]);
  }
});
