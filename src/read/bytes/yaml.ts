/** YAML of strangers: what makes a page of it costly is counted before anything is parsed. */
import { diagError } from '../../model/errors.ts';

const MAX_BYTES = 64_000;
const MAX_ALIASES = 100;

/** A config is read by whoever checks out a repository: what makes it costly is refused, with what to do instead. */
const overLimit = (
  path: string,
  what: string,
  found: number | string,
  limit: number,
  hint: string,
  cause?: unknown,
): Error => diagError('limit-exceeded', { what, found, limit, hint }, { path }, cause);

/** @throws limit-exceeded */
export function checkTextSize(content: string, path: string, what: string): void {
  const found = Buffer.byteLength(content);
  if (found > MAX_BYTES)
    throw overLimit(path, `the size of ${what} in bytes`, found, MAX_BYTES, `${what} is a page of text`);
}

/**
 * Reads YAML of which size and aliases are counted before anything is parsed: aliases of aliases grow without bound.
 *
 * @param what the text is: "the config"
 * @param syntaxError the error of a text that is not YAML, or has what is not read; `line` counts from 1
 * @throws limit-exceeded, and what `syntaxError` gives
 */
export async function parseSafeYaml(
  content: string,
  path: string,
  what: string,
  syntaxError: (reason: string, line: number | null) => Error,
): Promise<unknown> {
  checkTextSize(content, path, what);
  // Bundled, a package in CommonJS has its default export alone.
  const {
    default: { isScalar, Lexer, LineCounter, parseDocument, visit },
  } = await import('yaml');
  let aliases = 0;
  for (const token of new Lexer().lex(content)) if (token.startsWith('*')) aliases++;
  if (aliases > MAX_ALIASES)
    throw overLimit(path, `the number of aliases in ${what}`, aliases, MAX_ALIASES, 'write them out');
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true });
  const wrong = (reason: string, at: number | undefined): Error =>
    syntaxError(reason, at === undefined ? null : lineCounter.linePos(at).line);
  const [problem] = document.errors;
  if (problem !== undefined)
    throw wrong(problem.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, ''), problem.pos[0]);
  visit(document, {
    Alias(_key, alias, ancestors) {
      const target = alias.resolve(document);
      if (target !== undefined && ancestors.includes(target))
        throw wrong(`the alias *${alias.source} is inside of what it names, without end`, alias.range?.[0]);
    },
    Pair(_key, { key }) {
      if (isScalar(key) && key.source === '<<')
        throw wrong('merge keys (<<) are not read: write them out', key.range?.[0]);
    },
  });
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    // An alias of aliases of aliases: few are written, many are resolved.
    if (error instanceof ReferenceError)
      throw overLimit(
        path,
        `the number of aliases that ${what} resolves`,
        `more than ${MAX_ALIASES}`,
        MAX_ALIASES,
        'write them out',
        error,
      );
    throw error;
  }
}
