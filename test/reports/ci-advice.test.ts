/** What the formats for CI say of an incident whose cause is known, and that no two of their cases have one name. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('ci-advice');

/** A loss that falls; from step 150 on, where one is given, at another learning rate and at a level of 40. */
function logOf(rate = 0.1): string {
  const path = join(scratch(), 'log.jsonl');
  const lines = Array.from({ length: 300 }, (_, step) => {
    const wobble = 1 + 0.02 * Math.sin(7 * step);
    const lost = rate !== 0.1 && step > 150;
    return JSON.stringify({
      step,
      loss: (lost ? 40 : 0.5 + Math.exp(-step / 20)) * wobble,
      lr: step < 150 ? 0.1 : rate,
    });
  });
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

const unescaped = (xml: string): string =>
  xml.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));

test.each(['junit', 'github', 'gitlab'])(
  '%s has the cause and the fix of the page, not a rule of thumb',
  async (format) => {
    const path = logOf(5);
    const { out } = await cli(['analyze', path, '--report', `${format}:-`, '--quiet']);
    const text = unescaped(out);
    expect(text).toContain('Why: Likely because the learning rate rose.');
    expect(text).toMatch(/Fix: Keep the learning rate as it was before step 150/);
    expect(text).not.toContain('skip the batches around it');
    const gate = unescaped((await cli(['gate', path, '--settle', '0', '--report', `${format}:-`])).out);
    expect(gate).toMatch(/Fix: Keep the learning rate as it was before step 150/);
  },
);

test('each value of a baseline is a case of its own in JUnit, in every run by the same name', async () => {
  const cwd = scratch();
  writeFileSync(
    join(cwd, '.clippy-diag.yaml'),
    'version: 1\nextends: recommended\nbaseline: { file: base.json }\n',
  );
  cpSync(logOf(), join(cwd, 'log.jsonl'));
  const update = () => cli(['baseline', 'update', 'log.jsonl', '--settle', '0'], { cwd });
  expect((await update()).out).toMatch(/base\.json: 1 run; 1 added\n$/);
  expect((await update()).out).toMatch(/base\.json: 1 run; 1 kept as they were: nothing was better\n$/);
  const names = async () => {
    await cli(['gate', 'log.jsonl', '--settle', '0', '--report', 'junit:junit.xml'], { cwd });
    const xml = unescaped(readFileSync(join(cwd, 'junit.xml'), 'utf8'));
    return [...xml.matchAll(/<testcase name="([^"]*)"/g)].map(([, name]) => name!);
  };
  const first = await names();
  expect(new Set(first).size).toBe(first.length);
  expect(first.filter((name) => name.startsWith('baseline'))).toEqual([
    'baseline: class',
    'baseline: last(loss)',
    'baseline: min(loss)',
  ]);
  cpSync(logOf(5), join(cwd, 'log.jsonl'));
  expect(await names()).toEqual(first);
});

test('an unknown rule of a flag is not said to stand in the config', async () => {
  const cwd = scratch();
  writeFileSync(join(cwd, '.clippy-diag.yaml'), 'version: 1\nextends: recommended\n');
  cpSync(logOf(), join(cwd, 'log.jsonl'));
  const { err, code } = await cli(['gate', 'log.jsonl', '--rule', 'loss-spkie'], { cwd });
  expect(code).toBe(2);
  expect(err).toContain('there is no rule "loss-spkie"');
  expect(err).not.toContain('.clippy-diag.yaml');
});

test('a gate that finds no cause names the capture that it did not replay', async () => {
  const cwd = scratch();
  cpSync('fixtures/incident', join(cwd, 'run'), { recursive: true });
  const { out } = await cli(['gate', 'run', '--settle', '0', '--report', 'markdown:-'], { cwd });
  expect(out).toContain('A capture is in the folder of the log, and a gate does not replay it');
  expect(out).not.toContain('A capture with batches and a model would tell');
});

test('an annotation of the gate is not said again by the finding that it tells', async () => {
  const { out } = await cli(['gate', logOf(5), '--settle', '0', '--report', 'github:-']);
  const annotations = out.split('\n').filter((line) => line.startsWith('::error'));
  expect(annotations).toHaveLength(1);
  expect(annotations[0]).toContain('gate%3A full-divergence');
  // Without a gate the finding tells it.
  const alone = await cli(['analyze', logOf(5), '--quiet', '--report', 'github:-']);
  expect(alone.out.match(/^::error .*title=clippy-diag%3A full-divergence/gm)).toHaveLength(1);
});

test.each(['markdown', 'html'])(
  '%s says of a healthy run what was not there to be checked',
  async (format) => {
    const { out } = await cli(['analyze', logOf(), '--quiet', '--report', `${format}:-`]);
    expect(out).toMatch(/\d+ of \d+ loss records judged .*· not seen: gradient norm, checkpoint, capture/);
  },
);
