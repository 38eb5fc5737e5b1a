/** `--rule` text: `clippy`, `clippy:tfrs,absoluteThreshold=0.01`, `agc:{0.1,0.01}`, `global-norm:1+rms:1`. */
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { type OptionValue, parseOption } from '../../model/options.ts';
import { compose, firstPreset, optionsOf, partOf, type RuleChoice, type RulePart, ruleOf } from './choice.ts';

/** Splits at a mark outside of braces; `joins` says of a mark whether it separates. */
function split(text: string, mark: string, joins: (at: number) => boolean = () => true): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}') depth--;
    else if (i === text.length || (text[i] === mark && depth === 0 && joins(i))) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  return parts;
}

/** Whether the `+` there is the sign of a number or of its exponent: `agc:+0.1`, `global-norm:1e+3`. */
const isSign = (text: string, at: number): boolean =>
  /^(?:[\d.]|Infinity)/.test(text.slice(at + 1)) && /[:=,]\s*$|[\d.]e$/i.test(text.slice(0, at));

/** Every way to take one value of each list, the last list fastest. */
const combinations = <T>(lists: readonly (readonly T[])[]): T[][] =>
  lists.reduce<T[][]>(
    (before, values) => before.flatMap((some) => values.map((value) => [...some, value])),
    [[]],
  );

/**
 * Reads one `--rule`: several choices where it holds a grid, in the order of the grid.
 *
 * @throws rule-unknown, rule-syntax, rule-grid-empty, option-unknown, option-range
 */
export function parseRule(text: string): RuleChoice[] {
  const parts = split(text, '+', (at) => !isSign(text, at));
  if (parts.length > 1 && parts.includes(''))
    throw diagError('rule-syntax', { text, problem: 'a rule is missing next to a "+"' });
  return combinations(parts.map(parsePart)).map(compose);
}

function parsePart(text: string): RulePart[] {
  const colon = text.indexOf(':');
  const rule = ruleOf((colon < 0 ? text : text.slice(0, colon)).trim());
  const specs = optionsOf(rule);
  const known = specs.map(({ name }) => name);
  const presets = Object.keys(rule.presets ?? {});
  let preset = firstPreset(rule);
  const axes = new Map<string, readonly OptionValue[]>();
  for (const [position, option] of (colon < 0 ? [] : split(text.slice(colon + 1), ',')).entries()) {
    if (option === '') throw diagError('rule-syntax', { text, problem: 'an option is empty' });
    const equals = option.indexOf('=');
    if (equals < 0 && position === 0 && presets.includes(option)) {
      preset = option;
      continue;
    }
    const name = equals >= 0 ? option.slice(0, equals).trim() : position === 0 ? rule.mainOption : null;
    if (name === null) {
      const instead =
        position === 0 && presets.length > 0 ? ` or is a preset; presets: ${presets.join(', ')}` : '';
      throw diagError('rule-syntax', { text, problem: `"${option}" needs a name${instead}` });
    }
    const spec = specs.find((candidate) => candidate.name === name);
    if (spec === undefined)
      throw diagError('option-unknown', {
        owner: `rule "${rule.id}"`,
        name,
        nearest: nearest(name, known),
        known,
      });
    if (axes.has(name)) throw diagError('rule-syntax', { text, problem: `${name} is given twice` });
    const values = valuesOf(text, `${rule.id}:${name}`, option.slice(equals + 1).trim());
    axes.set(
      name,
      values.map((value) => parseOption(spec, value)),
    );
  }
  const names = [...axes.keys()];
  return combinations([...axes.values()]).map((values) =>
    partOf(rule, preset, Object.fromEntries(names.map((name, i) => [name, values[i]!]))),
  );
}

/** The values of an option as texts: one, or those of a grid. */
function valuesOf(text: string, option: string, value: string): string[] {
  const grid = /^\{(.*)\}$/s.exec(value);
  if (grid === null && /[{}]/.test(value))
    throw diagError('rule-syntax', { text, problem: 'a brace is open' });
  const values = grid === null ? [value] : grid[1]!.split(',').map((entry) => entry.trim());
  if (values.every((entry) => entry === ''))
    throw diagError('rule-grid-empty', { text, example: `${option}={0.1,0.01}` });
  return values;
}
