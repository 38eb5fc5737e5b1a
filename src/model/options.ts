/**
 * Named options with a meaning, a default and a range: what a clipping rule or an optimizer takes. Help, pages and
 * checks derive from these tables.
 */
import { diagError } from './errors.ts';
import { nearest } from './nearest.ts';

export type OptionValue = number | string | boolean;
/** Options by name; an optional one that was not given is absent. */
export type Options = Readonly<Record<string, OptionValue>>;

interface OptionBase {
  /** The reference's name, in camelCase. */
  readonly name: string;
  readonly meaning: string;
}
/** Numbers that are allowed. NaN is in no range. */
export interface NumberRange {
  /** Both ends belong to the range unless `above` is set, which leaves `min` itself out. */
  readonly min: number;
  readonly max: number;
  readonly above?: true;
  readonly integer?: true;
}
/** Ranges that most thresholds and options have. */
export const COUNT = { min: 1, max: Number.POSITIVE_INFINITY, integer: true } as const satisfies NumberRange;
export const SHARE = { min: 0, max: 1 } as const satisfies NumberRange;
export const RATIO = { min: 1, max: Number.POSITIVE_INFINITY } as const satisfies NumberRange;
export const POSITIVE = {
  min: 0,
  above: true,
  max: Number.POSITIVE_INFINITY,
} as const satisfies NumberRange;
export const NOT_NEGATIVE = { min: 0, max: Number.POSITIVE_INFINITY } as const satisfies NumberRange;

export interface NumberOption extends OptionBase, NumberRange {
  readonly type: 'number';
  /** null: left to the optimizer or the capture unless given. */
  readonly default: number | null;
}
export interface ChoiceOption extends OptionBase {
  readonly type: 'choice';
  readonly default: string | null;
  readonly choices: readonly string[];
}
export interface FlagOption extends OptionBase {
  readonly type: 'flag';
  readonly default: boolean;
}
export type OptionSpec = NumberOption | ChoiceOption | FlagOption;

type ValueOf<Spec> = Spec extends NumberOption
  ? number
  : Spec extends FlagOption
    ? boolean
    : Spec extends ChoiceOption
      ? Spec['choices'][number]
      : never;

/**
 * The complete options of a table: `OptionsOf<typeof OPTIONS>`, where OPTIONS is `as const`. What has no default of its own
 * may be absent.
 */
export type OptionsOf<Specs extends readonly OptionSpec[]> = {
  readonly [Spec in Specs[number] as Spec['default'] extends null ? never : Spec['name']]: ValueOf<Spec>;
} & {
  readonly [Spec in Specs[number] as Spec['default'] extends null ? Spec['name'] : never]?: ValueOf<Spec>;
};

/** The range or the choices of an option, in words. */
export function rangeOf(spec: OptionSpec): string {
  if (spec.type === 'flag') return 'true or false';
  if (spec.type === 'choice') return spec.choices.join(', ');
  return numbersIn(spec);
}

/** A range of numbers in words: "a whole number from 1", "a number above 0 to 1". */
export function numbersIn(spec: NumberRange): string {
  const kind = spec.integer ? 'whole number' : 'number';
  const low = spec.min === Number.NEGATIVE_INFINITY ? null : `${spec.above ? 'above' : 'from'} ${spec.min}`;
  const high = spec.max === Number.POSITIVE_INFINITY ? null : `to ${spec.max}`;
  return [`a ${kind}`, low, high].filter((part) => part !== null).join(' ');
}

const accepts = (spec: OptionSpec, value: unknown): value is OptionValue => {
  if (spec.type === 'flag') return typeof value === 'boolean';
  if (spec.type === 'choice') return typeof value === 'string' && spec.choices.includes(value);
  return typeof value === 'number' && isInRange(spec, value);
};

/** Whether a number lies in a range; NaN lies in none. */
export const isInRange = (range: NumberRange, value: number): boolean =>
  (range.above ? value > range.min : value >= range.min) &&
  value <= range.max &&
  (!range.integer || Number.isInteger(value));

/** The text of an option's value as the value itself: "0.1", "Infinity", "true", "delayed". */
export function parseOption(spec: OptionSpec, text: string): OptionValue {
  if (spec.type === 'choice') return text;
  if (spec.type === 'flag') return text === 'true' ? true : text === 'false' ? false : text;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  // What is not a number is quoted as it was written.
  return Number.isNaN(value) ? text : value;
}

/**
 * Defaults completed by what was given.
 *
 * @param owner what the options belong to, for messages: `rule "agc"`, `optimizer "adam"`
 * @throws option-unknown, option-range (NaN is in no range)
 */
export function resolveOptions<const Specs extends readonly OptionSpec[]>(
  owner: string,
  specs: Specs,
  given: Readonly<Record<string, unknown>>,
): OptionsOf<Specs> {
  const known = specs.map((spec) => spec.name);
  for (const name of Object.keys(given))
    if (!known.includes(name))
      throw diagError('option-unknown', { owner, name, nearest: nearest(name, known), known });
  const options: Record<string, OptionValue> = {};
  for (const spec of specs) {
    const value = Object.hasOwn(given, spec.name) ? given[spec.name] : spec.default;
    if (value === null || value === undefined) continue;
    if (!accepts(spec, value))
      throw diagError('option-range', {
        owner,
        name: spec.name,
        found: value === '' ? 'empty' : String(value),
        range: rangeOf(spec),
      });
    options[spec.name] = value;
  }
  return options as OptionsOf<Specs>;
}
