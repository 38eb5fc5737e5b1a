/**
 * Objectives in other threads and processes. A user's module runs in a child process that can be ended; a large batch is
 * shared between two threads, since wasm has no threads of its own in Node.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { DiagError, diagError, ERROR_TEXTS, type ErrorRecord } from '../../model/errors.ts';
import { weightedSums } from '../../step/kernels/weighted-sum.ts';
import { rowsOf, sliceRows } from '../../step/tensor/batch-rows.ts';
import { fromSources, startThread, workerFile } from '../../step/threads/start-thread.ts';
import type { BackendName } from './backend-names.ts';
import type { Batch, Losses, Objective } from './objective.ts';
import type { SourceTensor } from './parameters.ts';

/** What the other side opens. */
export interface OpenRequest {
  readonly path: string;
  readonly sources: readonly SourceTensor[];
  readonly sourcePath: string;
  readonly backend?: BackendName;
  readonly fastMath?: boolean;
  readonly rowsPerPass?: number;
}

/** Properties of the objective, which `open` answers. */
export type Opened = Pick<Objective, 'tensors' | 'size' | 'tasks' | 'inputs' | 'backend' | 'notes'>;

export type Method = 'open' | 'check' | 'loss' | 'gradient' | 'hvp' | 'gaussNewton';
export interface Request {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}
export type Reply = { readonly id: number } & (
  | { readonly value: unknown }
  | { readonly coded: ErrorRecord }
  /** Something that the user's module threw. */
  | { readonly user: { readonly message: string; readonly file: string; readonly line: number | null } }
  | { readonly bug: string }
);

/** A way to the other side. */
interface Channel {
  send(request: Request): void;
  close(): Promise<void>;
}

const objectiveWorker = workerFile('differentiate/autodiff/objective.worker');

/** The objective behind a channel. `start` gets what to do with replies and with the end of the other side. */
async function remoteObjective(
  start: (reply: (reply: Reply) => void, ended: (error: DiagError) => void) => Channel,
  open: OpenRequest,
  timeLimit: number | null,
): Promise<Objective> {
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  let id = 0;
  let over: DiagError | undefined;
  const end = (error: DiagError): void => {
    over = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const channel = start((reply) => {
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ('value' in reply) call?.resolve(reply.value);
    else call?.reject(errorOf(reply, open.path));
  }, end);
  const ask = async <T>(method: Method, ...args: unknown[]): Promise<T> => {
    if (over !== undefined) throw over;
    const own = ++id;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        waiting.set(own, { resolve: resolve as (value: unknown) => void, reject });
        if (timeLimit !== null)
          timer = setTimeout(() => {
            end(diagError('user-model-time', { seconds: timeLimit, path: open.path }, { path: open.path }));
            void channel.close();
          }, 1000 * timeLimit);
        channel.send({ id: own, method, args });
      });
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    const opened = await ask<Opened>('open', open);
    return {
      ...opened,
      check: (batches) => ask('check', batches),
      loss: (w, batches) => ask('loss', w, batches),
      gradient: (w, batches, task) => ask('gradient', w, batches, task),
      hvp: (w, v, batches, task) => ask('hvp', w, v, batches, task),
      gaussNewton: (w, v, batches, task) => ask('gaussNewton', w, v, batches, task),
      close: () => channel.close(),
    };
  } catch (error) {
    await channel.close();
    throw error;
  }
}

function errorOf(reply: Exclude<Reply, { value: unknown }>, path: string): Error {
  if ('coded' in reply) {
    const { id, message, hint, ...where } = reply.coded;
    return new DiagError(id, message, ERROR_TEXTS[id].exitCode, where as { path: string }, hint);
  }
  if ('user' in reply) {
    const { message, file, line } = reply.user;
    return diagError('user-model', { message }, { path: file, ...(line === null ? {} : { line }) });
  }
  return new Error(`the objective of ${path} failed: ${reply.bug}`);
}

/** The same objective with one call at a time, the first at once: for calls that share memory. */
function inTurn(objective: Objective): Objective {
  let current: Promise<void> | undefined;
  const turn = async <T>(call: () => Promise<T>): Promise<T> => {
    while (current !== undefined) await current;
    const answer = call();
    current = answer.then(
      () => {},
      () => {},
    );
    try {
      return await answer;
    } finally {
      current = undefined;
    }
  };
  return {
    ...objective,
    loss: (...args) => turn(() => objective.loss(...args)),
    gradient: (...args) => turn(() => objective.gradient(...args)),
    hvp: (...args) => turn(() => objective.hvp(...args)),
    gaussNewton: (...args) => turn(() => objective.gaussNewton(...args)),
  };
}

