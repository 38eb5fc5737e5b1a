/** The other side of pool.ts: a thread that takes parts of the tasks that it is sent. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { Task } from './in-parts.ts';
import { giveUp, type Job, takeParts } from './parts.ts';

/** @param tasks all that may be sent, each by its name */
export function serveParts(tasks: readonly Task<never>[]): void {
  const port = workerData as MessagePort;
  const known = new Map(tasks.map((task) => [task.name, task as Task<unknown>]));
  let job: Job | undefined;
  const tell = (error: unknown): void =>
    port.postMessage(error instanceof Error ? (error.stack ?? error.message) : String(error));
  // Who ends in the middle of a part is waited for.
  process.on('exit', (code) => {
    if (job === undefined) return;
    tell(new Error(`it ended with ${code}`));
    giveUp(job);
  });
  port.on('message', (sent: Job) => {
    job = sent;
    takeParts(sent, (...part) => known.get(sent.task)!.run(...part), tell);
    job = undefined;
  });
  parentPort!.postMessage('ready');
}
