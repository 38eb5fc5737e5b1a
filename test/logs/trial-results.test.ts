/** What Ray prints of RLlib: each trial is a run, and a result is whole or torn. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { unaccounted } from '../../src/model/log.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

const TEXT = readFileSync(join(projectRoot, 'fixtures/printed/rllib/input.log'), 'utf8');
const read = async (text: string) =>
  finishLog(
    await readRawStream(
      (async function* () {
        yield Buffer.from(text);
      })(),
      'input.log',
    ),
    { sidecars: false },
  );
const result = (trial: string, step: number, loss: string): string =>
  `Result for ${trial}:\n  info:\n    learner:\n      default_policy:\n        total_loss: ${loss}\n  training_iteration: ${step}\n  \n\n`;

it('trials that take turns are runs, and one that is lost is none of the other', async () => {
  const text = Array.from({ length: 40 }, (_, k) =>
    [
      result('PPO_a_00000', k + 1, `${10 - 0.1 * k}`),
      result('PPO_a_00001', k + 1, k < 25 ? `${10 - 0.1 * k}` : '.nan'),
    ].join(''),
  ).join('');
  const { runs, account } = await read(text);
  expect(unaccounted(account)).toBe(0);
  expect(runs.map((run) => [run.id, judgeRun(run).verdict])).toEqual([
    [expect.stringContaining('PPO_a_00000'), expect.objectContaining({ class: 'healthy' })],
    [expect.stringContaining('PPO_a_00001'), expect.objectContaining({ class: 'non-finite', onsetStep: 26 })],
  ]);
  expect(runs.map(({ attempts }) => attempts.length)).toEqual([1, 1]);
});

it('trials that print boxes are runs too, and a number that is cut is none', async () => {
  const box = (trial: string, step: number, loss: string): string =>
    [
      `Trial ${trial} finished iteration ${step} at 2026-11-27 10:09:42. Total running time: 3s`,
      `╭${'─'.repeat(40)}╮`,
      `│ Trial ${trial} result             │`,
      `├${'─'.repeat(40)}┤`,
      '│ checkpoint_dir_name                    │',
      `│ training_iteration ${String(step).padStart(19)} │`,
      `│ loss ${loss.padStart(33)} │`,
      `╰${'─'.repeat(40)}╯`,
      '',
      '',
    ].join('\n');
  const text = Array.from({ length: 40 }, (_, k) =>
    [
      box('f_00000', k + 1, `${10 - 0.1 * k}`),
      box('f_00001', k + 1, k < 25 ? `${10 - 0.1 * k}` : 'nan'),
    ].join(''),
  ).join('');
  const { runs, account } = await read(text);
  expect(unaccounted(account)).toBe(0);
  expect(account.lost).toEqual([]);
  expect(runs.map((run) => [run.id, judgeRun(run).verdict])).toEqual([
    [expect.stringContaining('f_00000'), expect.objectContaining({ class: 'healthy' })],
    [expect.stringContaining('f_00001'), expect.objectContaining({ class: 'non-finite', onsetStep: 26 })],
  ]);
  const cut = await read(box('f', 1, '10') + box('f', 2, '123.5').split('.5')[0]!);
  expect(cut.runs[0]!.series.find(({ name }) => name === 'loss')!.value).toEqual(Float64Array.of(10));
});

it('a result without its iteration is torn; one that lacks no more than its last line is whole', async () => {
  const at = TEXT.lastIndexOf('  timesteps_total');
  const torn = await read(TEXT.slice(0, at));
  expect(torn.runs[0]!.series.find(({ name }) => name === 'episode_reward_mean')!.step).toHaveLength(7);
  expect(torn.account.lost).toEqual([
    expect.objectContaining({ reason: 'torn-record', at: TEXT.lastIndexOf('Result for') }),
  ]);
  const cut = await read(TEXT.slice(0, TEXT.lastIndexOf('_00000')));
  expect(cut.runs[0]!.series.find(({ name }) => name === 'episode_reward_mean')!.step).toHaveLength(8);
});

it('a loss without a value is missing; names below it are none', async () => {
  const losses = async (text: string) =>
    (await read(TEXT.replace('total_loss: 143.9127', text))).runs[0]!.series.filter(({ name }) =>
      name.endsWith('total_loss'),
    ).map(({ missing, refused }) => [missing, refused]);
  expect(await losses('total_loss:')).toEqual([[1, 0]]);
  expect(await losses('total_loss:\n            mean: 3.5')).toEqual([[0, 0]]);
  expect(await losses('total_loss: ***')).toEqual([[0, 1]]);
});

it('a head of other text takes nothing from the lines of a trainer', async () => {
  const lines = (head: string): string =>
    Array.from({ length: 20 }, (_, k) => `step ${k} loss ${20 - k}.5\n${k % 5 === 4 ? head : ''}`).join('');
  const { runs, account } = await read(lines('Result for validation:\n  0.5 of 10\n'));
  expect(runs.map(({ series }) => series.find(({ role }) => role === 'loss')!.step.length)).toEqual([20]);
  expect(account.lost).toEqual([]);
});

it('results of matches are no log', async () => {
  const matches = Array.from(
    { length: 9 },
    (_, k) => `Result for match ${k}:\n  home: ${k}\n  away: 1\n`,
  ).join('');
  await expect(read(matches)).rejects.toThrow();
});
