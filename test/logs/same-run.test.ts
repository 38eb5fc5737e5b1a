/** Of one training what was printed and the trainer's own log are one run; two trainings, and parts of one, are not. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('same-run');

/** A noisy loss that falls; other seeds, other noise. */
const lossAt = (k: number, seed = 0): number =>
  0.5 + 3 / (k + 1) + 0.1 * Math.sin(12.9898 * k + 78.233 * seed + k * k);
const COUNT = 40;
const losses = (seed = 0, count = COUNT): number[] =>
  Array.from({ length: count }, (_, k) => lossAt(k, seed));

/** What the Trainer prints: four digits, the epoch and no step. */
const printed = (values: readonly number[], more = ''): string =>
  values
    .map(
      (loss, k) =>
        `{'loss': '${Number(loss.toPrecision(4))}', 'learning_rate': '0.001'${more}, 'epoch': '${(k + 1) / 10}'}\n`,
    )
    .join('');
const trainerState = (values: readonly number[]): string =>
  JSON.stringify({
    global_step: 5 * values.length,
    log_history: values.map((loss, k) => ({
      epoch: (k + 1) / 10,
      learning_rate: 0.001,
      loss,
      step: 5 * (k + 1),
    })),
  });
const csv = (values: readonly number[], column = 'loss', first = 0, stride = 1): string =>
  `step,${column}\n${values.map((loss, k) => `${first + k * stride},${loss}\n`).join('')}`;
const STATE = 'out/checkpoint-200/trainer_state.json';

async function found(files: Readonly<Record<string, string>>) {
  const root = scratch();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const { logs, skipped, errors } = await collectInputs([root]);
  expect(errors).toEqual([]);
  return {
    root,
    read: logs.map(({ path }) => relative(root, path)).sort(),
    told: skipped.map(({ path, reason, sameRun }) => ({
      path: relative(root, path),
      reason: reason.replaceAll(`${root}/`, ''),
      by: sameRun === undefined ? undefined : relative(root, sameRun),
    })),
  };
}
const BOTH = [STATE, 'stdout.txt'];

describe('one run', () => {
  it('what a Trainer printed and what it saved: the one with steps and all digits stays, and the page says so', async () => {
    const { root, read, told } = await found({
      [STATE]: trainerState(losses()),
      'stdout.txt': printed(losses()),
    });
    expect(read).toEqual([STATE]);
    expect(told).toEqual([
      { path: 'stdout.txt', reason: `the same run as ${STATE}, where each of its losses stands`, by: STATE },
    ]);
    const report = await analyze([root], { toolVersion: '0', now: () => new Date(0) });
    expect(report.runs).toHaveLength(1);
    expect(answerOf(report.runs[0]!, report).facts).toContain(
      ' · also in stdout.txt · 40 points · steps 5 to 200',
    );
  });
  it('of two that end at different steps the longer one stays, so that no incident is lost', async () => {
    const broke = [...losses().slice(0, 35), Number.NaN, Number.NaN];
    const { read, told } = await found({
      [STATE]: trainerState(losses(0, 30)),
      'stdout.txt': printed(broke).replaceAll("'NaN'", "'nan'"),
    });
    expect(read).toEqual(['stdout.txt']);
    expect(told[0]).toMatchObject({ path: STATE, by: 'stdout.txt' });
  });
  it('what else a log tells is named', async () => {
    const { read, told } = await found({
      [STATE]: trainerState(losses()),
      'stdout.txt': printed(losses(), ", 'accuracy': '0.5'"),
    });
    // The fuller one of two of a length.
    expect(read).toEqual(['stdout.txt']);
    const shorter = await found({
      [STATE]: trainerState(losses()),
      'stdout.txt': printed(losses(0, 30), ", 'accuracy': '0.5'"),
    });
    expect(shorter.read).toEqual([STATE]);
    expect(shorter.told[0]!.reason).toMatch(/stands; it adds accuracy$/);
    expect(told).toHaveLength(1);
  });
  it('an event file holds single precision, and its writer puts a prefix before the names', async () => {
    const rows = losses().map((loss, step) => JSON.stringify({ step: step + 1, loss }));
    const single = csv(losses().map(Math.fround), 'ray/tune/loss', 1);
    const { read, told } = await found({
      'trial/result.json': rows.join('\n'),
      'trial/progress.csv': single,
    });
    expect(read).toEqual(['trial/result.json']);
    expect(told[0]).toMatchObject({ path: 'trial/progress.csv', by: 'trial/result.json' });
    // One value that is another one makes two runs of them.
    const other = csv(
      losses().map((loss, k) => Math.fround(k === 30 ? loss * 1.0001 : loss)),
      'ray/tune/loss',
      1,
    );
    expect(
      (await found({ 'trial/result.json': rows.join('\n'), 'trial/progress.csv': other })).read,
    ).toHaveLength(2);
  });

  it('every fifth step, counted from 0, beside every one that a bar shows', async () => {
    const fifths = losses().filter((_, k) => k % 5 === 4);
    const { read } = await found({
      'metrics.csv': csv(fifths, 'loss', 4, 5),
      'stdout.txt': losses()
        .map((loss, k) => `step ${k + 1} loss ${loss.toFixed(3)}\n`)
        .join(''),
    });
    expect(read).toEqual(['stdout.txt']);
  });
});

