/**
 * Threads that take parts of tasks next to this one, which waits for them: to whoever calls, a task is a function as ever. An
 * array in shared memory is sent as it is, a view of the same bytes.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads';
import { type Spread, spreadBy, type Task } from './in-parts.ts';
import { awaitParts, type Job, jobOf, partsOf, takeParts } from './parts.ts';
import { startThread } from './start-thread.ts';

/** Milliseconds in which a part, a fraction of one of work, is done also where the machine is busy or was asleep. */
const PATIENCE = 60_000;

export interface Threads {
  /** When all of them take parts, those apart that could not be started. Before, this thread does alone what they do not. */
  ready(): Promise<void>;
  /** Ends them once all who opened them have closed them. @throws what a thread could not be started for */
  close(): Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly ready: Promise<void>;
}

let open: { readonly threads: Set<Thread>; users: number; failure: Error | undefined } | undefined;

/**
 * Spreads tasks over threads until they are closed. Where they are open already, they are shared.
 *
 * @param worker the file of the threads (serve-parts.ts)
 * @param count threads in addition to this one
 * @param patience milliseconds after which a thread that finishes no part is given up
 */
export function openThreads(worker: URL, count: number, patience = PATIENCE): Threads {
  if (count < 1 || typeof SharedArrayBuffer === 'undefined')
    return { ready: async () => {}, close: async () => {} };
  if (open === undefined) {
    open = { threads: new Set(), users: 0, failure: undefined };
    for (let k = 0; k < count; k++) start(worker, open);
    spreadBy((task, spread) => run(task, spread, patience));
  }
  const mine = open;
  mine.users++;
  return {
    async ready() {
      await Promise.all([...mine.threads].map((thread) => thread.ready));
    },
    async close() {
      if (--mine.users > 0) return;
      open = undefined;
      spreadBy(null);
      await Promise.all([...mine.threads].map((thread) => thread.worker.terminate()));
      if (mine.failure !== undefined) throw mine.failure;
    },
  };
}

/** What ends a thread that nobody has to hear of: the others, or this one alone, do its work. */
const NO_ROOM = new Set(['ERR_WORKER_INIT_FAILED', 'ERR_WORKER_OUT_OF_MEMORY']);

function start(file: URL, pool: NonNullable<typeof open>): void {
  const { port1: port, port2: other } = new MessageChannel();
  const worker = startThread(file, { workerData: other, transferList: [other], execArgv: [] });
  const ready = new Promise<void>((resolve) => {
    worker.once('message', () => resolve()).once('exit', () => resolve());
  });
  const thread: Thread = { worker, port, ready };
  pool.threads.add(thread);
  worker.on('error', (error: NodeJS.ErrnoException) => {
    if (!NO_ROOM.has(error.code ?? '')) pool.failure ??= error;
  });
  worker.on('exit', () => pool.threads.delete(thread));
  // An idle thread keeps no process from ending, and one that works keeps this thread waiting.
  worker.unref();
}

function run<Input>(task: Task<Input>, spread: Spread<Input>, patience: number): Float64Array {
  const { threads, failure } = open!;
  if (failure !== undefined) throw failure;
  const job = jobOf(task.name, spread);
  // No more than find a part: this thread takes one too.
  for (const { port } of [...threads].slice(0, partsOf(job) - 1)) port.postMessage(job satisfies Job);
  let own: unknown;
  takeParts(job, task.run as Task<unknown>['run'], (error) => {
    own ??= error;
  });
  const failed = awaitParts(job, patience);
  if (own !== undefined) throw own;
  if (failed === undefined)
    throw new Error(`a thread took a part of "${task.name}" and has not finished it in ${patience / 1000} s`);
  if (failed > 0)
    throw new Error(`a thread failed at "${task.name}": ${told(threads) ?? 'it did not say why'}`);
  return job.found;
}

/** What a thread said of its failure. */
function told(threads: ReadonlySet<Thread>): string | undefined {
  for (const { port } of threads) {
    const said = receiveMessageOnPort(port) as { message: string } | undefined;
    if (said !== undefined) return said.message;
  }
  return undefined;
}
