/** Replays and eigenvalues that the user's own framework computed and stored in `capture.json`: shown, never recomputed. */

import { endLevel } from '../../judge/incidents/losses.ts';
import { CURVATURE_OPERATORS, type CurvatureEntry, type EigenEstimate } from '../../model/curvature.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { isJsonObject, numberFromJson } from '../../model/json.ts';
import {
  FACTOR_PLACES,
  NO_RULE,
  REPLAY_MODES,
  REPLAY_VERDICTS,
  type ReplayEntry,
  type RuleOptions,
} from '../../model/replay.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { CaptureManifest } from '../../read/captures/manifest.ts';
import type { Capture } from '../../read/captures/read.ts';
import { chooseRules, ruleMembers } from '../../step/rules/choice.ts';
import { armLabel, batchesOf, endsBeside, judgeArm } from './arm-end.ts';
import { incidentOf } from './capture-incident.ts';
import { harmFrom, healthyBeside } from './outcome.ts';
import { readArm } from './read-arm.ts';
import { baselineOf, endedOf, endOfArm, judgedLoops, knownRule } from './recorded-loops.ts';
import { notShown, whyNotShown } from './shown-incident.ts';
import { type Judgement, judgeByReference, judgeClosedLoop } from './verdict.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * The stored entries that can be read, marked `recorded`, and a note for each that cannot. A closed loop that stores its
 * trace alone is judged here, against the one under the recorded clipping: on the reference batches where it has losses on them
 * (a batch that is left out has a bad loss and does no harm), else by its own losses.
 *
 * @param onsetStep of the incident if a log shows it more exactly than the recorded losses
 */
export function recordedReplays(
  capture: Pick<Capture, 'path' | 'steps' | 'manifest'>,
  onsetStep?: number,
): {
  readonly entries: readonly ReplayEntry[];
  readonly notes: readonly string[];
} {
  const { manifest } = capture;
  const idOf = new Map(capture.steps.map(({ step, batchId }) => [step, batchId]));
  const traces = manifest.replay.map((value) => {
    const trace = isJsonObject(value) ? readTrace(value) : null;
    return trace?.arm?.steps === undefined
      ? trace
      : { ...trace, arm: { ...trace.arm, ...batchesOf(trace.arm.steps, (step) => idOf.get(step)) } };
  });
  const judge = judgeOf(
    capture,
    traces.filter((trace) => trace !== null),
    onsetStep,
  );
  const entries: ReplayEntry[] = [];
  const notes: string[] = [];
  for (const [k, trace] of traces.entries()) {
    const stored = manifest.replay[k] as Json;
    const judged = trace === null ? null : (readVerdict(stored) ?? judge(trace));
    if (trace === null || judged === null)
      notes.push(
        `entry ${k} of "replay" in capture.json is ${trace === null ? 'no replay' : 'no closed loop that could be judged, and has no verdict'}; it is left out`,
      );
    else entries.push({ ...trace, ...judged });
  }
  return { entries, notes };
}

/**
 * What a guard would have known of the incident and what obeying it would have given, where `closed_loop` tried one; null where it did not.
 *
 * @param onsetStep of the incident, as the capture counts steps
 */
export function guardTried(
  { manifest, steps }: Pick<Capture, 'manifest' | 'steps'>,
  entries: readonly ReplayEntry[],
  onsetStep: number,
): string | null {
  const stored = manifest.replay.filter(isJsonObject);
  const tried = stored.find(
    ({ arm, advice }) => isJsonObject(arm) && arm.kind === 'guard' && Array.isArray(advice),
  );
  if (tried === undefined) return null;
  const advice = (tried.advice as readonly unknown[]).filter(
    (one): one is Json => isJsonObject(one) && Number.isSafeInteger(one.step),
  );
  if (advice.length === 0) return null;
  const alarm = advice.find(({ action }) => typeof action === 'string' && action !== 'apply');
  const begun = `A guard that begins at step ${steps[0]!.step}`;
  if (alarm === undefined) return `${begun} would not have warned of the incident of step ${onsetStep}.`;
  const ahead = onsetStep - (alarm.step as number);
  const count = Math.abs(ahead);
  const when =
    ahead === 0
      ? 'before that step was taken, at which the loss leaves its usual range'
      : `${countedPlain(count, 'step')} ${ahead > 0 ? 'before' : 'after'} the loss leaves its usual range`;
  const loops = entries.filter(({ mode }) => mode === 'closed-loop');
  const loop = loops.find(({ arm }) => arm?.kind === 'guard');
  const plain = loops.find(({ label, arm }) => arm === undefined && `${label}, guard` === loop?.label);
  const [obeyed, without] = [loop, plain].map((one) => endLevel(one?.referenceLoss ?? [Number.NaN])) as [
    number,
    number,
  ];
  const ends =
    plain?.referenceLoss === undefined
      ? ''
      : ` Obeyed, the run ends at ${formatNumber(obeyed)} on reference batches (without: ${formatNumber(without)}).`;
  const later = advice.filter(({ step }) => (step as number) >= (alarm.step as number));
  const refused = later.filter(({ action }) => action === 'skip').length;
  const saved =
    later.length >= 10 && refused > later.length / 2
      ? ` It refuses ${refused} of the ${later.length} steps from there on: such a run is stopped, not saved.`
      : '';
  return `${begun} would have warned at step ${alarm.step} (${String(alarm.action)}), ${when}.${ends}${saved}`;
}

