/** The optimizer's state: begun anew, an older one, or that of another tensor. */
import { bestFactor, fitOf } from '../evaluate.ts';
import { type Course, type Trace, type TraceState, walkTrace } from '../simulate.ts';
import { type Case, factorWords, type Hypothesis } from './hypothesis.ts';

const FIX = 'load optimizer.state_dict() together with the weights, and build the optimizer once';

const hasState = ({ few }: Case): boolean =>
  few.some(({ slots, w }) => Object.keys(slots).length > 0 && w.length > 0);

function beginAnew(state: TraceState, counter: boolean): void {
  const { optimizer, options } = state.trace.choice;
  for (const { name, initial } of optimizer.slots(options)) state.slots[name]!.fill(initial);
  if (counter) state.stepsTaken = 0;
}

/** The state begins anew before one of the steps of the stretch. */
export const stateFresh: Hypothesis = (one) => {
  if (!hasState(one)) return [];
  const { declared, few, from, to, capture } = one;
  const course = (at: number, counter: boolean): Course => ({
    ...declared,
    before: (step, state) => {
      if (step === at) beginAnew(state, counter);
    },
  });
  const tried = [];
  for (let at = from; at < to; at++)
    for (const counter of [true, false])
      tried.push({ at, counter, deviation: fitOf(few, course(at, counter), to).deviation });
  const best = tried.reduce((a, b) => (b.deviation < a.deviation ? b : a));
  const step = capture.steps[best.at]!.step;
  return [
    {
      cause: 'state-fresh',
      factor: null,
      course: course(best.at, best.counter),
      event: true,
      global: false,
      at: best.at,
      statement: `the optimizer's state begins anew at step ${step}${best.counter ? '' : ', and its step counter goes on'}`,
      fix: FIX,
    },
  ];
};

/** Sizes of a state that another training would have left: by half powers of ten. */
const SIZES = Array.from({ length: 33 }, (_, k) => 10 ** ((k - 16) / 2));

/** One part of the state is multiplied before one of the steps of the stretch: that of a time of other gradients, or of another loss scale. */
export const stateTimes: Hypothesis = (one) => {
  if (!hasState(one)) return [];
  const { declared, few, from, to, capture } = one;
  const course = (slot: string, at: number, times: number): Course => ({
    ...declared,
    before: (step, { slots }) => {
      const values = slots[slot];
      if (step === at && values !== undefined) for (const [i, x] of values.entries()) values[i] = x * times;
    },
  });
  const names = [...new Set(few.flatMap(({ slots }) => Object.keys(slots)))];
  return names.map((slot) => {
    const tried = Array.from({ length: to - from }, (_, k) => ({
      at: from + k,
      ...bestFactor((times) => fitOf(few, course(slot, from + k, times), to).deviation, SIZES),
    }));
    const { at, factor } = tried.reduce((a, b) => (b.deviation < a.deviation ? b : a));
    return {
      cause: 'state-stale' as const,
      factor,
      course: course(slot, at, factor),
      event: true,
      global: false,
      at,
      statement: `the optimizer's state "${slot}" is ${factorWords(factor)} times as large as the recorded steps give it, from step ${capture.steps[at]!.step} on`,
      fix: FIX,
    };
  });
};

/** Copies of the state of each trace before every step up to a position. */
function statesBefore(traces: readonly Trace[], course: Course, until: number): TraceState[][] {
  return traces.map((trace) => {
    const kept: TraceState[] = [];
    const watched: Course = {
      ...course,
      before: (step, state) => {
        const slots = Object.entries(state.slots).map(([name, slot]) => [name, slot.slice()] as const);
        kept[step] = { ...state, slots: Object.fromEntries(slots) };
      },
    };
    walkTrace(trace, watched, until);
    return kept;
  });
}

