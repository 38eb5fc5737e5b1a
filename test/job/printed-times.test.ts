/** Times that lines print: read whatever their form, over midnight and New Year, and what is said of a pause. */
import { describe, expect, it, test } from 'vitest';
import { failureOf } from '../../src/judge/failures/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Run } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { LineClock } from '../../src/read/seen/line-clock.ts';

const FORMS: Readonly<Record<string, (time: Date) => string>> = {
  'ISO 8601': (t) => `${t.toISOString()} step`,
  'of Python': (t) => `${t.toISOString().replace('T', ' ').slice(0, 19)},123 - root - INFO - step:`,
  'in brackets': (t) => `[${t.toISOString().replace('T', ' ').slice(0, 19)}] step`,
  'of transformers': (t) =>
    `${iso(t, 5, 7)}/${iso(t, 8, 10)}/${iso(t, 0, 4)} ${iso(t, 11, 19)} - INFO - step`,
  'of detectron2': (t) => `[${iso(t, 5, 7)}/${iso(t, 8, 10)} ${iso(t, 11, 19)} d2.utils.events]: step`,
  'of glog': (t) => `I${iso(t, 5, 7)}${iso(t, 8, 10)} ${iso(t, 11, 19)}.123456 42 train.py:33] step`,
  'without a date': (t) => `${iso(t, 11, 19)} | step`,
};
const iso = (time: Date, from: number, to: number): string => time.toISOString().slice(from, to);

/** Lines of a training that logs every ten seconds over New Year; `lines` are printed in a pause after step 249. */
function logOf(prefix: (time: Date) => string, pause: number, lines: readonly string[] = []): string {
  let time = Date.UTC(2025, 11, 31, 23, 30);
  const text: string[] = [];
  for (let step = 0; step < 400; step++) {
    time += 1000 * (step === 250 ? pause : 10);
    if (step === 250) text.push(...lines);
    const loss = 1 + 2 * Math.exp(-step / 80) + 0.02 * Math.abs(Math.sin(step * 12.9898));
    text.push(`${prefix(new Date(time))} ${step} loss ${loss.toFixed(4)}`);
  }
  return `${text.join('\n')}\n`;
}

async function runOf(text: string): Promise<Run> {
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  }
  return (await finishLog(await readRawStream(whole(), 'train.log'), { sidecars: false })).runs.at(-1)!;
}

function told(run: Run): string | undefined {
  const judged = judgeRun(run);
  return failureOf(run, judged.verdict.onsetStep, judged)?.id;
}

describe.each(Object.entries(FORMS))('times %s', (_, prefix) => {
  it('tell a pause, and none where there is none', async () => {
    const run = await runOf(logOf(prefix, 9000));
    expect(run.job?.gaps).toEqual([{ fromStep: 249, seconds: 9000 }]);
    expect(told(run)).toBe('training-stood-still');
    expect((await runOf(logOf(prefix, 10))).job).toBeUndefined();
  });
});

it('a pause in which lines are printed is none of an unknown cause', async () => {
  const run = await runOf(logOf(FORMS['of Python']!, 9000, ['Evaluating …', 'AUC 0.7412 on 4,000,000 rows']));
  expect(run.job?.gaps).toHaveLength(1);
  expect(told(run)).toBeUndefined();
});

it('durations and dates of data are no clock', async () => {
  const bar = await runOf(logOf(() => '12%|█▏ | 12/100 [00:12<01:33, 1.05s/it] step', 10));
  expect(bar.lossRecords?.[0]?.time).toBeUndefined();
});

test('a time that no clock shows is none, and a text without times is not searched for ever', () => {
  const clock = new LineClock();
  const read = (line: string): number => clock.read(Buffer.from(line), 0, Buffer.byteLength(line));
  expect(read('2025-13-01 10:00:00 loss 1')).toBeNaN();
  expect(read('2025-11-01 24:00:00 loss 1')).toBeNaN();
  expect(read('2025-11-01 10:00:00 loss 1')).toBe(Date.UTC(2025, 10, 1, 10) / 1000);
  expect(read('2025-11-01 10:00:07 loss 1')).toBe(Date.UTC(2025, 10, 1, 10, 0, 7) / 1000);
  expect(read('step 12 at 2025-11-01 10:00:09')).toBe(Date.UTC(2025, 10, 1, 10, 0, 9) / 1000);
  const none = new LineClock();
  for (let k = 0; k < 100; k++) expect(none.read(Buffer.from('loss 1'), 0, 6)).toBeNaN();
  expect(none.read(Buffer.from('2025-11-01 10:00:00'), 0, 19)).toBeNaN();
});