/**
 * The same objective in a thread. Vectors are in memory that both share, since a message would copy them twice. It is used
 * again: if every call took new memory, V8 would look for garbage so often that its threads for that slow both of ours.
 *
 * @param lent whether a vector is answered where it lies, until the next call, instead of copied
 */
export async function threadObjective(open: OpenRequest, lent = false): Promise<Objective> {
  const objective = await remoteObjective(
    (reply, ended) => {
      const worker = startThread(objectiveWorker);
      // Alive while it owes an answer: an idle thread keeps no process from ending, a busy one must.
      let owed = 0;
      worker.on('message', (answer: Reply) => {
        if (--owed === 0) worker.unref();
        reply(answer);
      });
      worker.on('error', (error) =>
        ended(
          diagError('user-model-ended', { path: open.path, how: error.message }, { path: open.path }, error),
        ),
      );
      worker.unref();
      return {
        send: (request) => {
          owed++;
          worker.ref();
          worker.postMessage(request);
        },
        close: async () => {
          await worker.terminate();
        },
      };
    },
    open,
    null,
  );
  const { loss, gradient, hvp, gaussNewton } = objective;
  const [point, direction] = [sharedVector(objective.size), sharedVector(objective.size)];
  const put = (x: Float32Array, to: Float32Array = new Float32Array(x.length)): Float32Array => {
    to.set(x);
    return to;
  };
  // Both sides write into the same memory: an answer is copied, or used, before the next call.
  const given = (answer: Float32Array, into: Float32Array | undefined): Float32Array =>
    lent ? answer : put(answer, into);
  return inTurn({
    ...objective,
    loss: (w, batches) => loss(put(w, point), batches),
    gradient: async (w, batches, task, into) => {
      const answer = await gradient(put(w, point), batches, task);
      return { ...answer, gradient: given(answer.gradient, into) };
    },
    hvp: async (w, v, batches, task, into) =>
      given(await hvp(put(w, point), put(v, direction), batches, task), into),
    gaussNewton: async (w, v, batches, task, into) =>
      given(await gaussNewton(put(w, point), put(v, direction), batches, task), into),
  });
}

export interface ModuleLimits {
  /** Seconds that one call may take. Default 60. */
  readonly seconds?: number;
  /** MiB of resident memory. Default 4096. */
  readonly memory?: number;
}

/**
 * A user's module in a child process. It is ended when a call takes too long or memory grows without end.
 *
 * @throws user-model (what it threw, with file and line), user-model-time, user-model-memory, user-model-ended
 */
export function moduleObjective(open: OpenRequest, limits: ModuleLimits = {}): Promise<Objective> {
  const { seconds = 60, memory = 4096 } = limits;
  return remoteObjective(
    (reply, ended) => {
      const child: ChildProcess = fork(fileURLToPath(objectiveWorker), [String(memory)], {
        execArgv: [...(fromSources ? ['--import', 'tsx'] : []), `--max-old-space-size=${memory}`],
        serialization: 'advanced',
        // Its standard output is not ours, its standard error is looked at when it dies.
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      let errors = '';
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        errors = (errors + text).slice(-4000);
      });
      child.on('message', (message) => reply(message as Reply));
      child.on('close', (code, signal) => {
        const where = { path: open.path };
        ended(
          /memory limit|heap out of memory/.test(errors)
            ? diagError('user-model-memory', { path: open.path, limit: memory }, where)
            : diagError(
                'user-model-ended',
                { path: open.path, how: `with ${signal ?? `code ${code}`}` },
                where,
              ),
        );
      });
      return {
        send: (request) => {
          // A child that is gone already is reported by `close`.
          if (child.connected) child.send(request, () => {});
        },
        close: () =>
          new Promise((resolve) => {
            if (child.exitCode !== null || child.signalCode !== null) resolve();
            else {
              child.once('close', () => resolve());
              child.kill('SIGKILL');
            }
          }),
      };
    },
    open,
    seconds,
  );
}

/** Memory that threads share, for a vector. */
export const sharedVector = (length: number): Float32Array =>
  new Float32Array(new SharedArrayBuffer(4 * length));

