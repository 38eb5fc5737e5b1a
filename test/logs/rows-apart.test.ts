/** Tables with a column called a loss whose rows are no steps of one training. */
import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Role } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

const count = 30;
const losses = Array.from({ length: count }, (_, k) => (k === 20 ? 243.2 : 25.5 + (k % 4)));
const table = (header: string, row: (k: number) => string): string =>
  `${header}\n${losses.map((_, k) => row(k)).join('\n')}\n`;
const day = (k: number): string => `2024-03-${String(k + 1).padStart(2, '0')}`;

async function open(text: string, name = 'table.csv', roles: [string, Role][] = []) {
  const chunks = (async function* () {
    yield Buffer.from(text);
  })();
  const { runs } = await finishLog(await readRawStream(chunks, name), {
    sidecars: false,
    roles: new Map(roles),
  });
  return { verdict: judgeRun(runs[0]!).verdict, notes: runs[0]!.notes.join('\n') };
}

describe('rows that are things of their own', () => {
  it.each<[string, string, string]>([
    [
      'the trials of a search',
      table('trial_number,lr,loss', (k) => `${k},0.0${k + 1},${losses[k]}`),
      'table.csv',
    ],
    [
      'trials in JSON lines',
      losses
        .map((loss, k) => `${JSON.stringify({ trial: k, lr: 0.1 / (k + 1), val_loss: loss })}\n`)
        .join(''),
      'table.jsonl',
    ],
    [
      'the places of a leaderboard',
      table('rank,team,private_loss', (k) => `${k + 1},team ${k},${losses[k]}`),
      'table.csv',
    ],
    ['the days of a calendar', table('Date,Losses', (k) => `${day(k)},${losses[k]}`), 'table.csv'],
  ])('%s have no loss of one training', async (_, text, name) => {
    const { verdict, notes } = await open(text, name);
    expect(verdict).toMatchObject({ class: 'inconclusive', series: null });
    expect(verdict.why).toMatch(/^No series of this log is read as a loss: .*--map loss=NAME/);
    expect(notes).toMatch(
      /each row is an item of its own by "\w+", so that "\w+" is not a loss of one training/,
    );
  });

  it('have one where a user names it', async () => {
    const text = table('trial_number,lr,loss', (k) => `${k},0.0${k + 1},${losses[k]}`);
    expect((await open(text, 'table.csv', [['loss', 'loss']])).verdict.series).toBe('loss');
  });
});

describe('rows of one training', () => {
  it.each<[string, string]>([
    ['beside the trial that it is', table('trial,loss', (k) => `3,${losses[k]}`)],
    ['by an epoch', table('trial_id,epoch,loss', (k) => `${k},${k},${losses[k]}`)],
    ['with a day and a clock', table('date,time,loss', (k) => `${day(k % 2)},10:${10 + k}:00,${losses[k]}`)],
    ['with times of day', table('date,loss', (k) => `${day(0)} 10:${10 + k}:00,${losses[k]}`)],
    ['without any other column', table('loss', (k) => `${losses[k]}`)],
  ])('%s are judged', async (_, text) => {
    expect((await open(text)).verdict).toMatchObject({ class: 'micro-divergence', series: 'loss' });
  });
});
