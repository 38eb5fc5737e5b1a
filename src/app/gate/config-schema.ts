/** The form of a config, and what a file says that is of that form. */
import * as z from 'zod';
import { FINDINGS } from '../../judge/findings/registry.ts';
import { diagError } from '../../model/errors.ts';
import type { FindingType } from '../../model/finding.ts';
import { FIELD_ROLES } from '../../model/layout.ts';
import { MESSAGE_FIELDS, unknownFields } from '../../model/message-fields.ts';
import { didYouMean } from '../../model/nearest.ts';
import type { NumberRange } from '../../model/options.ts';
import { ROLES } from '../../model/run.ts';
import { PRESETS } from './presets.ts';
import { type RuleOptions, thresholdsIn } from './rule-options.ts';

const severity = z.enum(['off', 'note', 'warning', 'error']).meta({
  id: 'ruleSeverity',
  description: 'error fails the gate; warning and note are reported only; off is not judged',
});
const missing = z.enum(['error', 'warn', 'skip']).meta({
  id: 'ruleMissing',
  description:
    'what a metric that is not in the log means: error makes the gate inconclusive (default), warn says so and goes on, skip goes on',
});
const step = z.number().meta({ id: 'ruleStep', description: 'step, included' });
const max = z
  .int()
  .min(0)
  .meta({ id: 'ruleMax', description: 'budget: this many findings are allowed (default 0)' });

const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/);
const checkFields = (value: unknown, context: z.RefinementCtx): void => {
  for (const name of unknownFields(JSON.stringify(value)))
    context.addIssue({
      code: 'custom',
      message: `{${name}} is no field of a message; known are ${MESSAGE_FIELDS.join(', ')}`,
    });
};
const template = z.string().min(1).superRefine(checkFields);

const options = {
  max: max.optional(),
  missing: missing.optional(),
  from: step.optional(),
  to: step.optional(),
} satisfies Readonly<Record<keyof RuleOptions, z.ZodType>>;
type Severity = z.infer<typeof severity>;
export type RuleEntry =
  | Severity
  | readonly [Severity, RuleOptions]
  | ({ readonly severity: Severity } & RuleOptions);

const ruleWith = (members: z.ZodRawShape): z.ZodType<RuleEntry> =>
  z.union([
    severity,
    z.tuple([severity, z.strictObject(members)]),
    z.strictObject({ severity, ...members }),
  ]) as unknown as z.ZodType<RuleEntry>;

function numberIn({ min, max, above, integer }: NumberRange): z.ZodNumber {
  let schema = integer === true ? z.int() : z.number();
  if (Number.isFinite(min)) schema = above === true ? schema.gt(min) : schema.min(min);
  return Number.isFinite(max) ? schema.max(max) : schema;
}

/** The rules on findings have the thresholds of their findings as options. */
const rules = z
  .object(
    Object.fromEntries(
      Object.values(FINDINGS).map(({ id, title, thresholds }: FindingType) => [
        id,
        ruleWith({
          ...options,
          ...Object.fromEntries(
            thresholds.map(({ name, value, unit, range }) => [
              name,
              numberIn(range)
                .optional()
                .meta({ description: `threshold, in ${unit} (default ${value})` }),
            ]),
          ),
        })
          .optional()
          .meta({ description: title }),
      ]),
    ),
  )
  .catchall(ruleWith(options))
  .meta({
    id: 'rules',
    description: 'keys: a finding, a class of verdict, or a threshold like `p95(grad_norm) < 5`',
  }) as unknown as z.ZodType<Readonly<Record<string, RuleEntry>>>;

const preset = z.enum(Object.keys(PRESETS) as [keyof typeof PRESETS, ...(keyof typeof PRESETS)[]]);
const tolerance = z.number().min(0);

