/** The data of a study as its nets take them: columns in order, standardised, categories as ids, and which rows are for what. */
import { isAbsolute, join } from 'node:path';
import { numberIn, readTable, type Table } from '../../differentiate/autodiff/batches.ts';
import type { LossName } from '../../differentiate/autodiff/ranking-spec.ts';
import { diagError } from '../../model/errors.ts';
import { formatCount } from '../../model/format-number.ts';
import { nearest } from '../../model/nearest.ts';
import type { Rows } from './network.ts';
import { streamColumns, streamTable } from './stream.ts';
import type { StudyColumn } from './study-column.ts';
import type { StudyFile, StudySplit } from './study-file.ts';
import { isBinary } from './task-losses.ts';

export interface StudyTask {
  readonly name: string;
  readonly loss: LossName;
  readonly weight: number;
}

/** A stretch of rows to train on, and the one that is tested then. */
export interface Phase {
  readonly train: readonly [from: number, to: number];
  readonly test: readonly [from: number, to: number];
}

export interface StudyData {
  /** As a `ranking` document has them. */
  readonly features: readonly object[];
  readonly tasks: readonly StudyTask[];
  /** All rows, in memory that threads share. */
  readonly rows: Rows;
  readonly phases: readonly Phase[];
  readonly notes: readonly string[];
}

/** A path in a study, relative to its file. */
export const besideStudy = (studyPath: string, path: string): string =>
  isAbsolute(path) ? path : join(studyPath, '..', path);

/**
 * Reads and prepares the data.
 *
 * @throws study-columns, study-values, study-rows and what reading throws
 */
export async function readStudyData(study: StudyFile, studyPath: string): Promise<StudyData> {
  const { data } = study;
  if ('stream' in data) {
    const { split, stream } = data;
    const rows = 'windowSize' in split ? stream.rows! : split.train + split.test;
    const training = 'windowSize' in split ? rows : split.train;
    return prepare(streamTable(stream, rows, training), streamColumns(stream), null, split, studyPath);
  }
  const path = besideStudy(studyPath, data.file);
  return prepare(await readTable(path), study.columns!, data.order, data.split, path);
}

function prepare(
  table: Table,
  columns: readonly StudyColumn[],
  order: string | null,
  split: StudySplit,
  path: string,
): StudyData {
  const found = [...table.keys()];
  for (const column of [...columns.map(({ name }) => name), ...(order === null ? [] : [order])])
    if (!table.has(column))
      throw diagError('study-columns', { column, nearest: nearest(column, found), found }, { path });
  const count = table.get(columns[0]!.name)!.length;
  const place = order === null ? null : orderOf(table.get(order)!, order, path);
  const at = (row: number): number => (place === null ? row : place[row]!);
  const phases = phasesOf(split, count, path);
  const notes: string[] = [];

  const dense = columns.filter(({ kind }) => kind === 'dense');
  const matrix = shared(count * dense.length);
  for (const [c, { name }] of dense.entries()) {
    const values = numbers(table.get(name)!, name, path, 'a finite number', Number.isFinite);
    const { mean, sd } = spreadOf(values, at, phases[0]!.train);
    if (sd === 0) notes.push(`the column "${name}" has one value in the training part and is 0 throughout`);
    for (let row = 0; row < count; row++)
      matrix[row * dense.length + c] = sd === 0 ? 0 : (values[at(row)]! - mean) / sd;
  }
  const categorical = columns.flatMap((column) => (column.kind === 'categorical' ? [column] : []));
  const ids = categorical.map(({ name }) => idsOf(table.get(name)!, name, at, phases, count, notes));
  const labelled = columns.flatMap((column) => (column.kind === 'label' ? [column] : []));
  const labels = labelled.map(({ name, loss }) => {
    const expected = isBinary(loss)
      ? 'a number from 0 to 1'
      : loss === 'poisson'
        ? 'a number from 0 on'
        : 'a finite number';
    const inRange = (x: number): boolean =>
      Number.isFinite(x) && (loss === 'mean-squared-error' || (x >= 0 && (loss === 'poisson' || x <= 1)));
    const values = numbers(table.get(name)!, name, path, expected, inRange);
    const out = shared(count);
    for (let row = 0; row < count; row++) out[row] = values[at(row)]!;
    return out;
  });
  return {
    features: [
      ...(dense.length === 0 ? [] : [{ name: 'dense', type: 'dense', size: dense.length }]),
      ...categorical.map(({ name, dim }, k) => ({
        name,
        type: 'categorical',
        vocabulary: Math.max(1, ids[k]!.vocabulary),
        dim,
      })),
    ],
    tasks: labelled.map(({ task, loss, weight }) => ({ name: task, loss, weight })),
    rows: {
      count,
      features: [...(dense.length === 0 ? [] : [matrix]), ...ids.map((one) => one.ids)],
      labels,
    },
    phases,
    notes,
  };
}

