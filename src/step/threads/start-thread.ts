/** Threads from files of the program: from the sources as from the bundle. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

export const fromSources = import.meta.url.endsWith('.ts');

/** A file of the program by its path in src/: among the sources, or in dist/ after bundling, wherever the bundle put this. */
export const programFile = (path: string): URL =>
  new URL(
    path,
    fromSources
      ? new URL('../../', import.meta.url)
      : import.meta.url.slice(0, import.meta.url.lastIndexOf('/dist/') + '/dist/'.length),
  );

export const workerFile = (name: `${string}.worker`): URL =>
  programFile(`${name}.${fromSources ? 'ts' : 'js'}`);

/** A thread from the sources has to register the loader of TypeScript itself: Node 20 ignores --import there. */
export function startThread(file: URL, options: WorkerOptions = {}): Worker {
  if (!fromSources) return new Worker(file, options);
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm/api')).href.replace(
    /cjs$/,
    'mjs',
  );
  return new Worker(
    `import(${JSON.stringify(loader)}).then(({ register }) => (register(), import(${JSON.stringify(file.href)})))`,
    { ...options, eval: true, execArgv: [] },
  );
}
