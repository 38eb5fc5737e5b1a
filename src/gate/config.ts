/** The gate's config: its form, where it is found, and what it amounts to after presets and flags. */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { FINDINGS } from '../findings/registry.ts';
import { diagError } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import { VERDICT_CLASSES, type VerdictClass } from '../model/report.ts';
import { PRESETS } from './presets.ts';
import { parseThreshold, type Threshold } from './thresholds.ts';

const severity = z.enum(['off', 'note', 'warning', 'error']).meta({
  description: 'error fails the gate; warning and note are reported only; off is not judged',
});
const missing = z.enum(['error', 'warn', 'skip']).meta({
  description:
    'what a metric that is not in the log means: error makes the gate inconclusive (default), warn says so and goes on, skip goes on',
});
const step = z.number().meta({ description: 'step, included' });

const options = {
  max: z.int().min(0).optional().meta({ description: 'budget: this many findings are allowed (default 0)' }),
  missing: missing.optional(),
  from: step.optional(),
  to: step.optional(),
};
const rule = z.union([
  severity,
  z.tuple([severity, z.strictObject(options)]),
  z.strictObject({ severity, ...options }),
]);
const rules = z.record(z.string(), rule).meta({
  description: 'keys: a kind of finding, a class of verdict, or a threshold like `p95(grad_norm) < 5`',
});
const preset = z.enum(Object.keys(PRESETS) as [keyof typeof PRESETS, ...(keyof typeof PRESETS)[]]);
const tolerance = z.number().min(0);

