/** The answer in a kilobyte: what it holds, that it fits, and that it says what the page says. */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BRIEF_BYTES, type Brief } from '../../src/model/brief.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { briefOf, briefText } from '../../src/report/kilobyte-brief.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';
import { fullReport } from './full-report.ts';

const incident = 'fixtures/incident/log.jsonl';
const newFolder = scratchFolders('kilobyte-brief');
const size = (text: string): number => Buffer.byteLength(text, 'utf8');

const jsonBrief = async (...args: string[]): Promise<Brief> => {
  const { out } = await cli([...args, '--brief', '--json']);
  return (JSON.parse(out) as { brief: Brief }).brief;
};

describe('over the fixtures of every log format', () => {
  const formats = readdirSync(join(projectRoot, 'fixtures/formats'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);

  it.each(formats)('%s: at most 1,024 bytes, with the title and the proofs of the report', async (name) => {
    const args = ['analyze', join('fixtures/formats', name), '--budget', '0', '--no-config'];
    const page = await cli([...args, '--json']);
    const { out, code } = await cli([...args, '--brief']);
    expect(code).toBe(page.code);
    if (code === 3) {
      expect(out).toBe('');
      return;
    }
    const report = parseReport(page.out, 'report.json');
    const run = report.runs.find(({ id }) => id === briefOf(report).run);
    expect(size(out)).toBeLessThanOrEqual(BRIEF_BYTES);
    expect(out).toMatch(/^Next: clippy-diag /m);
    if (run === undefined) return;
    expect(out.startsWith(answerOf(run, report).title)).toBe(true);
    expect(out).toMatch(/^Proofs: judged (yes|NO|unknown) \(/m);
  });
});

it('a log of a folder that was not read makes none of several runs doubtful, and the only one', async () => {
  const folder = newFolder();
  const source = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');
  const other = readFileSync(source, 'utf8').replaceAll(/"loss":(\d+)/g, '"loss":1$1');
  copyFileSync(source, join(folder, 'a.jsonl'));
  writeFileSync(join(folder, 'odd.log'), 'nothing of a training\n');
  expect((await jsonBrief('analyze', folder)).runs).toMatchObject({ total: 1, bad: 0, doubtful: 1 });
  writeFileSync(join(folder, 'b.jsonl'), other);
  expect((await jsonBrief('analyze', folder)).runs).toMatchObject({ total: 2, bad: 0, doubtful: 0 });
  expect((await cli(['analyze', folder, '--brief'])).out).toMatch(/^Beware: .*odd\.log/m);
});

describe('one run', () => {
  it('says what happened, where, and the command that tells more', async () => {
    const { out } = await cli(['analyze', incident, '--brief']);
    expect(out).toMatch(/^DIVERGED at step 400: loss /);
    expect(out).toMatch(/^Run: .*log\.jsonl/m);
    expect(out).toMatch(/^Proofs: judged yes \(.*\); learnt \w+ \(.*\); whole \w+ \(.*\)$/m);
    expect(out).toMatch(/^Next: clippy-diag explain [\w-]+$/m);
  });

  it('is the same answer as JSON', async () => {
    const brief = await jsonBrief('analyze', incident);
    expect(brief).toMatchObject({
      verdict: 'full-divergence',
      onsetStep: 400,
      recoveredStep: null,
      runs: { total: 1, bad: 1, doubtful: 0 },
      gate: null,
    });
    expect(brief.proofs?.judged.holds).toBe(true);
    expect((await cli(['analyze', incident, '--brief'])).out).toBe(briefText(brief));
  });

  it('takes cause, remedy and code from the report, as the page does', () => {
    const report = fullReport();
    const brief = briefOf(report);
    const { parts } = answerOf(report.runs.find(({ id }) => id === brief.run)!, report);
    const partOf = (label: string) => parts.find((part) => part.label === label);
    expect(brief.why).toBe((partOf('Why') ?? partOf('Code') ?? partOf('Where'))!.text);
    expect(brief.fix).toBe(partOf('Fix')!.text);
    expect(brief.also).toBe(partOf('Also')!.text);
    expect(brief.code).toBe(partOf('Fix')!.code ?? null);
    expect(size(briefText(brief))).toBeLessThanOrEqual(BRIEF_BYTES);
  });

  it('says of a healthy run that it is healthy and what that rests on', async () => {
    const { out } = await cli(['analyze', '-', '--brief', '--no-config'], {
      input: Array.from({ length: 600 }, (_, i) =>
        JSON.stringify({ step: i, loss: 0.5 + 2 * Math.exp(-i / 60) + 0.01 * Math.sin(i * 12.9898) }),
      ).join('\n'),
    });
    expect(out).toMatch(/^HEALTHY: loss 2\.5 → 0\.5/);
    expect(out).toMatch(/^Next: clippy-diag analyze FILE --verbose$/m);
    expect(out).toMatch(/judged yes \(.*\); learnt \w+ /);
  });

  it('says of a cut document that not all was read', async () => {
    const log = join(newFolder(), 'log.jsonl');
    const rows = Array.from({ length: 300 }, (_, i) => JSON.stringify({ step: i, loss: 1 + 1 / (i + 1) }));
    writeFileSync(log, [...rows.slice(0, 150), '{"step": 150, "lo', ...rows.slice(151)].join('\n'));
    expect((await jsonBrief('analyze', log, '--no-config')).beware).toMatch(/line|record/);
  });
});

describe('several runs', () => {
  it('counts them and leads with the worst', async () => {
    const folder = newFolder();
    for (let k = 0; k < 9; k++)
      writeFileSync(
        join(folder, `run${k}.jsonl`),
        Array.from({ length: 400 }, (_, i) => {
          const calm = 0.5 + 2 * Math.exp(-i / 50) + 0.02 * Math.sin((i + 31 * k) * 12.9898 * (k + 1));
          return JSON.stringify({ step: i, loss: k % 4 === 1 && i > 250 ? 90 + k + calm : calm });
        }).join('\n'),
      );
    const { out } = await cli(['analyze', folder, '--brief', '--no-config']);
    expect(out).toMatch(/^DIVERGED at step 251/);
    expect(out).toMatch(/^Runs: 9 runs, 2 bad.*: run1\.jsonl DIVERGED.*run5\.jsonl DIVERGED/m);
    expect(out).toMatch(/^Next: clippy-diag analyze \S*run1\.jsonl$/m);
  });
});

it('a gate leads with what fails, and keeps its exit code', async () => {
  const args = ['gate', incident, '--brief', '--no-config', '--rule', 'full-divergence'];
  const { code, out } = await cli(args);
  expect(code).toBe(1);
  expect(out).toMatch(/^Gate: failed \(exit code 1\): full-divergence$/m);
  expect((await jsonBrief('gate', incident, '--no-config', '--rule', 'full-divergence')).gate).toEqual({
    passed: false,
    exitCode: 1,
    failed: ['full-divergence'],
  });
});

describe('size', () => {
  it('cuts the longest lines, between characters, and marks the cut', async () => {
    const text = briefText({
      ...(await jsonBrief('analyze', incident)),
      why: 'Ünter den Wörtern. '.repeat(200),
      fix: '日本語'.repeat(400),
      also: '😀'.repeat(300),
    });
    expect(size(text)).toBeLessThanOrEqual(BRIEF_BYTES);
    expect(size(text)).toBeGreaterThan(BRIEF_BYTES - 100);
    expect(text).toMatch(/^DIVERGED at step 400: .*no recovery$/m);
    for (const label of ['Why', 'Fix', 'Also']) expect(text).toMatch(new RegExp(`^${label}: .* …$`, 'm'));
    expect(text).not.toContain('\ufffd');
    expect(text).toMatch(/^Next: clippy-diag explain [\w-]+$/m);
  });

  it('does not shorten what fits', async () => {
    expect(briefText(await jsonBrief('analyze', incident))).not.toContain(' …');
  });
});

it('a saved brief is no log', async () => {
  const folder = newFolder();
  copyFileSync(join(projectRoot, incident), join(folder, 'log.jsonl'));
  writeFileSync(join(folder, 'brief.json'), (await cli(['analyze', incident, '--brief', '--json'])).out);
  const { out } = await cli(['analyze', folder, '--json']);
  expect(JSON.parse(out)).toMatchObject({
    skipped: [{ path: join(folder, 'brief.json'), reason: 'a report of clippy-diag' }],
  });
});
