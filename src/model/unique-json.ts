/** JSON that decides where values lie: a key that occurs twice is an error, not "the last one wins". */
import { diagError } from './errors.ts';

/** What is wrong with a text that was to be JSON. */
export interface JsonFault {
  readonly kind: 'syntax' | 'key-twice';
  /** "the index: Unexpected end of JSON input" */
  readonly problem: string;
  readonly cause?: unknown;
}

/** The text, its place, and what it is. */
export interface JsonText {
  readonly text: string;
  readonly path: string;
  /** Named in errors: "a safetensors header". */
  readonly what: string;
  readonly maxDepth: number;
}

/**
 * Parses JSON of which no object may hold a key twice and no value may nest deeper than `maxDepth`.
 *
 * The depth is checked before the text goes to `JSON.parse`, whose memory grows with it.
 *
 * @param errorOf the error to throw: only the caller knows what the reader of its message can do
 * @throws limit-exceeded, and what `errorOf` makes
 */
export function parseUniqueJson(json: JsonText, errorOf: (fault: JsonFault) => Error): unknown {
  const { text, path, what, maxDepth } = json;
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
      const key = piece.includes('\\') ? (parse(piece, what, errorOf) as string) : piece.slice(1, -1);
      if (keys.has(key))
        throw errorOf({ kind: 'key-twice', problem: `${what} holds the key "${key}" twice` });
      keys.add(key);
    }
  }
  return parse(text, what, errorOf);
}

function parse(text: string, what: string, errorOf: (fault: JsonFault) => Error): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw errorOf({ kind: 'syntax', problem: `${what}: ${(error as Error).message}`, cause: error });
  }
}
