/** How a process ended, from what it printed: real crashes (fixtures/job), forms of public reports, and healthy twins. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Job } from '../../src/model/job.ts';
import { watchJob } from '../../src/read/job/job-signs.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Case {
  readonly name: string;
  readonly text: string;
  readonly ended: Job['ended'] | null;
  readonly reason: Job['reason'];
  readonly rank: number | null;
}
const casesOf = (file: string): Case[] =>
  JSON.parse(readFileSync(`${projectRoot}/fixtures/job/${file}`, 'utf8')) as Case[];

async function* pieces(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function jobOfText(text: string, size = 1 << 16): Promise<Job | undefined> {
  const log = await finishLog(await readRawStream(pieces(text, size), 'train.log'), { sidecars: false });
  return log.runs.at(-1)?.job;
}

describe.each(['made.json', 'public-forms.json'])('%s', (file) => {
  it.each(casesOf(file))('$name', async ({ text, ended, reason, rank }) => {
    const job = await jobOfText(text);
    expect({ ended: job?.ended ?? null, reason: job?.reason ?? null, rank: job?.rank ?? null }).toEqual({
      ended,
      reason,
      rank,
    });
    if (job?.at != null && job.message !== null)
      expect(text.split('\n')[job.at.line! - 1]).toContain(job.message.slice(0, 60));
  });
});

it('says the same however the text is cut into chunks', async () => {
  for (const { text } of casesOf('made.json')) {
    const whole = await jobOfText(text);
    for (const size of [7, 64, 1000]) expect(await jobOfText(text, size)).toEqual(whole);
  }
});

describe('an exception that something caught and printed', () => {
  const traceback = (first: string): string =>
    `E | 06-21 06:59:42 | jax | plugin configuration error\nTraceback (most recent call last):\n  File "/venv/site-packages/jax/bridge.py", line 508, in ${first}\n    plugin.initialize()\nRuntimeError: Unable to load cuSPARSE. Is it installed?\n`;
  const cause = `${traceback('_check')}\nThe above exception was the direct cause of the following exception:\n\n`;
  const lines = (count: number): string =>
    Array.from(
      { length: count },
      (_, k) => `I | 06-21 06:59:${50 + k} | qmc | stage ${'abcdefgh'[k]} is set up\n`,
    ).join('');

  const losses = Array.from({ length: 20 }, (_, k) => `step ${k} loss ${2 / (1 + k)}\n`).join('');

  it('ended nothing where the logger of its process goes on', async () => {
    for (const size of [7, 1 << 16])
      expect(await jobOfText(`${losses}${cause}${traceback('discover')}${lines(6)}`, size)).toBeUndefined();
  });

  it('ended the process where nothing went on, or where nothing caught it', async () => {
    const ends = [
      cause + traceback('discover') + lines(2),
      traceback('<module>') + lines(6),
      traceback('main') + lines(6),
      cause + traceback('<module>') + lines(6),
      traceback('discover') + lines(6) + traceback('<module>'),
    ];
    for (const text of ends) expect((await jobOfText(losses + text))?.ended).toBe('crashed');
  });

  it('takes no other sign with it where there are more than are kept', () => {
    const signsOf = (text: string): number => {
      const watcher = watchJob();
      watcher.take(Buffer.from(text));
      return watcher.end().signs.length;
    };
    const many = 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.\n'.repeat(3000);
    expect(signsOf(many + traceback('discover') + lines(6))).toBe(signsOf(many));
  });
});

it('a crash that training survived ended nothing, and one after the last record did', async () => {
  const record = (step: number): string => `step ${step} loss ${(2 / (1 + step)).toFixed(4)}\n`;
  const losses = (from: number, to: number): string =>
    Array.from({ length: to - from }, (_, k) => record(from + k)).join('');
  const crash =
    'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\nValueError: bad row\n';
  expect(await jobOfText(losses(0, 30) + crash + losses(30, 60))).toBeUndefined();
  expect((await jobOfText(losses(0, 60) + crash))?.ended).toBe('crashed');
  // A checkpoint of the last step: the text alone tells of the resume.
  const seamless = (words: string): Promise<Job | undefined> =>
    jobOfText(`${losses(0, 30)}${words}\n${losses(30, 60)}`);
  for (const words of [
    'Resuming from checkpoint ckpt/step-20.pt',
    '[rank0] INFO Resumed training from ckpt/step-20.pt',
    'Continuing training from checkpoint ckpt/step-20.pt',
  ])
    expect(await seamless(words)).toMatchObject({
      ended: 'unknown',
      resumes: [{ step: 30, from: 'ckpt/step-20.pt', lostSteps: 0 }],
    });
  // Weights that are loaded for an evaluation, and words about a resume that is none.
  for (const words of [
    'Loaded the best checkpoint from ckpt/best.pt',
    'Training resumes after the evaluation',
  ])
    expect(await seamless(words)).toBeUndefined();
  const resumed = await jobOfText(
    `${losses(0, 30)}${crash}Resuming training from checkpoint ckpt/step-20.pt\n${losses(20, 60)}`,
  );
  expect(resumed).toMatchObject({
    ended: 'unknown',
    resumes: [{ step: 20, from: 'ckpt/step-20.pt', lostSteps: 10 }],
  });
});

it('names where an exception was raised: the last call that is of no installed package', async () => {
  const losses = Array.from({ length: 30 }, (_, k) => `step ${k} loss ${(2 / (1 + k)).toFixed(4)}\n`).join(
    '',
  );
  const own = '  File "/home/me/net/train.py", line 57, in <module>\n    main()\n';
  const step = '  File "/home/me/net/step.py", line 9, in step\n    loss.backward()\n';
  const torch = '  File "/usr/lib/python3.11/site-packages/torch/_tensor.py", line 581, in backward\n';
  const frozen = '  File "<frozen runpy>", line 88, in _run_code\n';
  const frameOf = async (calls: string, prefix = ''): Promise<string | undefined> => {
    const text = `Traceback (most recent call last):\n${calls}RuntimeError: broken\n`;
    const job = await jobOfText(losses + text.replaceAll(/^(?=.)/gm, prefix));
    expect(job?.reason).toBe('exception');
    return job?.at?.frame;
  };
  expect(await frameOf(frozen + own + step + torch)).toBe('/home/me/net/step.py:9 in step');
  expect(await frameOf(own + step, '[rank1]: ')).toBe('/home/me/net/step.py:9 in step');
  expect(await frameOf(frozen + torch)).toMatch(/_tensor\.py:581 in backward$/);
  expect(await frameOf('')).toBeUndefined();
});

it('costs no memory for a text of a million lines', () => {
  const watcher = watchJob();
  const chunk = Buffer.from('step 1 loss 0.5\n'.repeat(4096));
  for (let k = 0; k < 250; k++) watcher.take(chunk);
  expect(watcher.end()).toEqual({ signs: [], resumed: [], firstRank: null, lines: 4096 * 250 });
});