type Trace = Omit<ReplayEntry, keyof Judgement>;

function readTrace(json: Json): Trace | null {
  const numbers = (value: unknown): number[] | null =>
    Array.isArray(value) ? value.map((x) => numberFromJson(x) ?? Number.NaN) : null;
  const steps = numbers(json.steps);
  const minClipFactor = numbers(json.minClipFactor);
  const mode = REPLAY_MODES.find((known) => known === json.mode);
  if (typeof json.rule !== 'string' || steps === null || minClipFactor === null || !mode) return null;
  if (minClipFactor.length !== steps.length || !steps.every(Number.isFinite)) return null;
  const optimizer = typeof json.optimizer === 'string' ? json.optimizer : settingsOf(json.optimizer);
  const ended = endOf(json.ended ?? { reason: 'completed', step: steps.at(-1) ?? 0 });
  const engaged = minClipFactor.map((factor) => factor !== 1);
  const first = engaged.indexOf(true);
  const bottleneck = json.bottleneck as Json | null | undefined;
  const rule = ruleOfTrace(json.rule, json);
  const arm = (json.arm ?? null) === null ? undefined : readArm(json.arm);
  if (optimizer === null || ended === null || rule === null || arm === null) return null;
  const { known, ...named } = rule;
  const place =
    FACTOR_PLACES.find((one) => one === bottleneck?.place) ??
    (known?.parts.length === 1 ? known.parts[0]!.rule.place : undefined);
  return {
    mode,
    ...named,
    ...(arm === undefined ? {} : { arm, label: `${named.label}, ${armLabel(arm)}` }),
    optimizer,
    steps,
    loss: numbers(json.loss),
    ...(json.referenceLoss === undefined ? {} : { referenceLoss: numbers(json.referenceLoss) ?? [] }),
    minClipFactor,
    updateNorm: numbers(json.updateNorm) ?? steps.map(() => Number.NaN),
    firstEngagedStep: first < 0 ? null : steps[first]!,
    engagedFraction: engaged.filter(Boolean).length / Math.max(steps.length, 1),
    ended,
    bottleneck:
      typeof bottleneck === 'object' && bottleneck !== null
        ? {
            tensor: String(bottleneck.tensor),
            index: finiteOf(bottleneck.index) ?? 0,
            factor: numberFromJson(bottleneck.factor) ?? Number.NaN,
            ...(place === undefined ? {} : { place }),
          }
        : null,
    source: 'recorded',
  };
}

const finiteOf = (value: unknown): number | null => (Number.isFinite(value) ? (value as number) : null);

/** Options by name, none where there are none; null for anything else. */
function settingsOf(value: unknown): RuleOptions | null {
  const given = value ?? {};
  if (!isJsonObject(given)) return null;
  const settings = Object.entries(given).map(([name, one]) => [name, numberFromJson(one) ?? one] as const);
  return settings.every(([, one]) => ['number', 'string', 'boolean'].includes(typeof one))
    ? (Object.fromEntries(settings) as RuleOptions)
    : null;
}

function endOf(value: unknown): ReplayEntry['ended'] | null {
  if (!isJsonObject(value)) return null;
  const { reason } = value;
  const step = finiteOf(value.step);
  return step !== null && (reason === 'completed' || reason === 'non-finite') ? { reason, step } : null;
}

type RuleOfTrace = Parameters<typeof chooseRules>[0][number];

