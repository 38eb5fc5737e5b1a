/** Cells in several threads: each takes the next one as soon as it is free. The results are those of one thread, bit for bit. */
import type { Worker } from 'node:worker_threads';
import { startThread, workerFile } from '../autodiff/start-thread.ts';
import type { StudyCell } from '../model/study.ts';
import type { CellRequest } from './cells.worker.ts';
import type { CellRunner } from './run-study.ts';
import { type CellKey, crashedCell, type StudySetup } from './train-cell.ts';

export function threadRunner(setup: StudySetup, threads: number): CellRunner {
  const file = workerFile('study/cells.worker');
  const idle: Worker[] = [];
  const start = (): Worker => {
    const worker = startThread(file);
    worker.postMessage({ setup } satisfies CellRequest);
    return worker;
  };
  /** A thread that dies, of memory for example, takes its cell with it; the others go on. */
  const train = (worker: Worker, cell: CellKey): Promise<{ result: StudyCell; worker: Worker }> =>
    new Promise((resolve) => {
      const settle = (result: StudyCell, next: Worker): void => {
        worker.off('message', answered).off('error', failed).off('exit', ended);
        // What a dying thread says after its end is of no use to anyone.
        if (next !== worker) worker.on('error', () => {});
        resolve({ result, worker: next });
      };
      const answered = (result: StudyCell): void => settle(result, worker);
      const failed = (error: Error): void => settle(crashedCell(cell, error), start());
      const ended = (code: number): void => failed(new Error(`its thread ended with ${code}`));
      worker.on('message', answered).on('error', failed).on('exit', ended);
      worker.postMessage({ cell } satisfies CellRequest);
    });
  return {
    async run(cells, done, goesOn) {
      let next = 0;
      let writing: Promise<void> = Promise.resolve();
      await Promise.all(
        Array.from({ length: Math.min(threads, cells.length) }, async () => {
          let worker = idle.pop() ?? start();
          while (next < cells.length && goesOn()) {
            const trained = await train(worker, cells[next++]!);
            worker = trained.worker;
            // One after the other: they append to one file.
            writing = writing.then(() => done(trained.result));
            await writing;
          }
          idle.push(worker);
        }),
      );
    },
    close: async () => {
      await Promise.all(idle.map((worker) => worker.terminate()));
    },
  };
}
