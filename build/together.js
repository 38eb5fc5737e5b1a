// What the commands on logs share, in a few files of the bundle: opening seventy modules took as long as compiling them.
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';

/** Whoever runs one of these loads nearly all of what the others of its line load; and all but the first, what that loads. */
const ON_LOGS = [['gate'], ['analyze', 'inspect']].map((line) =>
  line.map((name) => `src/app/commands/${name}.ts`),
);

/** Entries that answer without a log, or compute in a thread of their own: they load no more than they use. */
const ALONE =
  /^src\/(run|app\/cli\/(command|command-error|help|is-path|tool-version)|app\/commands\/(completion|explain))\.ts$|\.worker\.ts$/;

/** What files import, and what that imports, and so on: without the files themselves. */
function reachedBy(files, inputs) {
  const reached = new Set();
  const visit = (file) => {
    if (reached.has(file) || inputs[file] === undefined) return;
    reached.add(file);
    for (const { path, kind } of inputs[file].imports) if (kind === 'import-statement') visit(path);
  };
  for (const file of files) visit(file);
  for (const file of files) reached.delete(file);
  return [...reached].filter((file) => file.startsWith('src/'));
}

/**
 * A plugin of esbuild, which splits modules by the set of entries that reach them: one set, one file. Every other entry
 * imports all that the commands on logs do, so that the modules of each line are reached by one set.
 *
 * @param metafile of a build of the same entries without it
 */
export function together({ inputs, outputs }) {
  const lines = ON_LOGS.map((files) => reachedBy(files, inputs));
  const shared = new Set(lines.flat());
  const entries = new Set(
    Object.values(outputs)
      .map(({ entryPoint }) => entryPoint)
      .filter((file) => file?.startsWith('src/') && !ALONE.test(file) && !shared.has(file)),
  );
  /** The last line whose modules an entry imports, and with it those before. */
  const lineOf = (file) => {
    const own = ON_LOGS.findIndex((files) => files.includes(file));
    return own < 0 ? lines.length - 1 : own;
  };
  return {
    name: 'together',
    setup(build) {
      build.onResolve({ filter: /^shared-by-line-\d$/ }, ({ path }) => ({ path, namespace: 'together' }));
      build.onLoad({ filter: /./, namespace: 'together' }, ({ path }) => ({
        contents: lines[path.at(-1)].map((file) => `import ${JSON.stringify(resolve(file))};\n`).join(''),
        resolveDir: process.cwd(),
      }));
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = relative(process.cwd(), path).replaceAll('\\', '/');
        if (!entries.has(file)) return undefined;
        const imports = lines.slice(0, lineOf(file) + 1).map((_, k) => `import 'shared-by-line-${k}';\n`);
        return { contents: `${readFileSync(path, 'utf8')}\n${imports.join('')}`, loader: 'ts' };
      });
    },
  };
}