export const configSchema = z
  .strictObject({
    $schema: z.string().optional(),
    version: z.literal(1),
    extends: z.union([preset, z.array(preset)]).optional(),
    rules: rules.optional(),
    missing: missing.optional(),
    aggregate: z.enum(['worst', 'median', 'mean', 'best']).optional().meta({
      description:
        'how the seeds of one setting are judged together; worst (default): every seed must hold. Runs whose names differ in a part like seed-3 or seed=3 only are one setting',
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

type ConfigFile = z.infer<typeof configSchema>;
type RuleEntry = z.infer<typeof rule>;

/** A rule as it is judged. */
export interface RuleConfig {
  readonly id: string;
  readonly severity: 'off' | 'note' | 'warning' | 'error';
  readonly threshold: Threshold | null;
  /** Findings that are allowed. */
  readonly max: number;
  readonly missing: 'error' | 'warn' | 'skip';
  readonly from: number;
  readonly to: number;
}

export interface GateConfig {
  /** Null where no file applies. */
  readonly path: string | null;
  readonly rules: ReadonlyMap<string, RuleConfig>;
  readonly overrides: readonly {
    readonly runs: readonly string[];
    readonly rules: ReadonlyMap<string, RuleConfig>;
  }[];
  readonly aggregate: 'worst' | 'median' | 'mean' | 'best';
  readonly expect: { readonly steps: number | null; readonly runs: number };
  readonly baseline: {
    readonly file: string;
    readonly tolerance: { readonly relative: number; readonly absolute: number };
    readonly severity: 'off' | 'note' | 'warning' | 'error';
    readonly ratchet: boolean;
  } | null;
}

/** Where a config is looked for, in every folder from the working folder up. */
export const CONFIG_PLACES = [
  '.clippy-diag.yaml',
  '.clippy-diag.yml',
  '.clippy-diag.json',
  'package.json',
] as const;

export interface ConfigOptions {
  /** Folder where the search begins. */
  readonly cwd: string;
  /** `--config FILE`. */
  readonly file?: string;
  /** `--no-config`. */
  readonly search?: boolean;
  /** `--rule`, each a finding, a class of verdict or a threshold; severity `error`. */
  readonly rules?: readonly string[];
}

/**
 * Finds the config, reads it, and works presets and flags in.
 *
 * Without a file and without `--rule`, the `recommended` preset applies; a file without `extends` has its own rules
 * only.
 *
 * @throws config-syntax, config-invalid, config-unknown-rule, config-bad-threshold, gate-without-rules, limit-exceeded
 */
export async function loadGateConfig(options: ConfigOptions): Promise<GateConfig> {
  const found = options.search === false ? null : await findConfig(options);
  const flags = options.rules ?? [];
  if (found === null && flags.length === 0 && options.search === false)
    throw diagError('gate-without-rules', { reason: '--no-config was given and no --rule' });
  return gateConfigFrom(
    found !== null ? found.value : flags.length > 0 ? { version: 1 } : { version: 1, extends: 'recommended' },
    { rules: flags, ...(found === null ? {} : { path: found.path }) },
  );
}

/**
 * The config that a parsed file amounts to.
 *
 * @throws config-invalid, config-unknown-rule, config-bad-threshold, gate-without-rules
 */
export function gateConfigFrom(
  value: unknown,
  { path = null, rules = [] }: { path?: string | null; rules?: readonly string[] } = {},
): GateConfig {
  const config = resolveConfig(parseConfig(value, path), path, rules);
  const judged = [config, ...config.overrides].some((part) =>
    [...part.rules.values()].some((rule) => rule.severity !== 'off'),
  );
  if (!judged && (config.baseline === null || config.baseline.severity === 'off'))
    throw diagError(
      'gate-without-rules',
      { reason: config.rules.size === 0 ? 'the config has none' : 'the config turns all of them off' },
      path === null ? undefined : { path },
    );
  return config;
}

async function findConfig(options: ConfigOptions): Promise<{ path: string; value: unknown } | null> {
  const { lilconfig } = await import('lilconfig');
  const searcher = lilconfig('clippy-diag', {
    searchPlaces: [...CONFIG_PLACES],
    packageProp: 'clippy-diag',
    // Without it the search ends at the home folder, and a checkout outside of it is searched to the root.
    stopDir: resolve('/'),
    cache: false,
    // An empty config is a mistake, not the absence of one.
    ignoreEmptySearchPlaces: false,
    loaders: {
      '.yaml': readYaml,
      '.yml': readYaml,
      '.json': readJson,
      noExt: readYaml,
    },
  });
  const path = options.file === undefined ? undefined : resolve(options.cwd, options.file);
  const result = await (path === undefined ? searcher.search(options.cwd) : searcher.load(path)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && path !== undefined)
        throw diagError('file-missing', { path, cwd: options.cwd }, { path }, error);
      if (typeof error.code === 'string' && error.syscall !== undefined)
        throw diagError(
          'file-unreadable',
          { path: path ?? options.cwd, reason: error.code },
          undefined,
          error,
        );
      throw error;
    },
  );
  if (result === null) return null;
  return {
    path: result.filepath,
    value: result.isEmpty ? null : (result.config as unknown),
  };
}

const MAX_BYTES = 1_000_000;
const MAX_ALIASES = 100;

function checkSize(path: string, content: string): void {
  const found = Buffer.byteLength(content);
  if (found > MAX_BYTES)
    throw diagError(
      'limit-exceeded',
      {
        what: 'the size of the config in bytes',
        found,
        limit: MAX_BYTES,
        hint: 'a config is a page of text',
      },
      { path },
    );
}

async function readYaml(path: string, content: string): Promise<unknown> {
  checkSize(path, content);
  const { parseDocument, LineCounter } = await import('yaml');
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem !== undefined)
    throw diagError(
      'config-syntax',
      {
        language: 'YAML',
        reason: problem.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, ''),
      },
      { path, line: lineCounter.linePos(problem.pos[0]).line },
    );
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    if (error instanceof ReferenceError)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the number of aliases that the config resolves',
          found: `more than ${MAX_ALIASES}`,
          limit: MAX_ALIASES,
          hint: 'write the rules out',
        },
        { path },
        error,
      );
    throw error;
  }
}

