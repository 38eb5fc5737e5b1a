/** Tasks over several threads: what they find is that of one, whatever the threads do. */
import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { inParts, LEAST_PARTS, memoryOf, PART, type Task } from '../../src/step/threads/in-parts.ts';
import { openThreads, type Threads } from '../../src/step/threads/pool.ts';
import { projectRoot } from '../support/shared-data.ts';
import { ENDS, FAILS, HANGS, SUM } from './tasks.ts';

/** What stays in this thread. */
const LEAST = (LEAST_PARTS - 1) * PART;
const worker = new URL('./tasks.worker.ts', import.meta.url);
/** In shared memory. */
function shared(length: number): Float32Array {
  const x = new Float32Array(new SharedArrayBuffer(4 * length));
  for (let i = 0; i < length; i++) x[i] = Math.sin(i) * 10 ** (i % 9);
  return x;
}

let threads: Threads | undefined;
async function open(count: number, patience?: number): Promise<void> {
  threads = openThreads(worker, count, patience);
  await threads.ready();
}
afterEach(async () => {
  await threads?.close();
  threads = undefined;
});

const sumOf = (x: Float32Array) => {
  const found = inParts(SUM, { x }, [x], x.length, 2);
  const at = (k: number) => Array.from({ length: found.length / 2 }, (_, i) => found[2 * i + k]!);
  return { sums: at(0), threads: new Set(at(1)) };
};

/** What comes of a task in a thread: this one may have taken all parts before the other woke. */
function failureOf(task: Task<{ x: Float32Array }>): Error {
  for (;;) {
    const x = shared(40 * PART);
    try {
      inParts(task, { x }, [x], x.length, 1);
    } catch (error) {
      return error as Error;
    }
  }
}

describe.each([1, 2])('%i threads beside this one', (count) => {
  it.each([1, LEAST, LEAST + 1, 70 * PART + 5])('sums of %i entries', async (length) => {
    const x = shared(length);
    if (length > 2 * PART) x[2 * PART] = Number.POSITIVE_INFINITY;
    const alone = sumOf(x);
    expect(alone.sums).toHaveLength(Math.ceil(length / PART));
    expect(alone.threads.size).toBe(1);
    await open(count);
    const threads = new Set<number>();
    for (let k = 0; k < 50; k++) {
      const found = sumOf(x);
      expect(found.sums).toEqual(alone.sums);
      for (const one of found.threads) threads.add(one);
    }
    expect(threads.size).toBe(length > 10 * PART ? count + 1 : length > LEAST ? threads.size : 1);
  });
});

it('what lies in memory of its own stays in this thread', async () => {
  await open(1);
  const x = shared(60 * PART).slice();
  for (let k = 0; k < 20; k++) expect(sumOf(x).threads.size).toBe(1);
});

it('memory is shared while there are threads', async () => {
  expect(memoryOf(8)).toBeInstanceOf(ArrayBuffer);
  await open(1);
  expect(memoryOf(8)).toBeInstanceOf(SharedArrayBuffer);
  const again = openThreads(worker, 1);
  await again.close();
  expect(memoryOf(8)).toBeInstanceOf(SharedArrayBuffer);
  await threads!.close();
  threads = undefined;
  expect(memoryOf(8)).toBeInstanceOf(ArrayBuffer);
});

it('none beside this one: nothing is shared', async () => {
  await open(0);
  expect(memoryOf(8)).toBeInstanceOf(ArrayBuffer);
});

it('an error in a thread comes with its stack', async () => {
  await open(1);
  const { message } = failureOf(FAILS);
  expect(message).toMatch(/^a thread failed at "fails in a thread": Error: at a part\n/);
  expect(message).toContain('tasks.ts');
});

it('an error in this thread is thrown as it is', async () => {
  await open(1);
  const own: Task<{ x: Float32Array }> = {
    name: 'sum',
    run() {
      throw new RangeError('mine');
    },
  };
  expect(failureOf(own)).toEqual(new RangeError('mine'));
});

it('a thread that ends in the middle of a part', async () => {
  await open(1);
  expect(failureOf(ENDS).message).toMatch(/"ends its thread": Error: it ended with 7\n/);
});

it('a thread that does not come back', async () => {
  await open(1, 200);
  expect(failureOf(HANGS).message).toBe('a thread took a part of "hangs" and has not finished it in 0.2 s');
});

it('a thread that cannot start for a fault in its file', async () => {
  const broken = openThreads(new URL('./missing.worker.ts', import.meta.url), 1);
  const x = shared(LEAST_PARTS * PART);
  const alone = x.subarray(0, PART).reduce((sum, value) => sum + value, 0);
  expect(sumOf(x).sums[0]).toBe(alone);
  await broken.ready();
  expect(() => sumOf(x)).toThrow('missing.worker');
  await expect(broken.close()).rejects.toThrow('missing.worker');
});

it('the program that is built has the file of a replay’s threads', async () => {
  const built = openThreads(pathToFileURL(`${projectRoot}/dist/experiment/replay/parts.worker.js`), 1);
  await built.ready();
  await built.close();
});

it('threads that nobody closes keep no process from ending', () => {
  const url = (path: string) => JSON.stringify(pathToFileURL(`${projectRoot}/${path}`).href);
  const code = `
    const { openThreads } = await import(${url('src/step/threads/pool.ts')});
    const { inParts, PART } = await import(${url('src/step/threads/in-parts.ts')});
    const { SUM } = await import(${url('test/threads/tasks.ts')});
    openThreads(new URL(${url('test/threads/tasks.worker.ts')}), 2);
    const x = new Float32Array(new SharedArrayBuffer(400 * PART));
    for (const end = performance.now() + 1000; performance.now() < end; ) inParts(SUM, { x }, [x], x.length, 2);
    console.log('done');`;
  const said = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    cwd: projectRoot,
    encoding: 'utf8',
  });
  expect(said).toBe('done\n');
});
