/** Tries the hypotheses on a chain that does not hold, and says which of them explain it. */
import type { Capture } from '../../read/captures/read.ts';
import type { RecordedSetup } from '../replay/from-capture.ts';
import type { Chain, Comparison } from './chain.ts';
import type { DeclaredClip } from './declared.ts';
import { CLOSES, type Fit, fitOf, thin } from './evaluate.ts';
import type { Candidate, Case } from './hypotheses/hypothesis.ts';
import { HYPOTHESES } from './hypotheses/registry.ts';
import { walkTrace } from './simulate.ts';
import type { Survey } from './survey.ts';

export interface Explanation {
  /** That closes the chain, the simplest first; empty where none does. */
  readonly closing: readonly { readonly candidate: Candidate; readonly fit: Fit }[];
  readonly declared: Fit;
  /** No other candidate comes within ten times the residual of the first. */
  readonly alone: boolean;
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
  const until = Math.max(...missed.map(({ to: at }) => at), to);
  const last = Math.max(...chain.comparisons.map(({ to: at }) => at));
  const tried = HYPOTHESES.flatMap((hypothesis) => hypothesis(one)).map((candidate) => ({
    candidate,
    fit: fitOf(
      candidate.global ? chain.traces : traces,
      candidate.course,
      candidate.event ? to : Math.max(until, last),
    ),
  }));
  const closing = tried.filter(({ candidate, fit }) =>
    candidate.mayMiss === undefined ? fit.worst <= CLOSES : fit.off <= candidate.mayMiss,
  );
  const [leading] = closing;
  const floor = leading === undefined ? 0 : Math.max(leading.fit.worst, 0.1);
  const alone = tried.every((other) => other === leading || other.fit.worst >= APART * floor);
  return { closing, declared: fitOf(traces, declared, to), alone };
}
