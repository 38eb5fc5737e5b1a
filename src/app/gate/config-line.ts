/** On which line of a config something is wrong. */

import { DiagError } from '../../model/errors.ts';
import { readText } from '../../read/bytes/source.ts';

/**
 * Does what reads a config, and adds the line to an error that names a place in it.
 *
 * @throws what `work` throws
 */
export async function atItsLine<T>(path: string, work: () => T): Promise<T> {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DiagError) || error.where?.path !== path || error.where.line !== undefined)
      throw error;
    const line = await lineOf(path, error.message);
    throw line === undefined
      ? error
      : new DiagError(error.code, error.message, error.exitCode, { path, line }, error.hint, error);
  }
}

/** The line of the key that a message names: as `rules.drift:`, or in quotes. */
async function lineOf(path: string, message: string): Promise<number | undefined> {
  const {
    default: { isMap, isScalar, isSeq, LineCounter, parseDocument },
  } = await import('yaml');
  const lines = new LineCounter();
  // JSON is YAML too. It was read before: its size and its aliases are counted.
  const document = parseDocument(await readText(path), { lineCounter: lines });
  const keys: { readonly place: string; readonly key: string; readonly offset: number }[] = [];
  const visit = (node: unknown, above: readonly string[]): void => {
    if (isSeq(node)) for (const [i, item] of node.items.entries()) visit(item, [...above, String(i)]);
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      if (!isScalar(key)) continue;
      const place = [...above, String(key.value)];
      keys.push({ place: place.join('.'), key: String(key.value), offset: key.range![0] });
      visit(value, place);
    }
  };
  visit(path.endsWith('package.json') ? document.get('clippy-diag') : document.contents, []);
  const named = keys
    .filter(({ place }) => ` ${message}`.includes(` ${place}:`) || ` ${message}`.includes(` ${place}.`))
    .sort((a, b) => b.place.length - a.place.length);
  const found = named[0] ?? keys.find(({ key }) => message.includes(`"${key}"`));
  return found === undefined ? undefined : lines.linePos(found.offset).line;
}
