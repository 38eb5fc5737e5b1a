/** JSON that decides where values lie: a key that stands twice is an error, not "the last one wins". */
import { diagError } from '../model/errors.ts';

/**
 * Parses JSON of which no object may hold a key twice and no value may nest deeper than `maxDepth`.
 *
 * The depth is checked before the text goes to `JSON.parse`, whose memory grows with it.
 *
 * @param what named in errors ("a safetensors header")
 * @throws checkpoint-ambiguous, checkpoint-malformed, limit-exceeded
 */
export function parseUniqueJson(text: string, path: string, what: string, maxDepth: number): unknown {
  // One entry for each open bracket: the keys so far of an object, undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]/gs;
  const colon = /\s*:/y;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [piece] = match;
    if (piece === '{' || piece === '[') {
      open.push(piece === '{' ? new Set() : undefined);
      if (open.length > maxDepth)
        throw diagError(
          'limit-exceeded',
          { what: `the depth of ${what}`, found: open.length, limit: maxDepth, hint: '' },
          { path },
        );
    } else if (piece === '}' || piece === ']') open.pop();
    else {
      const keys = open.at(-1);
      colon.lastIndex = token.lastIndex;
      if (keys === undefined || !colon.test(text)) continue;
      const key = piece.includes('\\') ? (parse(piece, path, what) as string) : piece.slice(1, -1);
      if (keys.has(key))
        throw diagError(
          'checkpoint-ambiguous',
          { problem: `${what} holds the key "${key}" twice` },
          { path },
        );
      keys.add(key);
    }
  }
  return parse(text, path, what);
}

function parse(text: string, path: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw diagError(
      'checkpoint-malformed',
      { format: 'JSON', problem: `${what}: ${(error as Error).message}` },
      { path },
      error,
    );
  }
}
