/** Where a config lies and how it is read: YAML, JSON, or a key of a package.json. */
import { resolve } from 'node:path';
import { diagError } from '../model/errors.ts';

/** Where a config is looked for, in every folder from the working folder up. */
export const CONFIG_PLACES = [
  '.clippy-diag.yaml',
  '.clippy-diag.yml',
  '.clippy-diag.json',
  'package.json',
] as const;

/** Finds a config, by its name or from a folder upward; null where there is none. */
export async function findConfig(options: {
  readonly cwd: string;
  readonly file?: string;
}): Promise<{ path: string; value: unknown } | null> {
  const { lilconfig } = await import('lilconfig');
  const searcher = lilconfig('clippy-diag', {
    searchPlaces: [...CONFIG_PLACES],
    packageProp: 'clippy-diag',
    // Without it the search ends at the home folder, and a checkout outside of it is searched to the root.
    stopDir: resolve('/'),
    cache: false,
    // An empty config is a mistake, not the absence of one.
    ignoreEmptySearchPlaces: false,
    loaders: {
      '.yaml': readYaml,
      '.yml': readYaml,
      '.json': readJson,
      noExt: readYaml,
    },
  });
  const path = options.file === undefined ? undefined : resolve(options.cwd, options.file);
  const result = await (path === undefined ? searcher.search(options.cwd) : searcher.load(path)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && path !== undefined)
        throw diagError('file-missing', { path, cwd: options.cwd }, { path }, error);
      if (typeof error.code === 'string' && error.syscall !== undefined)
        throw diagError(
          'file-unreadable',
          { path: path ?? options.cwd, reason: error.code },
          undefined,
          error,
        );
      throw error;
    },
  );
  if (result === null) return null;
  return {
    path: result.filepath,
    value: result.isEmpty ? null : (result.config as unknown),
  };
}

const MAX_BYTES = 1_000_000;
const MAX_ALIASES = 100;

function checkSize(path: string, content: string): void {
  const found = Buffer.byteLength(content);
  if (found > MAX_BYTES)
    throw diagError(
      'limit-exceeded',
      {
        what: 'the size of the config in bytes',
        found,
        limit: MAX_BYTES,
        hint: 'a config is a page of text',
      },
      { path },
    );
}

async function readYaml(path: string, content: string): Promise<unknown> {
  checkSize(path, content);
  const { parseDocument, LineCounter } = await import('yaml');
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem !== undefined)
    throw diagError(
      'config-syntax',
      {
        language: 'YAML',
        reason: problem.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, ''),
      },
      { path, line: lineCounter.linePos(problem.pos[0]).line },
    );
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    if (error instanceof ReferenceError)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the number of aliases that the config resolves',
          found: `more than ${MAX_ALIASES}`,
          limit: MAX_ALIASES,
          hint: 'write the rules out',
        },
        { path },
        error,
      );
    throw error;
  }
}

function readJson(path: string, content: string): unknown {
  // A package.json is no config of ours until its key says so: its size and syntax are its owner's.
  if (!path.endsWith('package.json')) checkSize(path, content);
  try {
    return JSON.parse(content) as unknown;
  } catch (error) {
    throw diagError('config-syntax', { language: 'JSON', reason: (error as Error).message }, { path }, error);
  }
}
