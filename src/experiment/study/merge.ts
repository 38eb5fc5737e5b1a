/** Joins what the shards of a study wrote. */

import { diagError } from '../../model/errors.ts';
import { isJsonObject, toJson } from '../../model/json.ts';
import type { StudyCell, StudyInfo, StudyResult } from '../../model/study.ts';
import { readText } from '../../read/bytes/source.ts';
import { cellCount, idOf, nextCells, type Shard } from './plan.ts';
import { cellFrom } from './results-file.ts';
import { resultOf } from './run-study.ts';

/**
 * The whole study of its shards; a cell in several of them counts once.
 *
 * @throws shard-other (no shard, another study, or two results of one cell), shard-missing, and what reading throws
 */
export async function mergeShards(paths: readonly string[]): Promise<StudyResult> {
  const results = new Map<string, StudyCell>();
  const from = new Map<string, string>();
  const notes = new Set<string>();
  const seen = new Set<number>();
  let info: StudyInfo | undefined;
  let count = 1;
  for (const path of paths) {
    const fail = (problem: string) => diagError('shard-other', { problem }, { path });
    const document = documentOf(await readText(path));
    if (document === undefined) throw fail(`${path} holds no results of a study`);
    info ??= document.study;
    if (document.study.key !== info.key) throw fail(`${path} is of another study than ${paths[0]}`);
    if (document.shard !== undefined) {
      seen.add(document.shard.index);
      count = Math.max(count, document.shard.count);
    }
    for (const note of document.notes) notes.add(note);
    for (const one of document.cells) {
      const cell = cellFrom(one);
      if (cell === undefined) throw fail(`${path} has a cell that is damaged`);
      const id = idOf(cell);
      const other = results.get(id);
      if (other !== undefined && toJson(other) !== toJson(cell))
        throw fail(`${path} and ${from.get(id)} have two results of ${cell.label} at ${cell.learningRate}`);
      results.set(id, cell);
      from.set(id, path);
    }
  }
  const missing = nextCells(info!, results).length;
  if (missing > 0) {
    const shards = Array.from({ length: count }, (_, i) => i + 1).filter((i) => !seen.has(i));
    throw diagError('shard-missing', {
      cells: cellCount(info!),
      missing,
      shards:
        shards.length === 0 ? 'none, but some ended early' : shards.map((i) => `${i}/${count}`).join(', '),
    });
  }
  return resultOf(info!, results, [...notes]);
}

interface ShardDocument {
  readonly study: StudyInfo;
  readonly shard?: Shard;
  readonly cells: readonly object[];
  readonly notes: readonly string[];
}

function documentOf(text: string): ShardDocument | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isJsonObject(value) || !isJsonObject(value.study) || !Array.isArray(value.cells)) return undefined;
  const { study, shard, cells, notes } = value;
  const { key, models, rules, learningRates, seeds } = study;
  const whole =
    typeof key === 'string' &&
    [models, rules, learningRates, notes].every(Array.isArray) &&
    Number.isSafeInteger(seeds) &&
    cells.every(isJsonObject) &&
    (shard === undefined ||
      (isJsonObject(shard) && Number.isSafeInteger(shard.index) && Number.isSafeInteger(shard.count)));
  return whole ? (value as unknown as ShardDocument) : undefined;
}