/** The rule as the entry names it, and as it is known here: `known` is null where a rule or an option is not. */
function ruleOfTrace(rule: string, json: Json) {
  const options = settingsOf(json.options);
  const parts = Array.isArray(json.rules) ? (json.rules as Json[]) : null;
  const named = parts?.map((part) => ({ rule: String(part?.rule), options: settingsOf(part?.options) }));
  if (options === null || named?.some((part) => part.options === null)) return null;
  const known = knownRule(() =>
    chooseRules((named as readonly RuleOfTrace[] | undefined) ?? [{ rule, options }]),
  );
  const { label = rule, rules, lead } = known === null ? {} : ruleMembers(known);
  return {
    known,
    rule,
    label: typeof json.label === 'string' ? json.label : label,
    options,
    ...(rules === undefined ? {} : { rules }),
    ...(lead ? { lead } : {}),
  };
}

/** The verdict that came with an entry; null where there is none. */
function readVerdict(json: Json): Judgement | null {
  const verdict = REPLAY_VERDICTS.find((known) => known === json.verdict);
  const peak = numberFromJson(json.peak);
  return verdict === undefined
    ? null
    : {
        verdict,
        confidence: json.confidence === 'exact' ? 'exact' : 'estimate',
        why: typeof json.why === 'string' ? json.why : 'as recorded in the user’s framework',
        ...(peak === undefined ? {} : { peak }),
      };
}

/** Losses of a trace; the loss of a batch on which no step was taken says nothing, and is replaced by the one before. */
function lossesTaken({ loss, steps, arm }: Trace): readonly number[] {
  const leftOut = new Set(arm?.kind === 'skip-batches' ? arm.steps : []);
  let last = loss![0]!;
  return loss!.map((value, i) => {
    if (!leftOut.has(steps[i]!)) last = value;
    return last;
  });
}

/** Judges the closed loops among the traces; null for other traces, or without one to compare with. */
function judgeOf(
  capture: Pick<Capture, 'path' | 'steps' | 'manifest'>,
  traces: readonly Trace[],
  onsetStep: number | undefined,
): (trace: Trace) => Judgement | null {
  const baseline =
    baselineOf(traces, capture.manifest) ??
    traces.find(({ rule, mode, arm }) => rule === NO_RULE && mode === 'closed-loop' && arm === undefined);
  if (!baseline?.loss) return () => null;
  const { loss: without } = baseline;
  const { onset } = incidentOf(capture, onsetStep);
  const judged = onset === null ? null : judgedLoops(capture, traces, onset);
  const history = lossesBefore(capture);
  const recorded = capture.steps.map(({ loss }) => loss);
  const unshown =
    onset === null || without.length !== recorded.length
      ? null
      : whyNotShown(without, recorded, onset, baseline.steps, history);
  return (trace) => {
    if (trace.mode !== 'closed-loop' || trace.loss?.length !== without.length) return null;
    if (unshown !== null) return notShown(unshown);
    const loop = judged?.loops.find((one) => one === trace);
    if (judged === null || loop === undefined)
      return judgeClosedLoop(lossesTaken(trace), without, trace.steps, history);
    const { references, baseline: plain } = judged;
    const from = harmFrom(references, onset!);
    const healthy = healthyBeside(plain, endedOf(judged.loops), references, plain.updateNorm, from);
    // A guard decides by itself at each step, as a rule does.
    if (loop.arm === undefined || loop.arm.kind === 'guard')
      return judgeByReference({
        ...judged,
        trace: loop,
        onset: onset!,
        steps: trace.steps,
        history,
        others: endedOf(judged.loops),
      });
    return judgeArm(
      endOfArm(loop, references, endsBeside(judged.baseline, references, onset!, history, healthy)),
      references,
    );
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
    const entry = isJsonObject(value) ? readCurvature(value) : null;
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
  const stability = isJsonObject(json.stability) ? json.stability : null;
  return {
    checkpoint: text(json.checkpoint, 'capture.json'),
    step: finiteOf(json.step),
    method: json.method === 'power' ? 'power' : 'lanczos',
    operator,
    block: text(json.block, 'all'),
    task: text(json.task, 'all'),
    eigenvalues,
    largestMagnitude: numberFromJson(json.largestMagnitude) ?? Number.NaN,
    hvpCount: numberFromJson(json.hvpCount) ?? Number.NaN,
    hvpMethod: text(json.hvpMethod, 'not recorded'),
    stability: {
      learningRate: numberFromJson(stability?.learningRate) ?? null,
      limit: numberFromJson(stability?.limit) ?? null,
      ratio: numberFromJson(stability?.ratio) ?? null,
      ...(typeof stability?.forecast === 'boolean' ? { forecast: stability.forecast } : {}),
    },
    seed: numberFromJson(json.seed) ?? Number.NaN,
    backend: text(json.backend, 'not recorded'),
    source: 'recorded',
  };
}
