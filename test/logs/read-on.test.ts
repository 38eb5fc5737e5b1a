/** A log that grows: what was added is read, and what it says is what a reading of all of it says, wherever it was cut. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { isPacked } from '../../src/model/column.ts';
import { GrowingLog } from '../../src/read/logs/growing-log.ts';
import { NO_SIDECARS } from '../../src/read/logs/hyperparameters.ts';
import { readRawStream } from '../../src/read/logs/read-log.ts';
import { random as randomOf } from '../support/random.ts';
import { projectRoot } from '../support/shared-data.ts';

async function* pieces(bytes: Buffer, size = 1 << 20): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, Math.min(at + size, bytes.length));
}

/** A file at one look, and how many of its bytes were read. */
function fileOf(path: string, bytes: Buffer) {
  const file = {
    path,
    byteLength: bytes.length,
    read: 0,
    async *from(start: number, end = bytes.length) {
      for await (const piece of pieces(bytes.subarray(start, end), 1000)) {
        file.read += piece.length;
        yield piece;
      }
    },
  };
  return file;
}

/** Columns as arrays, sets and maps as lists. */
const plain = (value: unknown): unknown =>
  isPacked(value) || ArrayBuffer.isView(value)
    ? Array.from(value as unknown as Iterable<number>)
    : value instanceof Map
      ? [...value].map(plain)
      : Array.isArray(value)
        ? value.map(plain)
        : value !== null && typeof value === 'object'
          ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]))
          : value;

/** The lines of a text that have an end. */
function wholeLines(bytes: Buffer): Buffer {
  const isEnd = (at: number): boolean =>
    bytes[at] === 10 || (bytes[at] === 13 && at + 1 < bytes.length && bytes[at + 1] !== 10);
  let end = bytes.length;
  while (end > 0 && !isEnd(end - 1)) end--;
  return bytes.subarray(0, end);
}

const LOOKS = 6;
const OPTIONS = {} as const;

/** Looks at a file of which more and more is there; how often what was added was enough. */
async function looks(path: string, bytes: Buffer, isText: boolean): Promise<number> {
  const draw = randomOf(20261201);
  const growing = new GrowingLog(OPTIONS, 1);
  let readOn = 0;
  let size = Math.floor(bytes.length * 0.3);
  for (let look = 0; look < LOOKS; look++) {
    const there = bytes.subarray(0, size);
    const raw = await growing.read(fileOf(path, there));
    if (raw !== undefined) {
      readOn++;
      const seen = isText ? wholeLines(there) : there;
      // Read whole, a carriage return at the end may be the first half of a line end.
      const whole =
        isText && seen.at(-1) === 13
          ? await new GrowingLog(OPTIONS, 1).read(fileOf(path, there))
          : await readRawStream(pieces(seen), path, OPTIONS);
      expect(plain(raw), `${size} of ${bytes.length} bytes`).toEqual(plain(whole));
    }
    size += Math.floor((2 * draw() * (bytes.length - size)) / (LOOKS - look));
  }
  return readOn;
}

const folder = (name: string): string => join(projectRoot, 'fixtures', name);
const inputs = (name: string): [string, string][] =>
  readdirSync(folder(name)).flatMap((one): [string, string][] => {
    const at = join(folder(name), one);
    const input = readdirSync(at).find((file) => /^(input|log|train|console)/.test(file));
    return input === undefined || !existsSync(join(at, input)) ? [] : [[`${name}/${one}`, join(at, input)]];
  });

const printed = ['printed', 'by-words'].flatMap(inputs);
const written = inputs('formats').filter(([name]) => /stdout|tfevents-v|keras-progress/.test(name));

describe('a log of which more and more is there', () => {
  let readOn = 0;
  const all = [...printed, ...written];
  it.each(all)('%s', async (name, path) => {
    readOn += await looks(path, readFileSync(path), !name.includes('tfevents'));
  });
  it('is read whole in a few looks only', () => {
    expect(readOn).toBeGreaterThan(0.9 * LOOKS * all.length);
  });
});

const MARKS = 2 * 4096;

/** A text with progress bars and UTF-8, of which a part is passed over: it is read as tables too. */
function printedText(steps: number): Buffer {
  let text = '';
  for (let step = 0; step < steps; step++) {
    const loss = (0.5 + 2 * Math.exp(-step / 600)).toFixed(5);
    for (let k = 0; k < 3; k++) text += `\r 步 ${step}/${steps} ███${'█'.repeat(k)} ${k}/3 [00:0${k}<00:03]`;
    text += `\nloading shard ${step} of the data set — état: prêt\n`;
    text += `step ${step} | loss: ${loss} | lr: 0.001\n`;
  }
  return Buffer.from(text);
}

/** An event file: the records of a small one again and again. */
function events(records: number): Buffer {
  const one = readFileSync(join(folder('formats'), 'tfevents-v2/input.tfevents'));
  return Buffer.concat(Array.from({ length: records }, () => one));
}

describe('a look reads what was added', () => {
  it.each([
    ['printed.log', printedText(2000)],
    ['events.out.tfevents.1', events(400)],
  ])('of %s', async (path, bytes) => {
    const draw = randomOf(7);
    const growing = new GrowingLog(OPTIONS);
    let size = 80_000;
    let before = 0;
    for (let look = 0; look < 12 && size < bytes.length; look++) {
      const file = fileOf(path, bytes.subarray(0, size));
      const raw = await growing.read(file);
      expect(raw).toBeDefined();
      const added = Math.floor(100 + 5000 * draw());
      if (look > 0) expect(file.read).toBeLessThan(added + before + MARKS + 2000);
      before = added;
      size += added;
    }
  });
});

describe('a file that is not the one that was read', () => {
  const bytes = printedText(2000);
  const other = Buffer.from(bytes);
  other.write('another', 40);
  it.each([
    ['is smaller', bytes.subarray(0, 70_000)],
    ['begins with other bytes', other],
    ['has other bytes where it ended', Buffer.concat([other.subarray(0, 79_000), bytes.subarray(60_000)])],
  ])('%s: it is read anew', async (_, now) => {
    const growing = new GrowingLog(OPTIONS);
    await growing.read(fileOf('a.log', bytes.subarray(0, 80_000)));
    const file = fileOf('a.log', now);
    const raw = await growing.read(file);
    expect(file.read).toBeGreaterThan(now.length);
    expect(plain(raw)).toEqual(plain(await readRawStream(pieces(wholeLines(now)), 'a.log', OPTIONS)));
  });
});

it('of the options of its first look keeps none that holds what that look read', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const made = (): { growing: GrowingLog; options: WeakRef<object> } => {
    const options = { format: 'stdout', sidecars: async () => NO_SIDECARS };
    return { growing: new GrowingLog(options), options: new WeakRef(options.sidecars) };
  };
  const { growing, options } = made();
  // A reference is held to the end of the turn that made it.
  await new Promise((resolve) => setTimeout(resolve, 0));
  collect();
  expect(options.deref()).toBeUndefined();
  expect(growing).toBeDefined();
});
