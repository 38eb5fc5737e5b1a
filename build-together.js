// What the commands on logs share, in a few files of the bundle: opening seventy modules took as long as compiling them.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** Whoever runs one of these loads nearly all of what the others load. */
const ON_LOGS = ['analyze', 'gate', 'inspect'].map((name) => `src/commands/${name}.ts`);

/** Entries that answer without a log, or compute in a thread of their own: they load no more than they use. */
const ALONE =
  /^src\/(run|cli\/(command|command-error|help|is-path|tool-version)|commands\/(completion|explain))\.ts$|\.worker\.ts$/;

/**
 * A plugin of esbuild, which splits modules by the set of entries that reach them: one set, one file. Every other entry
 * imports all that the commands on logs do, so that these modules are reached by one set.
 *
 * @param metafile of a build of the same entries without it
 */
export function together({ inputs, outputs }) {
  const shared = new Set();
  const visit = (file) => {
    if (shared.has(file) || inputs[file] === undefined) return;
    shared.add(file);
    for (const { path, kind } of inputs[file].imports) if (kind === 'import-statement') visit(path);
  };
  for (const file of ON_LOGS) visit(file);
  for (const file of ON_LOGS) shared.delete(file);
  const imports = [...shared]
    .filter((file) => file.startsWith('src/'))
    .map((file) => `import ${JSON.stringify(resolve(file))};\n`)
    .join('');
  const entries = new Set(
    Object.values(outputs)
      .map(({ entryPoint }) => entryPoint)
      .filter((file) => file?.startsWith('src/') && !ALONE.test(file) && !shared.has(file))
      .map((file) => resolve(file)),
  );
  return {
    name: 'together',
    setup(build) {
      build.onResolve({ filter: /^shared-by-commands-on-logs$/ }, () => ({
        path: 'all',
        namespace: 'together',
      }));
      build.onLoad({ filter: /./, namespace: 'together' }, () => ({
        contents: imports,
        resolveDir: process.cwd(),
      }));
      build.onLoad({ filter: /\.ts$/ }, ({ path }) =>
        entries.has(path)
          ? { contents: `${readFileSync(path, 'utf8')}\nimport 'shared-by-commands-on-logs';`, loader: 'ts' }
          : undefined,
      );
    },
  };
}
