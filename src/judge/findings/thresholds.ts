/** The user's numbers for thresholds: checked, joined, and merged with the defaults. */

import { diagError } from '../../model/errors.ts';
import type { FindingType, Threshold, Thresholds, ThresholdsInForce } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { didYouMean, nearest } from '../../model/nearest.ts';
import { isInRange, numbersIn } from '../../model/options.ts';
import type { SourceRef } from '../../model/source-ref.ts';
import { VERDICT_SETTINGS, type VerdictSettings } from '../incidents/settings.ts';
import { FINDINGS, type FindingId } from './registry.ts';

type NameOf<Id extends FindingId> = (typeof FINDINGS)[Id]['thresholds'][number]['name'];

/** Numbers in place of defaults: `{ drift: { driftRatio: 2 } }`. */
export type ThresholdOverrides = {
  readonly [Id in FindingId]?: { readonly [Name in NameOf<Id>]?: number };
};

/** The numbers that a run is judged by. */
export interface ResolvedThresholds {
  readonly inForce: ThresholdsInForce;
  /** Those of them that the judge of incidents uses. */
  readonly settings: VerdictSettings;
  /** Those that are not the defaults. A number of the judge is listed under every finding that declares it. */
  readonly changed: Thresholds;
}

const types: ReadonlyMap<string, FindingType> = new Map(Object.entries(FINDINGS));

/** Whether a threshold is a number of the judge of incidents: several findings declare it, and a run has one value for it. */
const isShared = (name: string): boolean => Object.hasOwn(VERDICT_SETTINGS, name);

/** Where numbers were given: `rules` of a config at its path, the flag, the option of the library. */
export interface ThresholdPlace {
  /** How the place is written in a message. */
  readonly at: (finding: string, name: string) => string;
  readonly where?: SourceRef;
  /** Other names that are allowed there. */
  readonly also?: readonly string[];
}

const IN_LIBRARY: ThresholdPlace = { at: (finding, name) => `thresholds.${finding}.${name}` };

/**
 * A number for a threshold, checked.
 *
 * @throws finding-unknown, threshold-unknown, threshold-range
 */
function checkThreshold(
  finding: string,
  name: string,
  value: unknown,
  { at, where, also = [] }: ThresholdPlace,
): number {
  const place = at(finding, name);
  const type = types.get(finding);
  if (type === undefined)
    throw diagError('finding-unknown', { place, finding, nearest: nearest(finding, types.keys()) }, where);
  const known = [...type.thresholds.map((threshold) => threshold.name), ...also];
  const threshold: Threshold | undefined = type.thresholds.find((one) => one.name === name);
  if (threshold === undefined)
    throw diagError(
      'threshold-unknown',
      {
        place,
        finding,
        name,
        known: known.length === 0 ? 'it has none' : `${didYouMean(name, known)}known: ${known.join(', ')}`,
      },
      where,
    );
  if (typeof value !== 'number' || !Number.isFinite(value) || !isInRange(threshold.range, value))
    throw diagError(
      'threshold-range',
      {
        place,
        finding,
        found: typeof value === 'string' ? `"${value}"` : String(value),
        range: numbersIn(threshold.range),
      },
      where,
    );
  return value;
}

/**
 * The numbers that were given at one place, by finding and threshold.
 *
 * @throws finding-unknown, threshold-unknown, threshold-range; threshold-conflict where a number of the judge is given
 *   two values
 */
export const readThresholds = (
  given: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  place: ThresholdPlace = IN_LIBRARY,
): Thresholds =>
  readThresholdList(
    Object.entries(given).flatMap(([finding, numbers]) =>
      Object.entries(numbers)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => ({ finding, name, value })),
    ),
    place,
  );

/** The same for a list, in which one may be given twice. */
export function readThresholdList(
  given: readonly { readonly finding: string; readonly name: string; readonly value: unknown }[],
  place: ThresholdPlace,
): Thresholds {
  const read: Record<string, Record<string, number>> = {};
  const first = new Map<string, { readonly at: string; readonly value: number }>();
  for (const { finding, name, value: number } of given) {
    const value = checkThreshold(finding, name, number, place);
    const at = place.at(finding, name);
    const key = isShared(name) ? name : `${finding}.${name}`;
    const before = first.get(key);
    if (before !== undefined && before.value !== value)
      throw diagError(
        'threshold-conflict',
        { name, first: before.at, firstValue: before.value, second: at, secondValue: value },
        place.where,
      );
    first.set(key, { at, value });
    for (const owner of isShared(name) ? ownersOf(name) : [finding])
      read[owner] = { ...read[owner], [name]: value };
  }
  return read;
}

/** The findings that declare a threshold of this name. */
const ownersOf = (name: string): string[] =>
  [...types.values()]
    .filter(({ thresholds }) => thresholds.some((one) => one.name === name))
    .map(({ id }) => id);

/** Numbers of several places: later ones win. */
export function joinThresholds(...layers: readonly Thresholds[]): Thresholds {
  const joined: Record<string, Record<string, number>> = {};
  for (const layer of layers)
    for (const [finding, numbers] of Object.entries(layer))
      joined[finding] = { ...joined[finding], ...numbers };
  return joined;
}

/** Numbers in words: `drift.driftRatio 2`; one that several findings share once. */
export function tellThresholds(numbers: Thresholds): string {
  const told = new Map<string, string>();
  for (const [finding, own] of Object.entries(numbers))
    for (const [name, value] of Object.entries(own)) {
      const key = isShared(name) ? name : `${finding}.${name}`;
      if (!told.has(key)) told.set(key, `${finding}.${name} ${formatNumber(value)}`);
    }
  return [...told.values()].join(', ');
}

/** Whether two runs were judged by the same numbers, given those of each that are not the defaults. */
export const areSame = (a: Thresholds, b: Thresholds): boolean =>
  [a, b].every((numbers) =>
    Object.entries(numbers).every(([finding, own]) =>
      Object.keys(own).every((name) => a[finding]?.[name] === b[finding]?.[name]),
    ),
  );

/** The numbers in force where these were given (by {@link readThresholds} or {@link joinThresholds}). */
export function resolveThresholds(given: Thresholds = {}): ResolvedThresholds {
  const numbers = new Map<string, ReadonlyMap<string, number>>();
  const changed: Record<string, Record<string, number>> = {};
  const settings: Record<string, number> = {};
  for (const [name, { value }] of Object.entries(VERDICT_SETTINGS)) settings[name] = value;
  for (const { id, thresholds } of types.values()) {
    const own = new Map<string, number>();
    for (const { name, value } of thresholds) {
      const number = given[id]?.[name] ?? value;
      own.set(name, number);
      if (isShared(name)) settings[name] = number;
      if (number !== value) changed[id] = { ...changed[id], [name]: number };
    }
    numbers.set(id, own);
  }
  return {
    inForce: (finding, name) => {
      const number = numbers.get(finding)?.get(name);
      if (number === undefined) throw new Error(`${finding} has no threshold "${name}"`);
      return number;
    },
    settings: settings as VerdictSettings,
    changed,
  };
}