function readJson(path: string, content: string): unknown {
  // A package.json is no config of ours until its key says so: its size and syntax are its owner's.
  if (!path.endsWith('package.json')) checkSize(path, content);
  try {
    return JSON.parse(content) as unknown;
  } catch (error) {
    throw diagError('config-syntax', { language: 'JSON', reason: (error as Error).message }, { path }, error);
  }
}

/** Whether an object in it has a member `__proto__`: zod drops those silently, and a rule must not vanish. */
const hasProto = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProto));

function parseConfig(value: unknown, path: string | null): ConfigFile {
  if (hasProto(value))
    throw diagError(
      'config-unknown-rule',
      { rule: '__proto__', nearest: 'none' },
      path === null ? undefined : { path },
    );
  const parsed = configSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw diagError(
    'config-invalid',
    {
      at: issue.path.length === 0 ? 'its top' : issue.path.join('.'),
      problem: issue.message,
      hint: 'schema/config.schema.json describes the form; `clippy-diag init` writes an example',
    },
    path === null ? undefined : { path },
  );
}

/** The file's rules on top of its presets, the flags' on top of both. */
function resolveConfig(file: ConfigFile, path: string | null, flags: readonly string[]): GateConfig {
  const known = [...Object.keys(FINDINGS), ...VERDICT_CLASSES.filter(isBad)];
  const where = path === null ? undefined : { path };
  const read = (entries: Iterable<readonly [string, RuleEntry]>, into: Map<string, RuleConfig>): void => {
    for (const [id, entry] of entries) {
      const threshold = parseThreshold(id);
      if (typeof threshold === 'string')
        throw diagError('config-bad-threshold', { rule: id, problem: threshold }, where);
      if (threshold === undefined && !known.includes(id))
        throw diagError('config-unknown-rule', { rule: id, nearest: nearest(id, known) }, where);
      const base = { max: 0, missing: file.missing ?? 'error', from: -Infinity, to: Infinity } as const;
      const given =
        typeof entry === 'string'
          ? { severity: entry }
          : Array.isArray(entry)
            ? { severity: entry[0], ...entry[1] }
            : entry;
      if (threshold !== undefined && given.max !== undefined)
        throw diagError(
          'config-bad-threshold',
          { rule: id, problem: '`max` is a budget of findings, a threshold has none' },
          where,
        );
      const rule: RuleConfig = { ...base, ...withoutUndefined(given), id, threshold: threshold ?? null };
      if (rule.from > rule.to)
        throw diagError(
          'config-bad-threshold',
          { rule: id, problem: `its window from ${rule.from} to ${rule.to} is empty` },
          where,
        );
      into.set(id, rule);
    }
  };
  const rules = new Map<string, RuleConfig>();
  for (const name of [file.extends ?? []].flat()) read(Object.entries(PRESETS[name].rules), rules);
  read(Object.entries(file.rules ?? {}), rules);
  read(
    flags.map((flag) => [flag, 'error'] as const),
    rules,
  );
  return {
    path,
    rules,
    overrides: (file.overrides ?? []).map((override) => {
      const own = new Map<string, RuleConfig>();
      read(Object.entries(override.rules), own);
      return { runs: [override.runs].flat(), rules: own };
    }),
    aggregate: file.aggregate ?? 'worst',
    expect: { steps: file.expect?.steps ?? null, runs: file.expect?.runs ?? 1 },
    baseline:
      file.baseline === undefined
        ? null
        : {
            file: resolve(path === null ? '.' : dirname(path), file.baseline.file),
            tolerance: {
              relative: file.baseline.tolerance?.relative ?? 0,
              absolute: file.baseline.tolerance?.absolute ?? 0,
            },
            severity: file.baseline.severity ?? 'error',
            ratchet: file.baseline.ratchet ?? true,
          },
  };
}

/** Classes that a rule can forbid. */
const isBad = (name: VerdictClass): boolean => name !== 'healthy' && name !== 'inconclusive';

/** zod's optional keys without their `undefined`, so that they cannot cover a default. */
const withoutUndefined = <T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
