/** Tries the hypotheses on a chain that does not hold, and says which of them explain it. */
import type { Capture } from '../../read/captures/read.ts';
import type { RecordedSetup } from '../replay/from-capture.ts';
import type { Chain, Comparison } from './chain.ts';
import type { DeclaredClip } from './declared.ts';
import { CLOSES, type Fit, fitOf, thin } from './evaluate.ts';
import type { Candidate, Case } from './hypotheses/hypothesis.ts';
import { HYPOTHESES, LASTING } from './hypotheses/registry.ts';
import { stateTimes } from './hypotheses/state.ts';
import { type Course, sinceStep, type Trace, walkTrace } from './simulate.ts';
import type { Survey } from './survey.ts';

export interface Explanation {
  /** That closes the chain, the simplest first; empty where none does. */
  readonly closing: readonly Tried[];
  readonly declared: Fit;
  /** No other candidate comes within ten times the residual of the first. */
  readonly alone: boolean;
}

interface Tried {
  readonly candidate: Candidate;
  readonly fit: Fit;
}

/** How many times the residual of the cause every other one must leave. */
const APART = 10;
/** Entries that searches look at. */
const FEW = 600;

/** @param missed the comparisons that fail */
export function explain(
  capture: Capture,
  setup: RecordedSetup,
  clip: DeclaredClip | null,
  survey: Survey,
  chain: Chain,
  missed: readonly Comparison[],
): Explanation {
  const to = Math.min(...missed.map((one) => one.to));
  const first = missed.filter((one) => one.to === to);
  const from = Math.min(...first.map((one) => one.from));
  const tensors = new Set(first.map(({ tensor }) => tensor));
  const traces = chain.traces.filter(({ tensor }) => tensors.has(tensor));
  const { course: declared } = chain;
  const ends = new Map(traces.map((trace) => [trace, walkTrace(trace, declared, to)]));
  const few = thin(traces, FEW, (trace, i) =>
    Math.abs((trace.snapshots.get(to)?.[i] ?? 0) - ends.get(trace)!.w[i]!),
  );
  const one: Case = { capture, setup, clip, survey, declared, traces, few, all: chain.traces, from, to };
  const last = Math.max(...chain.comparisons.map(({ to: at }) => at));
  const judged = (candidate: Candidate): Tried => ({
    candidate,
    fit: fitOf(candidate.global ? chain.traces : traces, candidate.course, candidate.event ? to : last),
  });
  const tried = HYPOTHESES.flatMap((hypothesis) => hypothesis(one)).map(judged);
  // Searches over many steps, for what the simple changes leave.
  if (!tried.some(closes)) tried.push(...[...beginningWithin(one), ...stateTimes(one)].map(judged));
  const closing = tried.filter(closes);
  const [leading] = closing;
  const floor = leading === undefined ? 0 : Math.max(leading.fit.worst, 0.1);
  // The same cause that begins at another step is no other cause.
  const alone = tried.every(
    (other) => other.candidate.cause === leading?.candidate.cause || other.fit.worst >= APART * floor,
  );
  return { closing, declared: fitOf(traces, declared, to), alone };
}

const closes = ({ candidate: { mayMiss }, fit }: Tried): boolean =>
  mayMiss === undefined ? fit.worst <= CLOSES : fit.off <= mayMiss;

/** Steps of a stretch at which a change is tried to begin; of longer ones, some first and then those next to the best. */
const BEGINNINGS = 12;

/** A mean deviation below this is rounding, and says nothing of which step fits better. */
const ROUNDING = 0.3;

/** Every change that lasts, as beginning at the step of the first missed stretch that fits best; the steps before are as declared. */
function beginningWithin(one: Case): readonly Candidate[] {
  const { from, to, declared, few } = one;
  const best = new Map<string, { readonly candidate: Candidate; readonly deviation: number }>();
  const seen = new Set<number>();
  const tryAt = (at: number): void => {
    if (at < from || at >= to || at === 0 || seen.has(at)) return;
    seen.add(at);
    const later = few.map((trace) => beginAt(trace, declared, at));
    for (const candidate of LASTING.flatMap((hypothesis) => hypothesis({ ...one, few: later, from: at }))) {
      const { deviation } = fitOf(later, candidate.course, to);
      const key = `${candidate.cause} ${candidate.statement.replace(/\d\S*/g, '')}`;
      const known = best.get(key);
      const [now, before] = [deviation, known?.deviation ?? Number.POSITIVE_INFINITY].map((one) =>
        Math.max(one, ROUNDING),
      );
      // Of steps that fit equally the last one: before it the change did nothing.
      if (now! < before! || (now === before && at > (known?.candidate.at ?? -1)))
        best.set(key, { candidate: since(at, candidate, one), deviation });
    }
  };
  const stride = Math.ceil((to - from) / BEGINNINGS);
  for (let at = from; at < to; at += stride) tryAt(at);
  for (const { candidate } of [...best.values()])
    for (let at = candidate.at! - stride + 1; at < candidate.at! + stride; at++) tryAt(at);
  return [...best.values()].map(({ candidate }) => candidate);
}

/** A candidate that holds from a step on. */
const since = (at: number, candidate: Candidate, { declared, capture }: Case): Candidate => ({
  ...candidate,
  at,
  course: sinceStep(at, candidate.course, declared),
  statement: `from step ${capture.steps[at]!.step} on, ${candidate.statement}`,
});

/** A trace that is followed from a step on, where the declared course leads up to it. */
function beginAt(trace: Trace, declared: Course, at: number): Trace {
  const { w, slots, stepsTaken } = walkTrace(trace, declared, at);
  return { ...trace, begins: at, w: trace.snapshots.get(at) ?? w, slots, stepsTaken };
}