/** Published as schema/config.schema.json. */
export const configSchema = z
  .strictObject({
    $schema: z.string().optional(),
    version: z.union([z.literal(1), z.literal(2)]),
    extends: z.union([preset, z.array(preset)]).optional(),
    rules: rules.optional(),
    missing: missing.optional(),
    unread: z
      .union([z.literal('ignore'), z.array(z.string().min(1))])
      .optional()
      .meta({
        description:
          'files that say that they are logs and could not be read as such: the gate is inconclusive over them, but for those that one of these globs matches, or all with `ignore`',
      }),
    map: z
      .partialRecord(z.enum(ROLES), z.union([z.string().min(1), z.array(z.string().min(1))]))
      .optional()
      .meta({
        description: 'roles of series whatever their names say, as --map gives them: { loss: train/nll }',
      }),
    layouts: z
      .array(
        z.strictObject({
          name: z.string().min(1).max(80),
          sample: z.string().min(1).max(4096).meta({ description: 'a line of the log, as it is' }),
          fields: z
            .array(
              z.strictObject({
                at: z.int().min(1).max(128).meta({
                  description: 'its place among the numbers of the sample, as `inspect --tokens` counts them',
                }),
                name: z.string().min(1).max(80).optional(),
                role: z.enum(FIELD_ROLES).optional(),
              }),
            )
            .min(1)
            .max(128),
        }),
      )
      .max(100)
      .optional()
      .meta({ description: 'layouts of printed lines; `teach` writes them' }),
    offline: z.boolean().optional().meta({
      description: 'true: refuse URLs, so that nothing is sent anywhere (as --offline)',
    }),
    notify: z
      .strictObject({
        slack: variable.optional(),
        webhook: variable.optional(),
        pagerduty: variable.optional(),
        templates: z
          .strictObject({
            slack: template.optional(),
            pagerduty: template.optional(),
            webhook: z.record(z.string(), z.unknown()).superRefine(checkFields).optional(),
          })
          .optional()
          .meta({
            description: `what a channel sends, in words of your own with ${MESSAGE_FIELDS.map((name) => `{${name}}`).join(', ')}: the text of slack, the summary of pagerduty, the document of webhook`,
          }),
      })
      .optional()
      .meta({
        description:
          'names of the environment variables that hold the address or key of a channel of `watch --notify`; never the address itself',
      }),
    acceptGuess: z.boolean().optional().meta({
      description:
        'judge a text whose loss was found by its numbers alone (default false: the gate is inconclusive over it)',
    }),
    aggregate: z.enum(['worst', 'median', 'mean', 'best']).optional().meta({
      description:
        'how the seeds of one setting are judged together; worst (default): every seed must hold. A seed whose loss or value is not finite fails the setting under each of them. Runs whose names differ in a part like seed-3 or seed=3 only are one setting',
    }),
    expect: z
      .strictObject({
        steps: z.number().positive().optional().meta({ description: 'a run with fewer is not complete' }),
        runs: z.int().positive().optional().meta({ description: 'at least so many runs must be there' }),
      })
      .optional(),
    baseline: z
      .strictObject({
        file: z.string().min(1).meta({ description: 'relative to the config file' }),
        tolerance: z
          .strictObject({ relative: tolerance.optional(), absolute: tolerance.optional() })
          .optional(),
        severity: severity.optional(),
        ratchet: z.boolean().optional().meta({
          description: '`baseline update` keeps values that are better than the new ones (default true)',
        }),
      })
      .optional(),
    overrides: z
      .array(
        z.strictObject({
          runs: z.union([z.string().min(1), z.array(z.string().min(1))]),
          rules,
        }),
      )
      .optional(),
  })
  .meta({ title: 'clippy-diag gate', description: 'Policy of `clippy-diag gate` (.clippy-diag.yaml)' });

export type ConfigFile = z.infer<typeof configSchema>;

/** Whether an object in it has a member `__proto__`: zod drops those silently, and a rule must not vanish. */
const hasProto = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProto));

/** @throws config-invalid, config-unknown-rule, threshold-unknown, threshold-range, threshold-conflict */
export function parseConfig(value: unknown, path: string | null): ConfigFile {
  if (hasProto(value))
    throw diagError(
      'config-unknown-rule',
      { rule: '__proto__', nearest: 'none' },
      path === null ? undefined : { path },
    );
  const { rules: own, overrides } = (value ?? {}) as { rules?: unknown; overrides?: unknown };
  thresholdsIn(own, 'rules', path);
  if (Array.isArray(overrides))
    for (const [i, one] of overrides.entries())
      thresholdsIn((one as { rules?: unknown } | null)?.rules, `overrides.${i}.rules`, path);
  const parsed = configSchema.safeParse(value);
  if (parsed.success) {
    const { data } = parsed;
    // The schema hands members that it names out first; rules are reported in the order of their file.
    const inOrder = <T>(of: Readonly<Record<string, T>>, written: unknown): Readonly<Record<string, T>> =>
      Object.fromEntries(Object.keys(written as object).map((id) => [id, of[id]!]));
    return {
      ...data,
      ...(data.rules === undefined ? {} : { rules: inOrder(data.rules, own) }),
      ...(data.overrides === undefined
        ? {}
        : {
            overrides: data.overrides.map((one, i) => ({
              ...one,
              rules: inOrder(one.rules, (overrides as { rules: unknown }[])[i]!.rules),
            })),
          }),
    };
  }
  const issue = parsed.error.issues[0]!;
  throw diagError(
    'config-invalid',
    {
      at: issue.path.length === 0 ? 'its top' : issue.path.join('.'),
      problem: issue.message,
      hint: `${allowedAt(issue)}schema/config.schema.json describes the form; \`clippy-diag init\` writes an example`,
    },
    path === null ? undefined : { path },
  );
}

/** What is allowed at the place of an issue: the keys of the config, the nearest first, or the severities of a rule. */
function allowedAt(issue: z.core.$ZodIssue): string {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys' && path.length === 0) {
    const known = Object.keys(configSchema.shape);
    return `${didYouMean(issue.keys[0]!, known)}keys are ${known.join(', ')}; `;
  }
  if (path[0] === 'extends') return `presets are ${Object.keys(PRESETS).join(', ')}, one or a list of them; `;
  const isRule = path.at(-2) === 'rules' && issue.code === 'invalid_union';
  return isRule ? `a rule is ${severity.options.join(', ')}, or [severity, { option: value }]; ` : '';
}
