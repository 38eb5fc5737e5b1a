/** Cells in several threads: each takes the next one as soon as it is free. The results are those of one thread, bit for bit. */
import type { Worker } from 'node:worker_threads';
import type { StudyCell } from '../../model/study.ts';
import { productKernels } from '../../step/kernels/matrix-product.ts';
import { startThread, workerFile } from '../../step/threads/start-thread.ts';
import type { CellRequest } from './cells.worker.ts';
import type { CellRunner } from './run-study.ts';
import { type CellKey, crashedCell, type StudySetup } from './train-cell.ts';

export interface ThreadPool {
  /** Trains a cell as soon as a thread is free. A thread that dies, of memory for example, makes a cell that crashed. */
  train(cell: CellKey): Promise<StudyCell>;
  /** Ends the threads once nothing is in work. */
  close(): Promise<void>;
}

/** Up to so many threads, started when they are needed. */
export function threadPool(setup: StudySetup, threads: number): ThreadPool {
  const file = workerFile('experiment/study/cells.worker');
  // The threads get them from here.
  productKernels(false);
  const idle: Worker[] = [];
  const waiting: (() => void)[] = [];
  let working = 0;
  let ended: (() => void) | undefined;
  const start = (): Worker => {
    const worker = startThread(file);
    worker.postMessage({ setup } satisfies CellRequest);
    return worker;
  };
  /** A thread that dies takes its cell with it; another comes in its place. */
  const trainOn = (worker: Worker, cell: CellKey): Promise<StudyCell> =>
    new Promise((resolve) => {
      const settle = (result: StudyCell, alive: boolean): void => {
        worker.off('message', answered).off('error', failed).off('exit', exited);
        if (alive) idle.push(worker);
        // What a dying thread says after its end is of no use to anyone.
        else worker.on('error', () => {});
        resolve(result);
      };
      const answered = (result: StudyCell): void => settle(result, true);
      const failed = (error: Error): void => settle(crashedCell(cell, error), false);
      const exited = (code: number): void => failed(new Error(`its thread ended with ${code}`));
      worker.on('message', answered).on('error', failed).on('exit', exited);
      worker.postMessage({ cell } satisfies CellRequest);
    });
  return {
    async train(cell) {
      if (working >= threads) await new Promise<void>((resolve) => waiting.push(resolve));
      else working++;
      const result = await trainOn(idle.pop() ?? start(), cell);
      const next = waiting.shift();
      if (next !== undefined) next();
      else if (--working === 0) ended?.();
      return result;
    },
    async close() {
      if (working > 0)
        await new Promise<void>((resolve) => {
          ended = resolve;
        });
      await Promise.all(idle.map((worker) => worker.terminate()));
    },
  };
}

export function threadRunner(setup: StudySetup, threads: number): CellRunner {
  const pool = threadPool(setup, threads);
  return {
    async run(cells, done, goesOn) {
      let next = 0;
      let writing: Promise<void> = Promise.resolve();
      await Promise.all(
        Array.from({ length: Math.min(threads, cells.length) }, async () => {
          while (next < cells.length && goesOn()) {
            const result = await pool.train(cells[next++]!);
            // One after the other: they append to one file.
            writing = writing.then(() => done(result));
            await writing;
          }
        }),
      );
    },
    close: () => pool.close(),
  };
}
