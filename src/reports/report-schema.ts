/** The committed form of a report: what `analyze --json` writes and what `gate` and `report` read back. */
import { z } from 'zod';
import { diagError, type ErrorCode } from '../model/errors.ts';
import { SEVERITIES } from '../model/finding.ts';
import { RULE_STATUSES } from '../model/gate.ts';
import { numberFromJson } from '../model/json.ts';
import { REPLAY_MODES, REPLAY_VERDICTS } from '../model/replay.ts';
import { type Report, SCHEMA_VERSION, VERDICT_CLASSES } from '../model/report.ts';
import { ROLES } from '../model/run.ts';

/** A number; NaN and ±Infinity are strings in JSON. */
const number = z
  .union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])])
  .transform((value) => numberFromJson(value)!)
  .meta({ description: 'a number; "NaN", "Infinity" and "-Infinity" are strings' });
const numbers = z.array(number);
const count = z.number().min(0);
const step = z.number().nullable();

const place = z.looseObject({
  path: z.string(),
  line: z.number().optional(),
  byteOffset: z.number().optional(),
  tensor: z.string().optional(),
});
const error = z.looseObject({
  // The codes grow with the tool; a report of a newer one must stay readable.
  id: z.string() as unknown as z.ZodType<ErrorCode>,
  message: z.string(),
  hint: z.string().optional(),
  path: z.string().optional(),
  line: z.number().optional(),
  byteOffset: z.number().optional(),
  tensor: z.string().optional(),
});
const quantity = z.looseObject({ name: z.string(), value: number, unit: z.string() }).nullable();
const severity = z.enum(SEVERITIES);
const verdictClass = z.enum(VERDICT_CLASSES);

const finding = z.looseObject({
  id: z.string(),
  severity,
  message: z.string(),
  steps: z.tuple([z.number(), z.number()]).nullable(),
  series: z.string().nullable(),
  attempt: z.number().optional(),
  measured: quantity,
  threshold: quantity,
  locations: z.array(place),
  advice: z.string().nullable(),
});

const verdict = {
  class: verdictClass,
  series: z.string().nullable(),
  onsetStep: step,
  lastGoodStep: step,
  recoveredStep: step,
  why: z.string(),
  incidents: z.array(
    z.looseObject({
      class: verdictClass,
      series: z.string(),
      attempt: z.number(),
      onsetStep: z.number(),
      lastGoodStep: step,
      recoveredStep: step,
      peakStep: z.number(),
      peak: number,
    }),
  ),
};

const optionalNumber = number.nullable();
const statistics = z.looseObject({
  points: count,
  nan: count,
  posInf: count,
  negInf: count,
  first: number,
  last: number,
  lastStep: number,
  min: optionalNumber,
  max: optionalNumber,
  mean: optionalNumber,
  p50: optionalNumber,
  p90: optionalNumber,
  p95: optionalNumber,
  p99: optionalNumber,
});

const series = z
  .looseObject({
    name: z.string(),
    role: z.enum(ROLES),
    task: z.string().optional(),
    points: count,
    firstStep: numbers,
    lastStep: numbers,
    min: numbers,
    max: numbers,
    nonFinite: z.array(count),
    endsEarly: z.boolean().optional(),
    statistics,
  })
  .refine(
    (chart) =>
      [chart.lastStep, chart.min, chart.max, chart.nonFinite].every(
        (array) => array.length === chart.firstStep.length,
      ) && chart.points === chart.statistics.points,
    { message: 'its arrays or counts of points disagree' },
  );

const scalar = z.union([z.string(), z.boolean(), number]);
const replay = z.looseObject({
  mode: z.enum(REPLAY_MODES),
  rule: z.string(),
  options: z.record(z.string(), scalar),
  optimizer: z.union([z.string(), z.record(z.string(), scalar)]),
  steps: numbers,
  loss: numbers.nullable(),
  taskLoss: z.record(z.string(), numbers).optional(),
  minClipFactor: numbers,
  updateNorm: numbers,
  firstEngagedStep: step,
  engagedFraction: number,
  ended: z.looseObject({ reason: z.enum(['completed', 'non-finite']), step: z.number() }),
  verdict: z.enum(REPLAY_VERDICTS),
  confidence: z.enum(['exact', 'estimate']),
  why: z.string(),
  peak: number.optional(),
  bottleneck: z.looseObject({ tensor: z.string(), index: z.number(), factor: number }).nullable(),
  source: z.enum(['computed', 'recorded']).optional(),
});

const curvature = z.looseObject({
  checkpoint: z.string(),
  step,
  method: z.enum(['power', 'lanczos']),
  operator: z.enum(['hessian', 'preconditioned-hessian', 'gauss-newton']),
  block: z.string(),
  task: z.string(),
  eigenvalues: z.array(
    z.looseObject({
      value: number,
      residualNorm: number,
      converged: z.boolean(),
      iterations: z.number(),
    }),
  ),
  largestMagnitude: number,
  hvpCount: count,
  hvpMethod: z.string(),
  stability: z.looseObject({
    learningRate: optionalNumber,
    limit: optionalNumber,
    ratio: optionalNumber,
    rule: z.string().optional(),
  }),
  seed: z.number(),
  backend: z.string(),
  source: z.enum(['computed', 'recorded']),
  notes: z.array(z.string()).optional(),
});

