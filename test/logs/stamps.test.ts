/**
 * What a logger, a runtime or a system's journal puts before each line is no part of the line: every layout of fixtures/printed
 * and fixtures/by-words says behind each of these stamps what it says without.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withoutStamp } from '../../src/read/logs/line-prefix.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

/** The time of a line, a second after the one before. */
const clock = (line: number): string =>
  `10:${String(Math.floor(line / 60) % 60).padStart(2, '0')}:${String(line % 60).padStart(2, '0')}`;

const STAMPS: Readonly<Record<string, (line: number) => string>> = {
  'GitHub Actions': (line) => `2024-05-03T${clock(line)}.1234567Z `,
  Kubernetes: (line) => `2024-05-03T${clock(line)}.123456789Z stdout F `,
  "Python's logging": (line) => `2024-05-03 ${clock(line)},123 - trainer - INFO - `,
  'a level in brackets': (line) => `[2024-05-03 ${clock(line)},123] [INFO] `,
  Hydra: (line) => `[2024-05-03 ${clock(line)},123][__main__][INFO] - `,
  loguru: (line) => `2024-05-03 ${clock(line)}.123 | INFO     | __main__:train:45 - `,
  journald: (line) => `May  3 ${clock(line)} gpu-7 python[4711]: `,
  glog: (line) => `I0503 ${clock(line)}.123456 139 train.py:77] `,
  'basicConfig of Python': () => 'INFO:root:',
};

/** Layouts whose lines are no lines of a logger: bars over the ends of lines, carriage returns, boxes of several runs. */
const NOT_BEHIND: Readonly<Record<string, readonly string[]>> = {
  'basicConfig of Python': ['keras-bars-over-lines', 'llama-cpp-finetune', 'rllib'],
};

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

/** The losses of a log: their roles, steps and values. */
async function lossesOf(text: string): Promise<string[]> {
  const log = await finishLog(await readRawStream(once(text), 'input.log'), { sidecars: false });
  return log.runs
    .flatMap(({ series }) => series)
    .filter(({ role }) => role === 'loss' || role === 'task_loss' || role === 'eval_loss')
    .map(({ role, step, value }) =>
      JSON.stringify({ role, step: [...step].map(String), value: [...value].map(String) }),
    )
    .sort();
}

const layouts = ['printed', 'by-words'].flatMap((folder) =>
  readdirSync(join(projectRoot, 'fixtures', folder)).map((name) => ({
    name,
    text: readFileSync(join(projectRoot, 'fixtures', folder, name, 'input.log'), 'utf8'),
  })),
);

describe.each(Object.entries(STAMPS))('behind the stamp of %s', (id, stamp) => {
  const behind = layouts.filter(({ name }) => NOT_BEHIND[id]?.includes(name) !== true);
  it.each(behind)('$name', async ({ text }) => {
    const lines = text.split('\n');
    const stamped = lines.map((line, k) => (line === '' && k === lines.length - 1 ? '' : stamp(k) + line));
    expect(await lossesOf(stamped.join('\n'))).toEqual(await lossesOf(text));
  });
});

it.each([
  ['epoch 3 | loss 0.5', 'epoch 3 | loss 0.5'],
  ['10:00:01 | 3 | 0.5', '| 3 | 0.5'],
  ['2024-05-03T10:00:00Z   0       0', '  0       0'],
  ['[2024-05-03 10:00:00] [train] step 3', '[train] step 3'],
  ['2024-05-03 10:00:00 epoch: 3', 'epoch: 3'],
  ['INFO:tensorflow:loss = 2.3', 'loss = 2.3'],
  ['INFO 3 0.5', 'INFO 3 0.5'],
])('%s without its stamp is %s', (line, rest) => {
  expect(withoutStamp(line)).toBe(rest);
});
