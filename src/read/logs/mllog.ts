/**
 * The lines of MLPerf's logger: `:::MLLOG {"key": "train_loss", "value": 0.3, "metadata": {"step_num": 100}, …}`, and
 * in version 0.6 `:::MLL 1554848.1 train_loss: {"value": 0.3, "metadata": {…}}`. A benchmark's result holds one run,
 * but files of several are joined in practice: `run_start` begins an attempt.
 *
 * Source: mlperf_logging/mllog (4.1.68): mllog.py for the line, constants.py for the keys.
 */

import { axisName } from './axis-words.ts';
import { flatten, type Scalar } from './hyperparameters.ts';

export const MLLOG_MARK = ':::MLL';
/** What precedes the object; matched only at the mark. */
const HEAD = /^:::MLL(?:OG\s+|\s+\d+(?:\.\d+)?\s+(?<key>\w+):\s+)(?=\{)/;
/** Python writes these bare; JSON has no such values. */
const NOT_FINITE = /([:[,]\s*)(-?(?:NaN|Infinity))(?=\s*[,}\]])/g;

/** Names in `metadata` that count steps, and those that count epochs (or the first one of a block). */
const STEPS = ['step', 'step_num', 'global_step', 'iteration', 'iter', 'iter_num', 'current_iter_num'];
const EPOCHS = ['epoch_num', 'epoch', 'first_epoch_num', 'current_epoch_num'];
const START = 'run_start';

export interface MllogEvent {
  /** Training begins here. */
  readonly starts: boolean;
  readonly at: { readonly axis: 'step' | 'epoch'; readonly value: number } | undefined;
  /** What was logged, by name; of an object, its members. */
  readonly values: ReadonlyMap<string, Scalar>;
}

/** The event of a line; undefined where the line has no event, `damaged` where its object is cut or not JSON. */
export function mllogEvent(line: string): MllogEvent | 'damaged' | undefined {
  const from = line.slice(Math.max(0, line.indexOf(MLLOG_MARK)));
  const head = HEAD.exec(from);
  if (head === null) return undefined;
  let event: { key?: unknown; value?: unknown; metadata?: unknown };
  try {
    event = JSON.parse(from.slice(head[0].length).replace(NOT_FINITE, '$1"$2"'));
  } catch {
    return from.startsWith('{"', head[0].length) ? 'damaged' : undefined;
  }
  const key = head.groups?.key ?? event.key;
  if (typeof key !== 'string') return undefined;
  const metadata = new Map<string, Scalar>();
  flatten(event.metadata, '', metadata);
  const values = new Map<string, Scalar>();
  flatten(event.value, typeof event.value === 'object' && event.value !== null ? '' : key, values);
  return { starts: key === START, at: axisOf(metadata), values };
}

function axisOf(metadata: ReadonlyMap<string, Scalar>): MllogEvent['at'] {
  const of = (names: readonly string[]): number | undefined => {
    for (const [name, value] of metadata)
      if (typeof value === 'number' && names.includes(axisName(name))) return value;
    return undefined;
  };
  const step = of(STEPS);
  if (step !== undefined) return { axis: 'step', value: step };
  const epoch = of(EPOCHS);
  return epoch === undefined ? undefined : { axis: 'epoch', value: epoch };
}
