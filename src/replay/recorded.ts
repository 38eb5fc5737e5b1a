/** Replays that the user's own framework computed and stored in `capture.json`: shown, never recomputed. */
import type { CaptureManifest } from '../captures/manifest.ts';
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
