/** The index of a checkpoint in shards: `{ "metadata": {…}, "weight_map": { NAME: FILE } }`, as of safetensors and of Keras. */
import type { DiagError } from '../../model/errors.ts';
import type { ByteSource } from '../bytes/source.ts';
import { parseCheckpointJson } from './checkpoint-json.ts';
import { malformed as malformedAs } from './faults.ts';
import { checkLimit } from './limit.ts';

const MAX_INDEX_BYTES = 100_000_000;
const MAX_SHARDS = 10_000;
const MAX_DEPTH = 8;

/**
 * @param format what errors call the index
 * @param several whether a name may have a list of files
 * @returns the names of each file, in the order of the index; files are untrusted text
 * @throws checkpoint-malformed, checkpoint-ambiguous, limit-exceeded
 */
export async function weightMapOf(
  source: ByteSource,
  format: string,
  several: boolean,
): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const { path, byteLength } = source;
  const malformed = (problem: string): DiagError => malformedAs(format, problem, { path });
  checkLimit('the index in bytes', byteLength, MAX_INDEX_BYTES, { path });
  const text = Buffer.from(await source.slice(0, byteLength)).toString('utf8');
  const { weight_map } = parseCheckpointJson(text, path, 'the index', MAX_DEPTH) as { weight_map?: unknown };
  if (typeof weight_map !== 'object' || weight_map === null) throw malformed('its weight_map is no object');
  const files = new Map<string, Set<string>>();
  for (const [name, value] of Object.entries(weight_map))
    for (const file of several && Array.isArray(value) ? value : [value]) {
      if (typeof file !== 'string') throw malformed(`the file of "${name}" is not text`);
      if (!files.has(file)) files.set(file, new Set());
      files.get(file)!.add(name);
    }
  checkLimit('the number of shards', files.size, MAX_SHARDS, { path });
  return files;
}
