/** Replays and eigenvalues that the user's own framework computed and stored in `capture.json`: shown, never recomputed. */
import type { CaptureManifest } from '../captures/manifest.ts';
import { CURVATURE_OPERATORS, type CurvatureEntry, type EigenEstimate } from '../model/curvature.ts';
import { numberFromJson } from '../model/json.ts';
import { REPLAY_MODES, REPLAY_VERDICTS, type ReplayEntry } from '../model/replay.ts';

type Json = Readonly<Record<string, unknown>>;

/** The stored entries that can be read, marked `recorded`, and a note for each that cannot. */
export function recordedReplays(manifest: CaptureManifest): {
  readonly entries: readonly ReplayEntry[];
  readonly notes: readonly string[];
} {
  const entries: ReplayEntry[] = [];
  const notes: string[] = [];
  for (const [k, value] of manifest.replay.entries()) {
    const entry = typeof value === 'object' && value !== null ? readEntry(value as Json) : null;
    if (entry === null) notes.push(`entry ${k} of "replay" in capture.json is no replay and left out`);
    else entries.push(entry);
  }
  return { entries, notes };
}

function readEntry(json: Json): ReplayEntry | null {
  const numbers = (value: unknown): number[] | null =>
    Array.isArray(value) ? value.map((x) => numberFromJson(x) ?? Number.NaN) : null;
  const steps = numbers(json.steps);
  const minClipFactor = numbers(json.minClipFactor);
  const mode = REPLAY_MODES.find((known) => known === json.mode);
  const verdict = REPLAY_VERDICTS.find((known) => known === json.verdict);
  if (typeof json.rule !== 'string' || steps === null || minClipFactor === null || !mode || !verdict)
    return null;
  if (minClipFactor.length !== steps.length) return null;
  const engaged = minClipFactor.map((factor) => factor !== 1);
  const first = engaged.indexOf(true);
  const bottleneck = json.bottleneck as Json | null | undefined;
  const peak = numberFromJson(json.peak);
  return {
    mode,
    rule: json.rule,
    label: typeof json.label === 'string' ? json.label : json.rule,
    options: (json.options ?? {}) as ReplayEntry['options'],
    optimizer: (json.optimizer ?? {}) as ReplayEntry['optimizer'],
    steps,
    loss: numbers(json.loss),
    minClipFactor,
    updateNorm: numbers(json.updateNorm) ?? steps.map(() => Number.NaN),
    firstEngagedStep: first < 0 ? null : steps[first]!,
    engagedFraction: engaged.filter(Boolean).length / Math.max(steps.length, 1),
    ended: (json.ended ?? { reason: 'completed', step: steps.at(-1) ?? 0 }) as ReplayEntry['ended'],
    verdict,
    confidence: json.confidence === 'exact' ? 'exact' : 'estimate',
    why: typeof json.why === 'string' ? json.why : 'as recorded in the user’s framework',
    ...(peak === undefined ? {} : { peak }),
    bottleneck:
      typeof bottleneck === 'object' && bottleneck !== null
        ? {
            tensor: String(bottleneck.tensor),
            index: numberFromJson(bottleneck.index) ?? 0,
            factor: numberFromJson(bottleneck.factor) ?? Number.NaN,
          }
        : null,
    source: 'recorded',
  };
}

/** The stored eigenvalues that can be read, marked `recorded`; others are left out with a note. */
export function recordedCurvature(manifest: CaptureManifest): {
  readonly entries: readonly CurvatureEntry[];
  readonly notes: readonly string[];
} {
  const entries: CurvatureEntry[] = [];
  const notes: string[] = [];
  for (const [k, value] of manifest.curvature.entries()) {
    const entry = typeof value === 'object' && value !== null ? readCurvature(value as Json) : null;
    if (entry === null) notes.push(`entry ${k} of "curvature" in capture.json is no eigenvalue and left out`);
    else entries.push(entry);
  }
  return { entries, notes };
}

function readCurvature(json: Json): CurvatureEntry | null {
  const operator = CURVATURE_OPERATORS.find((known) => known === json.operator);
  const pairs = Array.isArray(json.eigenvalues) ? (json.eigenvalues as Json[]) : [];
  const eigenvalues = pairs.map(
    (pair): EigenEstimate => ({
      value: numberFromJson(pair?.value) ?? Number.NaN,
      residualNorm: numberFromJson(pair?.residualNorm) ?? Number.NaN,
      converged: pair?.converged === true,
      iterations: numberFromJson(pair?.iterations) ?? Number.NaN,
    }),
  );
  if (operator === undefined || eigenvalues.length === 0) return null;
  const text = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise);
  const stability = (typeof json.stability === 'object' ? json.stability : null) as Json | null;
  return {
    checkpoint: text(json.checkpoint, 'capture.json'),
    step: numberFromJson(json.step) ?? null,
    method: json.method === 'power' ? 'power' : 'lanczos',
    operator,
    block: text(json.block, 'all'),
    task: text(json.task, 'all'),
    eigenvalues,
    largestMagnitude: numberFromJson(json.largestMagnitude) ?? Number.NaN,
    hvpCount: numberFromJson(json.hvpCount) ?? Number.NaN,
    hvpMethod: text(json.hvpMethod, 'not told'),
    stability: {
      learningRate: numberFromJson(stability?.learningRate) ?? null,
      limit: numberFromJson(stability?.limit) ?? null,
      ratio: numberFromJson(stability?.ratio) ?? null,
    },
    seed: numberFromJson(json.seed) ?? Number.NaN,
    backend: text(json.backend, 'not told'),
    source: 'recorded',
  };
}