const gate = z.looseObject({
  passed: z.boolean(),
  exitCode: z.union([z.literal(0), z.literal(1), z.literal(3), z.literal(4)]),
  rules: z.array(
    z.looseObject({
      id: z.string(),
      run: z.string(),
      severity,
      passed: z.boolean(),
      status: z.enum(RULE_STATUSES),
      expected: z.string(),
      found: optionalNumber,
      series: z.string().nullable(),
      step,
      message: z.string(),
      locations: z.array(place),
    }),
  ),
  problems: z.array(
    z.looseObject({
      exitCode: z.union([z.literal(3), z.literal(4)]),
      id: z.string(),
      run: z.string().nullable(),
      message: z.string(),
    }),
  ),
  skipped: z.array(
    z.looseObject({
      id: z.string(),
      run: z.string(),
      severity: z.enum(['note', 'warning']),
      reason: z.string(),
    }),
  ),
});

const run = z.looseObject({
  id: z.string(),
  paths: z.array(z.string()),
  stepUnit: z.enum(['step', 'epoch', 'row']),
  attempts: z.number(),
  attemptList: z.array(
    z.looseObject({
      index: z.number(),
      firstStep: number,
      lastStep: number,
      reason: z.enum(['start', 'step-went-back', 'new-file', 'restart-line']),
    }),
  ),
  verdict: z.looseObject(verdict),
  tasks: z.array(z.looseObject({ name: z.string(), class: verdictClass, onsetStep: step })),
  findings: z.array(finding),
  detectorsRun: z.array(z.string()).optional(),
  notRun: z.array(z.looseObject({ id: z.string(), reason: z.string() })),
  failedDetectors: z.array(z.looseObject({ id: z.string(), error })),
  advice: z.array(z.string()),
  rewind: z
    .looseObject({
      lastGoodStep: z.number(),
      rewindToStep: z.number(),
      rewindToCheckpoint: z.string().nullable(),
      skipSteps: z.tuple([z.number(), z.number()]),
      learningRateFactor: optionalNumber,
      why: z.string(),
    })
    .nullable(),
  series: z.array(series),
  hyperparameters: z.record(z.string(), z.union([z.string(), z.boolean(), number]).nullable()),
  notes: z.array(z.string()),
  replay: z.array(replay),
  curvature: z.array(curvature),
});

export const reportSchema = z
  .looseObject({
    schemaVersion: z.string(),
    toolVersion: z.string(),
    createdAt: z.string(),
    budget: z.number().optional(),
    inputs: z.array(
      z.looseObject({
        path: z.string(),
        format: z.string(),
        sha256: z.string().nullable(),
        kept: count.optional(),
        lost: count.optional(),
        unreadBytes: count.optional(),
        grownBytes: count.optional(),
        errors: z.array(error).optional(),
      }),
    ),
    verdict: z.looseObject({ ...verdict, run: z.string().nullable() }),
    runs: z.array(run),
    skipped: z.array(z.looseObject({ path: z.string(), reason: z.string() })),
    warnings: z.array(error),
    gate: gate.optional(),
  })
  .meta({ title: 'clippy-diag report', description: 'What `clippy-diag analyze --json` prints' });

/** Whether parsed JSON says of itself that it is a report, so that its errors are a report's. */
export const isReportLike = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'schemaVersion' in value && 'runs' in value;

/**
 * Reads a report back. Members that this version does not know stay, in their order: the report renders to the same
 * bytes.
 *
 * @throws report-invalid where it is no JSON, of another major version, or not of the form
 */
export function parseReport(text: string, path: string): Report {
  const invalid = (problem: string, cause?: unknown): Error =>
    diagError('report-invalid', { path, problem }, { path }, cause);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid((cause as Error).message, cause);
  }
  if (!isReportLike(value)) throw invalid('it has no "schemaVersion" and "runs"');
  const { schemaVersion } = value as { schemaVersion: unknown };
  if (String(schemaVersion).split('.')[0] !== SCHEMA_VERSION.split('.')[0])
    throw invalid(`it has schema version ${String(schemaVersion)}, this tool reads ${SCHEMA_VERSION}`);
  const parsed = reportSchema.safeParse(value);
  if (parsed.success) return inOrderOf(value, parsed.data) as Report;
  const issue = parsed.error.issues[0]!;
  throw invalid(`${issue.path.join('.') || 'its top'}: ${issue.message}`);
}

/** What zod made of a value, with the members in the order (and of the names, `__proto__` too) that they came in. */
function inOrderOf(original: unknown, parsed: unknown): unknown {
  if (Array.isArray(original) && Array.isArray(parsed))
    return original.map((member, i) => inOrderOf(member, parsed[i]));
  if (typeof original !== 'object' || original === null || typeof parsed !== 'object' || parsed === null)
    return parsed;
  const ordered = {};
  for (const key of Object.keys(original)) {
    const member = (original as Record<string, unknown>)[key];
    const value = Object.hasOwn(parsed, key)
      ? inOrderOf(member, (parsed as Record<string, unknown>)[key])
      : member;
    Object.defineProperty(ordered, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return ordered;
}
