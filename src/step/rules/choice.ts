/** Rules as chosen: with all their options, one alone or several applied one after the other. */
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { type OptionSpec, type Options, type OptionValue, resolveOptions } from '../../model/options.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import type { ClippingInForce } from '../../model/run-settings.ts';
import { globalNormRule } from './global-norm.ts';
import { layerNorm } from './layer-norm.ts';
import { none } from './none.ts';
import { RULES } from './registry.ts';
import type { ClipRule, OptimizerTraits } from './rule.ts';
import { value as valueRule } from './value.ts';

/** A rule with all its options. */
export interface RulePart {
  readonly rule: ClipRule;
  /** Complete; options that are left to the optimizer are absent. */
  readonly options: Options;
  /** The shortest text that names it: `clippy:tfrs`, `agc:0.01`. */
  readonly label: string;
  /** The preset it started from; of a rule with presets and no text the first. */
  readonly preset?: string;
}

/**
 * What one `--rule` names: a rule, or several. These apply stage by stage (gradient, direction, update), within a stage as
 * written, each to what the one before has left.
 */
export interface RuleChoice {
  /** Ids of the parts, joined with `+`. */
  readonly id: string;
  /** Labels of the parts, joined with `+`. */
  readonly label: string;
  readonly parts: readonly RulePart[];
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
  rule.identity ? rule.options : [...rule.options, EMBEDDINGS];

const QK_CLIP =
  'it rescales the query and key weights of each head whose largest attention logit was above its limit, and no capture holds attention logits';
/** Rules that people will ask for, by their names in lower case, and what a replay of them lacks. */
const NOT_REPLAYED: ReadonlyMap<string, string> = new Map([
  ['qk-clip', QK_CLIP],
  ['muonclip', QK_CLIP],
]);

/** The rule of an id. @throws rule-unknown, rule-not-replayed */
export function ruleOf(id: string): ClipRule {
  if (Object.hasOwn(RULES, id)) return RULES[id as keyof typeof RULES];
  const reason = NOT_REPLAYED.get(id.toLowerCase());
  if (reason !== undefined) throw diagError('rule-not-replayed', { rule: id, reason });
  const known = Object.keys(RULES);
  throw diagError('rule-unknown', { rule: id, nearest: nearest(id, known), known });
}

/**
 * A rule with the options given over those of its preset.
 *
 * @throws option-unknown, option-range
 */
export function partOf(rule: ClipRule, preset: string | undefined, given: Options): RulePart {
  const fromPreset = preset === undefined ? {} : (rule.presets?.[preset] ?? {});
  return {
    rule,
    options: resolveOptions(`rule "${rule.id}"`, optionsOf(rule), { ...fromPreset, ...given }),
    label: labelOf(rule, preset, given),
    ...(preset === undefined ? {} : { preset }),
  };
}

function labelOf(rule: ClipRule, preset: string | undefined, given: Options): string {
  const fromPreset = preset === undefined ? {} : rule.presets![preset]!;
  const values = Object.entries(given)
    .filter(([name, value]) => fromPreset[name] !== value)
    // Only the first may go unnamed.
    .map(([name, value], i) => (name === rule.mainOption && i === 0 ? String(value) : `${name}=${value}`));
  const words = preset === undefined ? values : [preset, ...values];
  return words.length === 0 ? rule.id : `${rule.id}:${words.join(',')}`;
}

/** The preset that a rule starts from where none is named. */
export const firstPreset = (rule: ClipRule): string | undefined => Object.keys(rule.presets ?? {})[0];

/** Parts as one rule. */
export const compose = (parts: readonly RulePart[]): RuleChoice => ({
  id: parts.map(({ rule }) => rule.id).join('+'),
  label: parts.map(({ label }) => label).join('+'),
  parts,
});

/** The baseline of every comparison. */
export const NO_CLIPPING: RuleChoice = compose([partOf(none, undefined, {})]);

const IN_FORCE = { all: globalNormRule, each: layerNorm, entries: valueRule } as const;

/** Clipping that was in force, by its kind and limit, as a rule. */
export function ruleInForce({ of, limit }: ClippingInForce): RuleChoice {
  const rule = IN_FORCE[of];
  return compose([partOf(rule, undefined, { [rule.mainOption!]: limit })]);
}

/** Whether a choice leaves every step unchanged. */
export const leavesAll = ({ parts }: RuleChoice): boolean => parts.every(({ rule }) => rule.identity);

/**
 * Rules by id and options, as capture.json names the clipping that was active; without any, none.
 *
 * @throws rule-unknown, option-unknown, option-range
 */
export function chooseRules(
  given: readonly { readonly rule: string; readonly options: Options }[],
): RuleChoice {
  if (given.length === 0) return NO_CLIPPING;
  return compose(
    given.map(({ rule: id, options }) => {
      const rule = ruleOf(id);
      const { preset = firstPreset(rule), ...own } = options;
      if (preset !== undefined && !Object.hasOwn(rule.presets ?? {}, String(preset)))
        throw diagError('option-range', {
          owner: `rule "${id}"`,
          name: 'preset',
          found: String(preset),
          range: Object.keys(rule.presets ?? {}).join(', ') || 'left out: the rule has no presets',
        });
      return partOf(rule, preset as string | undefined, own);
    }),
  );
}

/** A rule as it applies to one optimizer. */
export interface AppliedRule {
  readonly choice: RuleChoice;
  /** Options of the optimizer that the rule's own replace. */
  readonly overrides: Options;
  /** The rule's own learning rate; undefined where it leaves the optimizer's. */
  readonly learningRate: number | undefined;
}

/**
 * The rule as it applies to an optimizer: what a preset says about Adagrad's accumulator is dropped where there is none.
 *
 * @throws rule-undefined, rule-conflict (two parts that set an option of the optimizer to different values)
 */
export function ruleForOptimizer(choice: RuleChoice, optimizer: OptimizerTraits): AppliedRule {
  const parts = choice.parts.map((part) => partForOptimizer(part, optimizer));
  const set = new Map<string, { readonly value: OptionValue; readonly by: string }>();
  for (const { rule, options, label } of parts) {
    const learningRate = rule.learningRate?.(options);
    const own = { ...rule.overrides?.(options), ...(learningRate === undefined ? {} : { learningRate }) };
    for (const [name, value] of Object.entries(own)) {
      const other = set.get(name);
      if (other !== undefined && other.value !== value)
        throw diagError('rule-conflict', {
          rule: choice.label,
          option: name,
          first: other.by,
          second: label,
          firstValue: String(other.value),
          secondValue: String(value),
        });
      set.set(name, { value, by: label });
    }
  }
  const { learningRate, ...overrides } = Object.fromEntries(
    [...set].map(([name, { value }]) => [name, value]),
  );
  return {
    choice: { ...choice, parts },
    overrides,
    learningRate: typeof learningRate === 'number' ? learningRate : undefined,
  };
}

function partForOptimizer(part: RulePart, optimizer: OptimizerTraits): RulePart {
  const { rule, preset } = part;
  const fromPreset = preset === undefined ? {} : rule.presets![preset]!;
  const dropped = optimizer.hasAccumulator ? [] : (rule.accumulatorOptions ?? []);
  const options = Object.fromEntries(
    Object.entries(part.options).filter(
      ([name, value]) =>
        !(dropped.includes(name) && Object.hasOwn(fromPreset, name) && fromPreset[name] === value),
    ),
  );
  const reason = rule.undefinedFor?.(optimizer, options) ?? null;
  if (reason !== null) throw diagError('rule-undefined', { rule: rule.id, optimizer: optimizer.id, reason });
  return { ...part, options };
}

/** How an entry of `replay` names a rule. */
export function ruleMembers({
  id,
  label,
  parts,
}: RuleChoice): Pick<ReplayEntry, 'rule' | 'label' | 'options' | 'rules' | 'lead'> {
  const optionsOfPart = ({ preset, options }: RulePart): Options => ({
    ...(preset === undefined ? {} : { preset }),
    ...options,
  });
  return {
    rule: id,
    label,
    options: parts.length === 1 ? optionsOfPart(parts[0]!) : {},
    ...(parts.length === 1
      ? {}
      : {
          rules: parts.map((part) => ({
            rule: part.rule.id,
            label: part.label,
            options: optionsOfPart(part),
          })),
        }),
    ...(parts.some(({ rule }) => rule.lead) ? { lead: true as const } : {}),
  };
}
