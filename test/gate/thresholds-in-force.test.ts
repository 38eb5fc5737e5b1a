/** One set of thresholds for analyze, watch, gate and a saved report, whether a config, a flag or a program sets them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import type { ThresholdOverrides } from '../../src/judge/findings/thresholds.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { fallingLoss } from '../detectors/runs.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('thresholds');

/** A loss that climbs to three times its best level: a drift, unless the ratio that counts as one is larger. */
const climbing = fallingLoss(1000, 1, 0.02).map((v, i) => (i < 600 ? v : v * (1 + (i - 600) / 200)));

/** A folder with that log, and a config where one is given. */
function project(config?: string, log = 'log.jsonl'): string {
  const at = folder();
  mkdirSync(join(at, 'nightly'));
  writeFileSync(join(at, log), climbing.map((loss, step) => `${JSON.stringify({ step, loss })}\n`).join(''));
  if (config !== undefined) writeFileSync(join(at, '.clippy-diag.yaml'), `version: 1\n${config}`);
  return at;
}

const TOLERANT = 'extends: recommended\nrules: { drift: [error, { driftRatio: 4 }] }\n';

const runOf = (out: string): RunReport => (JSON.parse(out) as Report).runs[0]!;

describe('analyze, watch, gate and a saved report', () => {
  const commands = {
    analyze: ['analyze', 'log.jsonl', '--json'],
    watch: ['watch', 'log.jsonl', '--json', '--idle-exit', '1'],
    gate: ['gate', 'log.jsonl', '--json'],
  };

  test.each(Object.entries(commands))(
    '%s: the default, the config, the flag, and no config',
    async (_, args) => {
      const judged = async (cwd: string, ...more: string[]) => {
        const { verdict, thresholds } = runOf((await cli([...args, ...more], { cwd })).out);
        return [verdict.class, thresholds];
      };
      const tolerant = ['healthy', { drift: { driftRatio: 4 } }];
      expect(await judged(project())).toEqual(['drift', undefined]);
      expect(await judged(project(TOLERANT))).toEqual(tolerant);
      expect(await judged(project(), '--threshold', 'drift.driftRatio=4')).toEqual(tolerant);
      // The flag outranks the config.
      expect((await judged(project(TOLERANT), '--threshold', 'drift.driftRatio=1.4'))[0]).toBe('drift');
      const rules = args[0] === 'gate' ? ['--rule', 'drift'] : [];
      expect((await judged(project(TOLERANT), '--no-config', ...rules))[0]).toBe('drift');
      const other = project();
      writeFileSync(join(other, 'mine.yaml'), `version: 1\n${TOLERANT}`);
      expect(await judged(other, '--config', 'mine.yaml')).toEqual(tolerant);
    },
  );

  test.each(Object.entries(commands))('%s refuses what is none, with the nearest name', async (_, args) => {
    const refused = async (...more: string[]) => {
      const { code, err } = await cli([...args, ...more], { cwd: project() });
      return `${code} ${err}`;
    };
    expect(await refused('--threshold', 'drift.driftRatoi=4')).toMatch(
      /^2 .*"driftRatoi".*did you mean driftRatio\?/s,
    );
    expect(await refused('--threshold', 'drfit.driftRatio=4')).toMatch(/^2 .*"drfit".*did you mean drift\?/s);
    expect(await refused('--threshold', 'drift.driftRatio=0.1')).toMatch(/^2 .*0\.1.*from 1/s);
    for (const text of [
      'drift.driftRatio',
      'drift=4',
      'drift.driftRatio=',
      'drift.driftRatio=0x10',
      'driftRatio=4',
    ])
      expect(await refused('--threshold', text)).toMatch(/^2 /);
    const twice = ['--threshold', 'full-divergence.incidentRatio=9', '--threshold'];
    expect(await refused(...twice, 'micro-divergence.incidentRatio=10')).toMatch(/^2 .*9 and .*10/s);
    const config = project('extends: recommended\nrules: { drift: [error, { driftRatio: -1 }] }\n');
    expect((await cli(args, { cwd: config })).code).toBe(2);
  });

  test('an override of a config holds for the runs that it names', async () => {
    const config = `extends: recommended
rules: { drift: error }
overrides: [{ runs: "nightly/**", rules: { drift: [error, { driftRatio: 4 }] } }]
`;
    const code = async (log: string): Promise<(number | null)[]> => {
      const cwd = project(config, log);
      const found = await cli(['analyze', log, '--fail-on', 'warning'], { cwd });
      return [found.code, (await cli(['gate', log], { cwd })).code];
    };
    expect(await code('nightly/log.jsonl')).toEqual([0, 0]);
    expect(await code('log.jsonl')).toEqual([1, 1]);
  });

  test('a gate that asks for other thresholds than a report was made with is inconclusive, and says so', async () => {
    const cwd = project();
    const saved = async (...more: string[]): Promise<void> => {
      await cli(['analyze', 'log.jsonl', '--report', 'json:r.json', ...more], { cwd });
    };
    const gate = (...more: string[]) => cli(['gate', 'r.json', '--rule', 'drift', ...more], { cwd });
    await saved();
    expect((await gate()).code).toBe(1);
    // Not failed: by the numbers that are asked for it may be well.
    expect(await gate('--threshold', 'drift.driftRatio=4')).toMatchObject({
      code: 4,
      out: expect.stringContaining(
        'the report was made with the default thresholds, the gate asks for drift.driftRatio 4',
      ) as string,
    });
    await saved('--threshold', 'drift.driftRatio=4');
    expect((await gate('--threshold', 'drift.driftRatio=4')).code).toBe(0);
    expect(await gate()).toMatchObject({
      code: 4,
      out: expect.stringContaining('the report was made with drift.driftRatio 4') as string,
    });
    // What was measured is what it is, by whatever numbers the run was judged.
    expect((await cli(['gate', 'r.json', '--no-config', '--rule', 'min(loss) <= 1'], { cwd })).code).toBe(0);
    // The same number under the name of another finding is the same.
    await saved('--threshold', 'full-divergence.incidentRatio=1.3');
    expect((await gate('--threshold', 'micro-divergence.incidentRatio=1.3')).code).toBe(1);
    // A baseline's class is judged by thresholds too.
    await cli(['baseline', 'update', 'log.jsonl'], { cwd });
    writeFileSync(
      join(cwd, 'base.yaml'),
      'version: 1\nrules: { "min(loss) <= 1": error }\nbaseline: { file: .clippy-diag-baseline.json }\n',
    );
    expect((await cli(['gate', 'r.json', '--config', 'base.yaml'], { cwd })).code).toBe(4);
    await saved();
    expect((await cli(['gate', 'r.json', '--config', 'base.yaml'], { cwd })).code).toBe(0);
  });

  test('a report by other thresholds says so in every format for people, and is read back', async () => {
    const cwd = project();
    const formats = Object.keys(REPORT_FORMATS).flatMap((f) => ['--report', `${f}:${f}.out`]);
    await cli(['analyze', 'log.jsonl', '--threshold', 'drift.driftRatio=4', ...formats], { cwd });
    for (const format of ['text', 'html', 'markdown'])
      expect(readFileSync(join(cwd, `${format}.out`), 'utf8').replace(/\s+/g, ' '), format).toContain(
        'thresholds other than the defaults: drift.driftRatio 4',
      );
    expect(runOf(readFileSync(join(cwd, 'json.out'), 'utf8')).thresholds).toEqual({
      drift: { driftRatio: 4 },
    });
  });
});

test('a program sets them with typed names, and is refused before anything is read', async () => {
  const at = project();
  const judged = (thresholds: ThresholdOverrides) =>
    analyze([join(at, 'log.jsonl')], { thresholds, toolVersion: '0', now: () => new Date(0) });
  expect((await judged({})).verdict.class).toBe('drift');
  expect((await judged({ drift: { driftRatio: 4 } })).verdict.class).toBe('healthy');
  await expect(
    analyze(['no-such-file'], {
      // @ts-expect-error: no such threshold
      thresholds: { drift: { driftRatoi: 4 } },
      toolVersion: '0',
      now: () => new Date(0),
    }),
  ).rejects.toMatchObject({ code: 'threshold-unknown' });
});