/** A copy that threads share instead of each getting its own. */
function inSharedMemory<T extends Float32Array | Int32Array>(data: T): T {
  const Type = data.constructor as new (buffer: SharedArrayBuffer) => T;
  const copy = new Type(new SharedArrayBuffer(data.byteLength));
  copy.set(data);
  return copy;
}

/** Rows × parameters from which some dozens of products make up for the start of a thread, half a second. */
const WORTH_THREADS = 1e8;

/**
 * Shares every batch between this thread and another, half of the rows each, once there is enough to do.
 *
 * @param local the objective in this thread: for its half, and for what is not shared
 * @param worth rows × parameters from which on it is shared
 */
export function sharedObjective(local: Objective, open: OpenRequest, worth = WORTH_THREADS): Objective {
  let thread: Promise<Objective> | undefined;
  const rows = (batches: readonly Batch[]): number => batches.reduce((sum, batch) => sum + rowsOf(batch), 0);
  /** Batches come again with every product: their halves are copied once. */
  const known = new WeakMap<Batch, readonly [Batch, Batch]>();
  const halvesOf = (batch: Batch): readonly [Batch, Batch] => {
    let halves = known.get(batch);
    if (halves === undefined) {
      const all = new Map(
        [...batch].map(([name, { shape, data }]) => [name, { shape, data: inSharedMemory(data) }]),
      );
      const split = Math.ceil(rowsOf(batch) / 2);
      halves = [sliceRows(all, 0, split), sliceRows(all, split, rowsOf(batch))];
      known.set(batch, halves);
    }
    return halves;
  };
  let weightedSum: ReturnType<typeof weightedSums> | undefined;
  const share = async <T>(
    batches: readonly Batch[],
    into: Float32Array | undefined,
    call: (objective: Objective, part: readonly Batch[], into: Float32Array | undefined) => Promise<T>,
    join: (parts: readonly T[], weights: readonly number[]) => T,
  ): Promise<T> => {
    const divisible = batches.some((batch) => rowsOf(batch) > 1);
    if (!divisible || rows(batches) * local.size < worth) return call(local, batches, into);
    thread ??= threadObjective(open, true);
    const other = await thread;
    const halves = batches.map(halvesOf);
    const parts = [
      halves.map(([first]) => first),
      halves.flatMap(([, rest]) => (rowsOf(rest) > 0 ? [rest] : [])),
    ];
    // First that of the other thread: this one is busy with its own then.
    const second = call(other, parts[1]!, undefined);
    const first = call(local, parts[0]!, into);
    // Also where one half fails, the other thread is through before the next call.
    await Promise.allSettled([first, second]);
    return join(
      [await first, await second],
      parts.map((part) => rows(part) / rows(batches)),
    );
  };
  /** The weighted sum of two vectors, in the place of the first. */
  const mix = (
    [first, second]: readonly Float32Array[],
    [ofFirst, ofSecond]: readonly number[],
  ): Float32Array => {
    weightedSum ??= weightedSums();
    weightedSum(first!, ofFirst!, second!, ofSecond!);
    return first!;
  };
  const mixLosses = (parts: readonly Losses[], weights: readonly number[]): Losses => ({
    loss: parts.reduce((sum, part, i) => sum + weights[i]! * part.loss, 0),
    taskLosses: parts[0]!.taskLosses.map((x, t) => weights[0]! * x + weights[1]! * parts[1]!.taskLosses[t]!),
  });
  return inTurn({
    ...local,
    loss: (w, batches) => share(batches, undefined, (o, part) => o.loss(w, part), mixLosses),
    gradient: (w, batches, task, into) =>
      share(
        batches,
        into,
        (o, part, memory) => o.gradient(w, part, task, memory),
        (parts, weights) => ({
          ...mixLosses(parts, weights),
          gradient: mix(
            parts.map((part) => part.gradient),
            weights,
          ),
        }),
      ),
    hvp: (w, v, batches, task, into) =>
      share(batches, into, (o, part, memory) => o.hvp(w, v, part, task, memory), mix),
    gaussNewton: (w, v, batches, task, into) =>
      share(batches, into, (o, part, memory) => o.gaussNewton(w, v, part, task, memory), mix),
    close: async () => {
      await (await thread)?.close();
      await local.close();
    },
  });
}