const shared = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(4 * length));

/** @throws study-values */
function numbers(
  column: ArrayLike<unknown>,
  name: string,
  path: string,
  expected: string,
  accepts: (x: number) => boolean,
): Float64Array {
  const values = new Float64Array(column.length);
  for (let row = 0; row < column.length; row++) {
    const value = numberIn(column[row]);
    if (value === undefined || !accepts(value)) {
      const text = String(column[row] ?? '');
      const found = text.trim() === '' ? 'an empty cell' : `"${text.slice(0, 60)}"`;
      throw diagError('study-values', { column: name, row, found, expected }, { path });
    }
    values[row] = value;
  }
  return values;
}

/** Rows by the values of a column; equal ones keep their order. */
function orderOf(column: ArrayLike<unknown>, name: string, path: string): Int32Array {
  const values = numbers(column, name, path, 'a number', (x) => !Number.isNaN(x));
  return Int32Array.from({ length: values.length }, (_, i) => i).sort(
    (a, b) => values[a]! - values[b]! || a - b,
  );
}

function spreadOf(values: Float64Array, at: (row: number) => number, [from, to]: Phase['train']) {
  let sum = 0;
  for (let row = from; row < to; row++) sum += values[at(row)]!;
  const mean = sum / (to - from);
  let squares = 0;
  for (let row = from; row < to; row++) squares += (values[at(row)]! - mean) ** 2;
  return { mean, sd: Math.sqrt(squares / (to - from)) };
}

/** Ids in the order of the categories as text; −1 for what no training row has. */
function idsOf(
  column: ArrayLike<unknown>,
  name: string,
  at: (row: number) => number,
  phases: readonly Phase[],
  count: number,
  notes: string[],
): { readonly ids: Int32Array; readonly vocabulary: number } {
  const textOf = (row: number): string => String(column[at(row)] ?? '');
  const seen = new Set<string>();
  for (const { train } of phases) for (let row = train[0]; row < train[1]; row++) seen.add(textOf(row));
  const idOf = new Map([...seen].sort().map((text, id) => [text, id]));
  const ids = new Int32Array(new SharedArrayBuffer(4 * count));
  for (let row = 0; row < count; row++) ids[row] = idOf.get(textOf(row)) ?? -1;
  let unseen = 0;
  let tested = 0;
  for (const { test } of phases)
    for (let row = test[0]; row < test[1]; row++) {
      tested++;
      if (ids[row]! < 0) unseen++;
    }
  if (unseen > 0)
    notes.push(
      `${formatCount(unseen)} of ${formatCount(tested)} test rows have a category of "${name}" that no training row has: a zero vector replaces it`,
    );
  return { ids, vocabulary: idOf.size };
}

/** @throws study-rows */
function phasesOf(split: StudySplit, count: number, path: string): Phase[] {
  if (!('windowSize' in split)) {
    const { train, test } = split;
    if (train + test > count)
      throw diagError(
        'study-rows',
        { wanted: train + test, what: `${train} to train, ${test} to test`, found: count },
        { path },
      );
    return [{ train: [0, train], test: [train, train + test] }];
  }
  const { windowSize: size, windowStep: step } = split;
  const phases: Phase[] = [];
  // Of the next window only what was not trained on is a test.
  for (let from = 0; from + step + size <= count; from += step)
    phases.push({
      train: [from, from + size],
      test: [Math.max(from + size, from + step), from + step + size],
    });
  if (phases.length === 0)
    throw diagError(
      'study-rows',
      { wanted: size + step, what: `two windows of ${size} every ${step}`, found: count },
      { path },
    );
  return phases;
}