describe('two logs stay', () => {
  const other = (k: number): number[] => losses().map((loss, i) => (i === k ? loss * 1.01 : loss));
  it.each([
    ['two seeds', { [STATE]: trainerState(losses(0)), 'stdout.txt': printed(losses(1)) }, BOTH],
    ['one loss differs', { [STATE]: trainerState(losses()), 'stdout.txt': printed(other(20)) }, BOTH],
    ['the last loss differs', { [STATE]: trainerState(losses()), 'stdout.txt': printed(other(39)) }, BOTH],
    [
      'a loss that only the printed one has not as a number',
      {
        [STATE]: trainerState(losses()),
        'stdout.txt': printed([...losses(0, 39), Number.NaN]).replace("'NaN'", "'nan'"),
      },
      BOTH,
    ],
    ['few points', { [STATE]: trainerState(losses(0, 4)), 'stdout.txt': printed(losses(0, 4)) }, BOTH],
    [
      'a loss that stands still tells nothing',
      { [STATE]: trainerState(losses().fill(0.4321)), 'stdout.txt': printed(losses().fill(0.4321)) },
      BOTH,
    ],
    [
      'a resumed run: what follows is no part of what was before',
      { 'a.csv': csv(losses(0, 80).slice(0, 40)), 'stdout.txt': printed(losses(0, 80).slice(40)) },
      ['a.csv', 'stdout.txt'],
    ],
    [
      'folders beside each other',
      { 'a/trainer_state.json': trainerState(losses()), 'b/stdout.txt': printed(losses()) },
      ['a/trainer_state.json', 'b/stdout.txt'],
    ],
    ['one format', { 'a.csv': csv(losses()), 'b.csv': csv(losses()) }, ['a.csv', 'b.csv']],
    [
      'a gradient norm that only the shorter one has',
      { [STATE]: trainerState(losses()), 'stdout.txt': printed(losses(0, 30), ", 'grad_norm': '1.5'") },
      BOTH,
    ],
  ])('%s', async (_, files, expected) => {
    const { read, told } = await found(files);
    expect(read).toEqual([...expected]);
    expect(told.filter(({ by }) => by !== undefined)).toEqual([]);
  });
});

describe('how the process ended is told by the printed log alone', () => {
  const crash =
    'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\nRuntimeError: CUDA out of memory\n';
  const jobOf = async (own: string, text: string) => {
    const root = scratch();
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'log.csv'), own);
    writeFileSync(join(root, 'stdout.log'), text);
    const { logs } = await collectInputs([root]);
    expect(logs).toHaveLength(1);
    return logs[0]!.runs[0]!.job;
  };
  const lines = losses().map((loss, k) => `step ${k} loss ${loss.toFixed(4)}\n`);
  const text = lines.join('');

  it('and stays with the run', async () => {
    const counted = await jobOf(csv(losses()), text + crash);
    expect(counted).toMatchObject({ ended: 'crashed', at: { step: COUNT - 1 } });
    expect(counted!.at!.path).toMatch(/stdout\.log$/);
    expect(await jobOf(csv(losses(), 'loss', 1), text + crash)).toMatchObject({ ended: 'crashed' });
    // The Trainer prints no step.
    expect(await jobOf(csv(losses(), 'loss', 5, 5), printed(losses()) + crash)).toMatchObject({
      ended: 'crashed',
    });
  });

  it('not where the run went on, nor where nothing went wrong', async () => {
    const until = lines.slice(0, COUNT / 2).join('');
    expect((await jobOf(csv(losses()), until + crash))?.ended).not.toBe('crashed');
    expect((await jobOf(csv(losses()), text))?.ended).not.toBe('crashed');
  });
});
