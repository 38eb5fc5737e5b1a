/** The other side of remote.ts: an objective in a thread, or with a user's module in a child process. */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parentPort, Worker } from 'node:worker_threads';
import { DiagError } from '../../model/errors.ts';
import { loadBackend } from './backend.ts';
import { differentiate } from './differentiate.ts';
import { moduleNetwork } from './module-network.ts';
import type { Objective } from './objective.ts';
import { localObjective } from './open-objective.ts';
import { type Method, type OpenRequest, type Reply, type Request, sharedVector } from './remote.ts';

let objective: Objective | undefined;
/** Where a thread puts every result, for the other thread to read. */
let result: Float32Array | undefined;
let modulePath: string | undefined;

async function open(request: OpenRequest): Promise<Objective> {
  if (parentPort !== null)
    return (await localObjective(request.path, request.sources, request.sourcePath, request)).objective;
  modulePath = request.path;
  const backend = await loadBackend(request.backend, request.fastMath);
  const module: unknown = await import(pathToFileURL(request.path).href);
  return differentiate(backend, moduleNetwork(backend.tf, module, request.sources));
}

/** What answers a vector, and takes the memory for it last. */
const VECTORS: ReadonlySet<Method> = new Set<Method>(['gradient', 'hvp', 'gaussNewton']);

async function answer({ id, method, args }: Request): Promise<Reply> {
  try {
    if (method === 'open') {
      objective = await open(args[0] as OpenRequest);
      const { tensors, size, tasks, inputs, backend, notes } = objective;
      if (parentPort !== null) result = sharedVector(size);
      return { id, value: { tensors, size, tasks, inputs, backend, notes } };
    }
    const call = objective![method] as (...a: readonly unknown[]) => unknown;
    return { id, value: await call(...args, ...(VECTORS.has(method) ? [result] : [])) };
  } catch (error) {
    if (error instanceof DiagError) return { id, coded: error.toRecord() };
    const { message, stack = '' } = error as Error;
    return modulePath === undefined
      ? { id, bug: stack }
      : { id, user: { message: String(message ?? error), ...placeIn(stack, modulePath) } };
  }
}

/** First frame of a stack that lies in the module's file. */
function placeIn(stack: string, path: string): { file: string; line: number | null } {
  for (const frame of stack.split('\n')) {
    const [, file, line] = /(file:\/\/[^\s)]+?|\/[^\s():]+):(\d+)(?::\d+)?\)?$/.exec(frame) ?? [];
    if (file === undefined) continue;
    const name = file.startsWith('file:') ? fileURLToPath(file.replace(/\?.*$/s, '')) : file;
    if (name === path || name.endsWith(`/${path}`)) return { file: path, line: Number(line) };
  }
  return { file: path, line: null };
}

if (parentPort !== null) {
  const port = parentPort;
  port.on('message', async (request: Request) => port.postMessage(await answer(request)));
} else {
  // Typed arrays are not on V8's heap: what they take is watched from a thread, since this one may never yield; for
  // the same reason it writes around the streams, which this thread would have to flush.
  // A parent that was killed cannot end a module that hangs: then the child has another parent.
  const limit = Number(process.argv[2]);
  new Worker(
    `setInterval(() => {
       if (process.ppid !== ${process.ppid}) process.kill(process.pid, 'SIGKILL');
       if (process.memoryUsage.rss() > ${limit} * 2 ** 20) {
         process._rawDebug('memory limit');
         process.kill(process.pid, 'SIGKILL');
       }
     }, 100);`,
    { eval: true, execArgv: [] },
  ).unref();
  process.on('message', async (request: Request) => {
    const reply = await answer(request);
    process.send?.(reply);
  });
  process.on('disconnect', () => process.exit(0));
  process.on('uncaughtException', (error) => {
    process.stderr.write(String(error.stack), () => process.exit(1));
  });
}
