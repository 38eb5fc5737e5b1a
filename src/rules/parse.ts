/** `--rule` text: `clippy`, `clippy:tfrs,absoluteThreshold=0.01`, `global-norm:1.0`, `agc:{0.1,0.01}`. */
import { diagError } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import {
  type OptionSpec,
  type Options,
  type OptionValue,
  parseOption,
  resolveOptions,
} from '../model/options.ts';
import { RULES } from './registry.ts';
import type { ClipRule, OptimizerTraits } from './rule.ts';

/** A rule with all its options. */
export interface RuleChoice {
  readonly rule: ClipRule;
  /** Complete; options that are left to the optimizer are absent. */
  readonly options: Options;
  /** The shortest text that names it: `clippy:tfrs`, `agc:0.01`. */
  readonly label: string;
  /** The preset it started from; of a rule with presets and no text the first. */
  readonly preset?: string;
}

/** Every rule takes it: whether embedding tables take part. */
const EMBEDDINGS: OptionSpec = {
  name: 'embeddings',
  type: 'flag',
  default: true,
  meaning: 'whether embedding tables take part',
};

/** All options of a rule, the common one included. */
export const optionsOf = (rule: ClipRule): readonly OptionSpec[] =>
  rule.id === 'none' ? rule.options : [...rule.options, EMBEDDINGS];

/** Splits at commas outside of braces. */
function splitOptions(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}') depth--;
    else if (i === text.length || (text[i] === ',' && depth === 0)) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  return parts;
}

/** The rule of an id. @throws rule-unknown */
export function ruleOf(id: string): ClipRule {
  if (Object.hasOwn(RULES, id)) return RULES[id as keyof typeof RULES];
  const known = Object.keys(RULES);
  throw diagError('rule-unknown', { rule: id, nearest: nearest(id, known), known });
}

/**
 * Reads one `--rule`: several choices where it holds a grid, in the order of the grid.
 *
 * @throws rule-unknown, rule-syntax, rule-grid-empty, option-unknown, option-range
 */
export function parseRule(text: string): RuleChoice[] {
  const colon = text.indexOf(':');
  const rule = ruleOf((colon < 0 ? text : text.slice(0, colon)).trim());
  const specs = optionsOf(rule);
  const owner = `rule "${rule.id}"`;
  let preset = Object.keys(rule.presets ?? {})[0];
  const axes: { name: string; values: OptionValue[] }[] = [];
  const parts = colon < 0 ? [] : splitOptions(text.slice(colon + 1));
  parts.forEach((part, position) => {
    if (part === '') throw diagError('rule-syntax', { text, problem: 'an option is empty' });
    const equals = part.indexOf('=');
    if (equals < 0 && position === 0 && rule.presets && Object.hasOwn(rule.presets, part)) {
      preset = part;
      return;
    }
    const name = equals < 0 ? (position === 0 ? rule.mainOption : null) : part.slice(0, equals).trim();
    if (name === null)
      throw diagError('rule-syntax', {
        text,
        problem: `"${part}" needs a name${
          rule.presets && position === 0
            ? ` or is a preset; presets: ${Object.keys(rule.presets).join(', ')}`
            : ''
        }`,
      });
    const spec = specs.find((candidate) => candidate.name === name);
    const known = specs.map((candidate) => candidate.name);
    if (spec === undefined)
      throw diagError('option-unknown', { owner, name, nearest: nearest(name, known), known });
    const value = part.slice(equals + 1).trim();
    const grid = /^\{(.*)\}$/s.exec(value);
    if (grid === null && /[{}]/.test(value))
      throw diagError('rule-syntax', { text, problem: 'a brace is open' });
    const texts = grid === null ? [value] : grid[1]!.split(',').map((entry) => entry.trim());
    if (texts.every((entry) => entry === ''))
      throw diagError('rule-grid-empty', { text, example: `${rule.id}:${name}={0.1,0.01}` });
    if (axes.some((axis) => axis.name === name))
      throw diagError('rule-syntax', { text, problem: `${name} is given twice` });
    axes.push({ name, values: texts.map((entry) => parseOption(spec, entry)) });
  });
  const presetOptions = preset === undefined ? {} : rule.presets![preset]!;
  let combinations: Record<string, OptionValue>[] = [{}];
  for (const { name, values } of axes)
    combinations = combinations.flatMap((given) => values.map((value) => ({ ...given, [name]: value })));
  return combinations.map((given) => ({
    rule,
    options: resolveOptions(owner, specs, { ...presetOptions, ...given }),
    label: labelOf(rule, preset, given),
    ...(preset === undefined ? {} : { preset }),
  }));
}

/**
 * A rule by id and options, as capture.json names the clipping that was active.
 *
 * @throws rule-unknown, option-unknown, option-range
 */
export function chooseRule(id: string, given: Options): RuleChoice {
  const rule = ruleOf(id);
  const { preset = Object.keys(rule.presets ?? {})[0], ...own } = given;
  const from = typeof preset === 'string' ? (rule.presets?.[preset] ?? {}) : {};
  return {
    rule,
    options: resolveOptions(`rule "${id}"`, optionsOf(rule), { ...from, ...own }),
    label: labelOf(rule, typeof preset === 'string' ? preset : undefined, own),
    ...(typeof preset === 'string' ? { preset } : {}),
  };
}

function labelOf(rule: ClipRule, preset: string | undefined, given: Options): string {
  const fromPreset = preset === undefined ? {} : rule.presets![preset]!;
  const values = Object.entries(given)
    .filter(([name, value]) => fromPreset[name] !== value)
    .map(([name, value]) => (name === rule.mainOption ? String(value) : `${name}=${value}`));
  const parts = preset === undefined ? values : [preset, ...values];
  return parts.length === 0 ? rule.id : `${rule.id}:${parts.join(',')}`;
}

/**
 * The choice as it applies to an optimizer: what a preset says about Adagrad's accumulator is dropped where there is
 * none.
 *
 * @throws rule-undefined
 */
export function ruleForOptimizer(choice: RuleChoice, optimizer: OptimizerTraits): RuleChoice {
  const { rule, preset } = choice;
  let { options } = choice;
  if (preset !== undefined && !optimizer.hasAccumulator) {
    const fromPreset = rule.presets![preset]!;
    options = Object.fromEntries(
      Object.entries(options).filter(
        ([name, value]) => !(['accumulator', 'epsilon'].includes(name) && fromPreset[name] === value),
      ),
    );
  }
  const reason = rule.undefinedFor?.(optimizer, options) ?? null;
  if (reason !== null) throw diagError('rule-undefined', { rule: rule.id, optimizer: optimizer.id, reason });
  return { ...choice, options };
}
