/** A log that is followed with its numbers in a file is told of as the whole log in memory is, look by look. */
import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type AnalyzeOptions, analyze } from '../../src/app/engine/analyze.ts';
import { watchLog } from '../../src/app/engine/watch.ts';
import { whileItGoesOn } from '../../src/app/engine/watcher.ts';
import { keepBlocksIn } from '../../src/model/column.ts';
import { toJson } from '../../src/model/json.ts';
import type { Report } from '../../src/model/report.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';
import { incidentCases } from '../incidents/cases.ts';
import { random as randomOf } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';
import { eventOf } from '../support/training-logs.ts';

const scratch = scratchFolders('watch-numbers');
const OPTIONS: AnalyzeOptions = {
  toolVersion: '0.1.0',
  now: () => new Date('2026-01-02T03:04:05Z'),
};

afterEach(() => {
  keepBlocksIn(undefined);
});

/** What is said of each run: class, step and every incident. */
const verdictsOf = ({ runs }: Report): string =>
  toJson(
    runs.map(({ id, attemptList, verdict, tasks, findings, series }) => ({
      id,
      attemptList,
      verdict,
      tasks,
      findings,
      series,
    })),
  );

/**
 * Writes a log piece by piece. Each look says of numbers in a file all that it says of numbers in memory, and judges as the whole log
 * is judged.
 *
 * @returns how many blocks were put in the file
 */
async function compare(name: string, pieces: readonly Uint8Array[]): Promise<number> {
  const path = join(scratch(), name);
  const file = new BlockFile(expect.unreachable);
  let blocks = 0;
  const put = file.put.bind(file);
  file.put = (bytes, kind) => {
    blocks++;
    return put(bytes, kind);
  };
  const followed = watchLog(path, OPTIONS);
  const inMemory = watchLog(path, OPTIONS);
  const inFile = async (work: () => Promise<Report | undefined>): Promise<Report | undefined> => {
    keepBlocksIn(file);
    try {
      return await work();
    } finally {
      keepBlocksIn(undefined);
    }
  };
  for (const piece of pieces) {
    appendFileSync(path, piece);
    const told = await inFile(followed.look);
    const expected = await inMemory.look();
    expect(told && toJson(told)).toBe(expected && toJson(expected));
    if (told !== undefined)
      expect(verdictsOf(told)).toBe(verdictsOf(await analyze([path], whileItGoesOn(OPTIONS))));
  }
  const last = await inFile(followed.finish);
  expect(toJson(last!)).toBe(toJson(await analyze([path], OPTIONS)));
  await followed.close();
  await inMemory.close();
  return blocks;
}

type Kind = 'log.jsonl' | 'train.log' | 'metrics.csv' | 'events.out.tfevents.1700000000.host';
const KINDS: readonly Kind[] = [
  'log.jsonl',
  'train.log',
  'metrics.csv',
  'events.out.tfevents.1700000000.host',
];

function recordOf(kind: Kind, step: number, loss: number): Buffer {
  const norm = 1 + Math.sin(step) / 3;
  const number = Number.isNaN(loss) ? 'NaN' : loss === Number.POSITIVE_INFINITY ? 'Infinity' : `${loss}`;
  if (kind === 'log.jsonl') return Buffer.from(`{"step":${step},"loss":${number},"grad_norm":${norm}}\n`);
  if (kind === 'train.log') return Buffer.from(`step ${step} loss ${number} grad_norm ${norm}\n`);
  if (kind === 'metrics.csv')
    return Buffer.from(`${step === 0 ? 'step,loss,grad_norm\n' : ''}${step},${number},${norm}\n`);
  return eventOf(step, [
    ['loss', loss],
    ['grad_norm', norm],
  ]);
}

/** A log of so many parts as it grows. */
function piecesOf(kind: Kind, losses: readonly number[], parts: number): Buffer[] {
  const size = Math.ceil(losses.length / parts);
  return Array.from({ length: parts }, (_, part) =>
    Buffer.concat(
      losses.slice(part * size, (part + 1) * size).map((loss, k) => recordOf(kind, part * size + k, loss)),
    ),
  );
}

/** A loss that comes down, with jumps, climbs, an end that is high, and values that are no number. */
function madeLosses(seed: number): number[] {
  const random = randomOf(seed);
  let level = 3;
  let high = 0;
  const points = 600 + Math.floor(2400 * random());
  return Array.from({ length: points }, (_, i) => {
    level = 0.5 + (level - 0.5) * 0.998;
    if (random() < 0.002) high = random() < 0.5 ? 40 * random() : 0;
    if (seed % 4 === 1 && i === Math.floor(0.8 * points)) high = 30;
    high *= random() < 0.3 && seed % 4 !== 1 ? 0.97 : 1;
    if (seed % 4 === 2 && random() < 0.001) return random() < 0.5 ? Number.NaN : Number.POSITIVE_INFINITY;
    return level + high + 0.05 * (random() - 0.5);
  });
}

describe('with its numbers in a file a log is told of as the whole is', () => {
  it('200 made series', async () => {
    let blocks = 0;
    for (let seed = 0; seed < 200; seed++) {
      const kind = KINDS[seed % KINDS.length]!;
      blocks += await compare(kind, piecesOf(kind, madeLosses(seed), 2 + (seed % 4)));
    }
    expect(blocks).toBeGreaterThan(10_000);
  });

  it('the shared cases', async () => {
    for (const [k, { losses }] of incidentCases().entries()) {
      const kind = KINDS[k % KINDS.length]!;
      await compare(kind, piecesOf(kind, losses, 2));
    }
  });

  const folder = join(projectRoot, 'fixtures/logs');
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && one.name !== 'expected.json')
    .map((one) => join(one.parentPath, one.name));
  it.each(paths.map((path) => [path.slice(folder.length + 1), path]))('%s', async (_, path) => {
    const bytes = readFileSync(path);
    // A look waits for the end of a line, and a whole log is whole.
    const cuts = [1, 2].map((k) => bytes.indexOf('\n', (k * bytes.length) / 3) + 1);
    await compare(basename(path), [
      bytes.subarray(0, cuts[0]),
      bytes.subarray(cuts[0], cuts[1]),
      bytes.subarray(cuts[1]),
    ]);
  });
});