/** The state is set back to that of an earlier recorded step. */
export const stateStale: Hypothesis = (one) => {
  if (!hasState(one)) return [];
  const { declared, traces, few, from, to, capture } = one;
  const kept = statesBefore(few, declared, to);
  const courseOn = (of: readonly Trace[], states: TraceState[][], at: number, source: number): Course => {
    const positions = new Map(of.map((trace, k) => [trace, k]));
    return {
      ...declared,
      before: (step, state) => {
        const k = positions.get(state.trace);
        if (step !== at || k === undefined) return;
        const older = states[k]![source]!;
        for (const [name, slot] of Object.entries(older.slots)) state.slots[name]!.set(slot);
        state.stepsTaken = older.stepsTaken;
      },
    };
  };
  let best = { at: -1, source: 0, deviation: Number.POSITIVE_INFINITY };
  for (let at = Math.max(1, from); at < to; at++)
    for (let source = 0; source < at; source++) {
      const { deviation } = fitOf(few, courseOn(few, kept, at, source), to);
      if (deviation < best.deviation) best = { at, source, deviation };
    }
  if (best.at < 0) return [];
  const { steps } = capture;
  return [
    {
      cause: 'state-stale',
      factor: null,
      course: courseOn(traces, statesBefore(traces, declared, to), best.at, best.source),
      event: true,
      global: false,
      at: best.at,
      statement: `the optimizer's state at step ${steps[best.at]!.step} is that of before step ${steps[best.source]!.step}`,
      fix: 'load weights and optimizer state of the same step',
    },
  ];
};

/** The state of a tensor is that of another one of its shape, from a step of the stretch on. */
export const stateOfOther: Hypothesis = (one) => {
  if (!hasState(one)) return [];
  const { declared, traces, all, from, to, capture } = one;
  const shapes = capture.manifest.parameters.map(({ shape }) => shape.join());
  const alike = (a: Trace, b: Trace): boolean =>
    a.tensor !== b.tensor && shapes[a.tensor] === shapes[b.tensor] && a.group === b.group;
  const owners = all.filter((other) => traces.some((trace) => alike(trace, other)));
  if (traces.length === 0 || traces.some((trace) => !owners.some((other) => alike(trace, other)))) return [];
  const kept = statesBefore(owners, declared, to);
  const courseOf = (at: number, pairs: ReadonlyMap<Trace, Trace>): Course => ({
    ...declared,
    before: (step, state) => {
      const other = step === at ? pairs.get(state.trace) : undefined;
      const source = other === undefined ? undefined : kept[owners.indexOf(other)]![at];
      if (source === undefined) return;
      for (const [name, slot] of Object.entries(source.slots)) state.slots[name]!.set(slot);
      state.stepsTaken = source.stepsTaken;
    },
  });
  let best = { at: -1, deviation: Number.POSITIVE_INFINITY, pairs: new Map<Trace, Trace>() };
  for (let at = from; at < to; at++) {
    const fits = traces.map((trace) =>
      owners
        .filter((other) => alike(trace, other))
        .map((other) => ({
          trace,
          other,
          deviation: fitOf([trace], courseOf(at, new Map([[trace, other]])), to).deviation,
        }))
        .reduce((a, b) => (b.deviation < a.deviation ? b : a)),
    );
    const deviation = Math.max(...fits.map((fit) => fit.deviation));
    if (deviation < best.deviation)
      best = { at, deviation, pairs: new Map(fits.map(({ trace, other }) => [trace, other])) };
  }
  const [[trace, other]] = [...best.pairs] as [[Trace, Trace]];
  return [
    {
      cause: 'state-of-other',
      factor: null,
      course: courseOf(best.at, best.pairs),
      event: true,
      global: false,
      at: best.at,
      statement: `the optimizer's state of "${trace.name}" is that of "${other.name}" from step ${capture.steps[best.at]!.step} on${best.pairs.size > 1 ? `, and so in ${best.pairs.size - 1} more` : ''}`,
      fix: 'keep the order of the parameters in the optimizer when its state is loaded',
    },
  ];
};
