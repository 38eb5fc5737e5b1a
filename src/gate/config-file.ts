/** Where a config lies and how it is read: YAML, JSON, or a key of a package.json. */
import { resolve } from 'node:path';
import { DiagError, diagError } from '../model/errors.ts';
import { isJsonObject } from '../model/json.ts';
import { parseUniqueJson } from '../model/unique-json.ts';

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

const MAX_BYTES = 64_000;
const MAX_ALIASES = 100;
const MAX_DEPTH = 100;

/** A config is read by whoever checks out a repository: what makes it costly is refused, with what to do instead. */
const overLimit = (
  path: string,
  what: string,
  found: number | string,
  limit: number,
  hint: string,
  cause?: unknown,
): Error => diagError('limit-exceeded', { what, found, limit, hint }, { path }, cause);

function checkSize(path: string, content: string): void {
  const found = Buffer.byteLength(content);
  if (found > MAX_BYTES)
    throw overLimit(path, 'the size of the config in bytes', found, MAX_BYTES, 'a config is a page of text');
}

/** Reads YAML of which size and aliases are counted before anything is parsed: aliases of aliases grow without bound. */
async function readYaml(path: string, content: string): Promise<unknown> {
  checkSize(path, content);
  const { isScalar, Lexer, LineCounter, parseDocument, visit } = await import('yaml');
  let aliases = 0;
  for (const token of new Lexer().lex(content)) if (token.startsWith('*')) aliases++;
  if (aliases > MAX_ALIASES)
    throw overLimit(path, 'the number of aliases in the config', aliases, MAX_ALIASES, 'write the rules out');
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true });
  const wrong = (reason: string, at: number | undefined): Error =>
    diagError(
      'config-syntax',
      { language: 'YAML', reason },
      at === undefined ? { path } : { path, line: lineCounter.linePos(at).line },
    );
  const [problem] = document.errors;
  if (problem !== undefined)
    throw wrong(problem.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, ''), problem.pos[0]);
  visit(document, {
    Alias(_key, alias, ancestors) {
      const target = alias.resolve(document);
      if (target !== undefined && ancestors.includes(target))
        throw wrong(
          `the alias *${alias.source} stands within what it names, which has no end`,
          alias.range?.[0],
        );
    },
    Pair(_key, { key }) {
      if (isScalar(key) && key.source === '<<')
        throw wrong('merge keys (<<) are not read: write the rules out, or use `extends`', key.range?.[0]);
    },
  });
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    // An alias of aliases of aliases: few are written, many are resolved.
    if (error instanceof ReferenceError)
      throw overLimit(
        path,
        'the number of aliases that the config resolves',
        `more than ${MAX_ALIASES}`,
        MAX_ALIASES,
        'write the rules out',
        error,
      );
    throw error;
  }
}

function readJson(path: string, content: string): unknown {
  const unique = (): unknown =>
    parseUniqueJson({ text: content, path, what: 'the config', maxDepth: MAX_DEPTH }, ({ problem, cause }) =>
      diagError('config-syntax', { language: 'JSON', reason: problem }, { path }, cause),
    );
  if (!path.endsWith('package.json')) {
    checkSize(path, content);
    return unique();
  }
  // A package.json is no config of ours until its key says so: its size and its keys are its owner's.
  try {
    const value: unknown = JSON.parse(content);
    return isJsonObject(value) && Object.hasOwn(value, 'clippy-diag') ? unique() : value;
  } catch (error) {
    if (error instanceof DiagError) throw error;
    throw diagError('config-syntax', { language: 'JSON', reason: (error as Error).message }, { path }, error);
  }
}
