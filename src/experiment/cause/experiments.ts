/**
 * The experiments on a capture that brings its batches and a model: what changed, which step did harm, and which trainings that
 * change one thing hold. Everything runs on one opened model, the decisive parts first, within the time that is left.
 */
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective } from '../../differentiate/autodiff/open-objective.ts';
import { endBeside, endLevel, judgeLosses } from '../../judge/incidents/losses.ts';
import { isUnlike } from '../../judge/incidents/unlike.ts';
import type { Cause, Remedy, Trigger } from '../../model/cause.ts';
import { DiagError, reasonOf } from '../../model/errors.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import { leavesAll, type RuleChoice, ruleMembers } from '../../step/rules/choice.ts';
import { ruleOrder } from '../../step/rules/order.ts';
import { alongRecorded } from '../replay/along-recorded.ts';
import { type ArmEnd, armLabel, endsBeside, judgeArm } from '../replay/arm-end.ts';
import { beganAnew } from '../replay/began-anew.ts';
import {
  type ClosedLoopResult,
  type ClosedLoopTrace,
  type MultipliedGradients,
  replayClosedLoop,
  type Training,
  type TrainingOptions,
  type TrainingRun,
  trainRuns,
} from '../replay/closed-loop.ts';
import type { Prepared } from '../replay/follow.ts';
import { batchOrder } from '../replay/matrix.ts';
import { type Ended, harmFrom, healthyBeside, isFrozen } from '../replay/outcome.ts';
import { lookAtReferences, type References } from '../replay/reference.ts';
import { notShown, whyNotShown } from '../replay/shown-incident.ts';
import { type Judgement, judgeByReference } from '../replay/verdict.ts';
import { asComputed, unrecordedIn } from './as-computed.ts';
import { type BadRows, findBadRows } from './bad-rows.ts';
import type { Change } from './change.ts';
import { changesBy } from './changes.ts';
import { decideCause } from './decide.ts';
import { openFirstSteps } from './first-steps.ts';
import { multipliedChange, multipliedGradients } from './multiplied.ts';
import { type Observed, observe } from './observe.ts';
import { type PlannedArm, planArms } from './plan.ts';
import { leastFirst, rankRemedies } from './remedies.ts';
import { type Before, type ShorterSteps, shorterSteps } from './shorter-steps.ts';
import { interferenceOf, noneNeeded, notClip, remedyOf, type Tried } from './tried.ts';

export interface ExperimentOptions {
  readonly capture: Capture;
  readonly prepared: Prepared;
  readonly model: MatchedObjective;
  readonly rules: readonly RuleChoice[];
  /** Position of the onset of the incident among the steps. */
  readonly onset: number;
  /** What the log has of the run right before the capture. */
  readonly before: Before;
  /** The newest whole checkpoint at or before a step. */
  checkpointBefore(step: number): string | null;
  batch(index: number): Promise<Batch>;
  /** Called between steps; what it throws ends the experiment in work. */
  progress(what: string, done: number, total: number): void;
  /** What an experiment found of the recorded gradients, for the others. */
  readonly multiplied?: MultipliedGradients;
}

export interface Experiments {
  readonly cause: Cause;
  readonly remedies: readonly Remedy[];
  /** The rules in closed loop, then the arms. */
  readonly entries: readonly ReplayEntry[];
  /** Positions of the first harmful step (of the onset where no step did harm), and of the last batches before it that are not unlike. */
  readonly incoming: number;
  readonly before: readonly number[];
  /** null where the budget did not reach to it. */
  readonly closedLoop: ClosedLoopResult | null;
  readonly notes: readonly string[];
  readonly notRun: readonly { readonly id: string; readonly reason: string }[];
}

/** Other orders of the batches that a remedy has to hold under. */
const PERTURBATIONS = 3;

/** @throws what the capture, the model and its batches throw; what `progress` throws is in `notRun` */
export async function runExperiments(options: ExperimentOptions): Promise<Experiments> {
  const { unseenAt, ...found } = await experimentsOf(options);
  if (unseenAt === null) return found;
  // What the training lacks may be in the recorded gradients: with it the others can be made.
  const multiplied = await multipliedGradients(options, unseenAt);
  if (multiplied === null) return found;
  const { unseenAt: _, ...again } = await experimentsOf({ ...options, multiplied });
  return again;
}

/** All of them once; with the position of the last step that the training takes as recorded, where the incident is not in it. */
async function experimentsOf(
  options: ExperimentOptions,
): Promise<Experiments & { readonly unseenAt: number | null }> {
  const { prepared } = options;
  const notRun: { id: string; reason: string }[] = [];
  const within: Within = async (id, work) => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DiagError) || error.code !== 'budget-spent') throw error;
      notRun.push({ id, reason: reasonOf(error) });
      return null;
    }
  };
  const looked = await lookedAt(options, within);
  const { references, until } = looked;
  const trained = await trainArmsAndRules(options, looked, within);
  const { armed, closedLoop } = trained;
  const ends = endsOf(options, looked, trained);
  const { cause, unrecorded, shorter } = await causeBy(options, looked, trained, ends, within);
  const { tried, without, arms } = ends;
  const back = cameBack(options, trained, without);
  // A run that is back needs nothing, whatever else would hold too.
  const held =
    back || unrecorded !== null
      ? NONE_HELD
      : await heldInOtherOrders(options, looked, trained, ends, cause, within);
  const candidates = tried.filter(
    ({ rule, planned }) => planned !== null || rule.label !== prepared.setup.clipping.label,
  );
  const remedies = candidates.map((one) =>
    remedyOf(one, held.get(one) ?? { tried: 0, held: 0 }, without.finalLoss, options, references),
  );
  const showed = candidates.findIndex(({ rule, planned }) => shorter?.by === (planned?.arm ?? rule));
  return {
    cause,
    remedies:
      unrecorded !== null
        ? [asComputed(unrecorded, without, options, references) ?? []].flat()
        : back
          ? [noneNeeded(cause, without), ...rankRemedies(remedies.filter(notClip), cause.trigger)]
          : rankRemedies(remedies, cause.trigger, remedies[showed]),
    entries: [
      ...ruleEntries(closedLoop, armed, references, shorter, options),
      ...armEntries(arms, armed, references, options),
    ],
    incoming: until,
    before: lastBefore(until, references?.unlike),
    closedLoop,
    notes: armed === null || armed.check.follows ? [] : [armed.check.why],
    notRun,
    unseenAt: unrecorded?.at ?? null,
  };
}

/** Whether the run came back: trained again it ends well, and the recorded losses do not say that chance alone decided so. */
function cameBack({ capture }: ExperimentOptions, { armed }: Trained, without: ArmEnd): boolean {
  if (without.outcome !== 'holds') return false;
  if (armed === null || capture.steps.some(({ loss }) => loss === null)) return true;
  const history = lossesBefore(capture);
  const recorded = capture.steps.map(({ loss }) => loss!);
  const { band } = judgeLosses(armed.baseline.loss, history);
  return endBeside(recorded, judgeLosses(recorded, history), band) !== 'out';
}

/** Runs a part by its name; null where the time that is left ended before it. */
type Within = <T>(id: string, work: () => Promise<T>) => Promise<T | null>;

/** What is known before anything is trained. */
interface Looked {
  readonly observed: Observed;
  readonly references: References | null;
  /** Position of the first harmful step, or of the onset. */
  readonly until: number;
  readonly changes: readonly Change[];
  readonly planned: readonly PlannedArm[];
}

async function lookedAt(options: ExperimentOptions, within: Within): Promise<Looked> {
  const { capture, prepared, model, onset, batch } = options;
  const observed = await observe(capture, prepared);
  const progress = (done: number, total: number) => options.progress('reference batches', done, total);
  const references = await within('reference batches', () =>
    lookAtReferences({ capture, prepared, model, onset, batch, progress }),
  );
  const until = references?.harmful ?? onset;
  const { multiplied } = options;
  const changes = [
    ...changesBy(until, observed, references, capture.manifest.skipped, onset),
    ...(multiplied === undefined ? [] : [multipliedChange(multiplied, capture)]),
  ];
  const bad = await within('bad rows', () => badRowsOf(options, references, changes));
  const planned = references === null ? [] : planArms(observed, references, changes, until, bad);
  return { observed, references, until, changes, planned };
}

const trainingOf = (
  { capture, model, batch, onset, progress, multiplied }: ExperimentOptions,
  { references }: Looked,
  what: string,
  baseline?: ClosedLoopTrace,
): TrainingOptions => ({
  ...{ capture, model, batch, onset },
  ...(multiplied === undefined ? {} : { multiplied }),
  ...(references === null ? {} : { reference: references.batches }),
  ...(baseline === undefined ? {} : { resume: { finished: [baseline], partial: null } }),
  progress: (done, total) => progress(what, done, total),
});

/** What was trained; null where the time did not reach to it. */
interface Trained {
  readonly armed: Training | null;
  readonly closedLoop: ClosedLoopResult | null;
}

async function trainArmsAndRules(
  options: ExperimentOptions,
  looked: Looked,
  within: Within,
): Promise<Trained> {
  const { references, planned } = looked;
  const runs = planned.map(
    ({ training: arm, order }): TrainingRun => ({
      ...{ rule: options.prepared.setup.clipping, multiplier: 1, arm },
      ...(order === undefined ? {} : { order }),
    }),
  );
  const armed = await within('arms', () => trainRuns(trainingOf(options, looked, 'arms'), runs));
  const closedLoop = await within('closed-loop', () =>
    replayClosedLoop({
      ...trainingOf(options, looked, 'closed loop', armed?.baseline),
      rules: options.rules,
      references,
      others: armed?.traces.map((trace, k) => endedOf(planned[k]!, trace)) ?? [],
    }),
  );
  return { armed, closedLoop };
}

/** How the trainings ended. */
interface Ends {
  readonly arms: readonly (PlannedArm & ArmEnd)[];
  readonly ruled: readonly Tried[];
  /** Arms, then rules. */
  readonly tried: readonly Tried[];
  /** The run as it was. */
  readonly without: ArmEnd;
  endOf: ReturnType<typeof endsBeside>;
  endOfArm(trace: ClosedLoopTrace, plan: PlannedArm): ArmEnd;
}

function endsOf(options: ExperimentOptions, { references, planned }: Looked, trained: Trained): Ends {
  const { onset, rules, prepared } = options;
  const { armed, closedLoop } = trained;
  const from = references === null ? onset : harmFrom(references, onset);
  const endOf = endsOfTrainings(options, trained, references, planned);
  // One that took none of the unlike rows was clean all along.
  const endOfArm: Ends['endOfArm'] = (trace, { training: { skip, without }, order }) =>
    endOf(trace, skip, order === undefined && without === undefined ? references?.unlike : new Set());
  const arms =
    armed === null ? [] : planned.map((plan, k) => ({ ...plan, ...endOfArm(armed.traces[k]!, plan) }));
  const ruled = (closedLoop?.entries ?? []).map(
    (entry, k): Tried => ({
      ...{ label: rules[k]!.label, rule: rules[k]!, planned: null },
      ...endOf({ ...entry, loss: entry.loss!, referenceLoss: entry.referenceLoss ?? [] }),
      interference: interferenceOf(entry, from),
    }),
  );
  const rule = prepared.setup.clipping;
  const tried = [...arms.map((arm) => ({ ...arm, label: armLabel(arm.arm), rule, planned: arm })), ...ruled];
  const without = armed === null ? NOT_TRAINED : endOf(armed.baseline);
  return { arms, ruled, tried, without, endOf, endOfArm };
}

/** The cause, and what decided it apart from the arms. */
async function causeBy(
  options: ExperimentOptions,
  { observed, references, changes, planned }: Looked,
  trained: Trained,
  { arms, ruled, tried, without }: Ends,
  within: Within,
) {
  const { capture, prepared, onset, before } = options;
  const follows = trained.armed?.check.follows === true;
  // What does not follow the record says nothing of it.
  const armed = follows ? trained.armed : null;
  const unrecorded =
    armed === null
      ? null
      : unrecordedIn(armed, capture, prepared, observed, onset, without, lossesBefore(capture));
  const anew =
    unrecorded?.trigger === 'optimizer-state' &&
    (await within('an optimizer that begins anew', () => beganAnew(options, unrecorded.at))) === true;
  const shorter =
    references === null || armed === null
      ? null
      : shorterSteps(
          ...([before, observed, references, onset] as const),
          learningUpdates(planned, armed)[0]!,
          triesOfShorter(options, arms, armed, trained.closedLoop),
        );
  const cause = decideCause({
    ...{ onset, observed, references, hasModel: true, shorter },
    changes: follows || references === null ? changes : changes.filter(({ trigger }) => trigger !== 'data'),
    arms: follows ? arms : [],
    cameBack: cameBack(options, trained, without),
    afterShift: without.afterShift === true ? without.outcome : null,
    ruleHolds: ruled.some(({ shows }) => shows),
    slower: tried.some(({ slower }) => slower === true),
    openFirst: openFirstSteps(before.loss, observed, onset),
    unrecorded: unrecorded && { ...unrecorded, anew },
  });
  return { cause, unrecorded, shorter };
}

type Held = ReadonlyMap<Tried, { readonly tried: number; readonly held: number }>;
const NONE_HELD: Held = new Map();

/** What holds, tried again with the batches in other orders, the best first. */
async function heldInOtherOrders(
  options: ExperimentOptions,
  looked: Looked,
  { armed }: Trained,
  { arms, tried, endOf, endOfArm }: Ends,
  cause: Cause,
  within: Within,
): Promise<Held> {
  const { capture, onset } = options;
  const { references, changes } = looked;
  if (references === null || armed === null) return NONE_HELD;
  const jumps = changes.flatMap(({ recorded, from }) => (recorded === true ? [from] : []));
  const edges = stretches(references, onset, capture.steps.length, jumps);
  const orders = Array.from({ length: PERTURBATIONS }, (_, seed) => batchOrder(edges, seed + 1)!);
  const held = new Map<Tried, { tried: number; held: number }>();
  const best = tried
    .filter(({ outcome }) => outcome === 'holds')
    .sort((a, b) => leastFirst(rankedBy(a, cause), rankedBy(b, cause)));
  for (const [k, one] of best.entries()) {
    const left = best.slice(k).map(({ label }) => label);
    const plan = arms.find(({ arm }) => arm === one.planned?.arm);
    const runs = orders.map((order): TrainingRun => {
      const { rule } = one;
      if (plan === undefined) return { rule, multiplier: 1, order };
      const taken = order.map((index) => plan.order?.[index] ?? index);
      return { rule, multiplier: 1, order: taken, arm: plan.training };
    });
    const perturbed = await within(`other orders of the batches for ${left.join(', ')}`, () =>
      trainRuns(trainingOf(options, looked, `${one.label}, other orders`, armed.baseline), runs),
    );
    if (perturbed === null) break;
    const ends = perturbed.traces.map(
      (trace) => (plan === undefined ? endOf(trace) : endOfArm(trace, plan)).outcome,
    );
    held.set(one, { tried: ends.length, held: ends.filter((end) => end === 'holds').length });
  }
  return held;
}

/** What a try is ranked by. */
const rankedBy = (one: Tried, { trigger }: Cause) => ({
  ...one,
  takesBack: one.planned?.undoes === trigger,
  rowsAlone: one.planned?.arm.kind === 'skip-rows',
});

/** Rows that stand out in the unlike batches, at the weights by which they are unlike. */
async function badRowsOf(
  { capture, prepared, model, batch, progress }: ExperimentOptions,
  references: References | null,
  changes: readonly Change[],
): Promise<BadRows | null> {
  if (references === null) return null;
  const { at, unlike, before, usual } = references;
  const jumped = changes.find(({ recorded }) => recorded === true);
  const looked = jumped === undefined ? [...unlike].sort((a, b) => a - b) : [jumped.from];
  if (looked.length === 0) return null;
  const state = jumped === undefined ? at : Math.max(0, jumped.from - 1);
  let weights: Float32Array | null = null;
  await alongRecorded({ capture, prepared }, state + 1, (index, tensors) => {
    if (index === state) weights = model.flatten(tensors.map(({ w }) => w));
  });
  if (weights === null) return null;
  return findBadRows({
    objective: model.objective,
    weights,
    unlike: looked,
    earlier: before.filter((index) => index <= state && !looked.includes(index)),
    batch,
    isUsual: (loss) => !isUnlike(loss, jumped === undefined ? usual : (references.jumped?.usual ?? usual)),
    progress: (done, total) => progress('rows of the unlike batches', done, total),
  });
}

/** Where nothing is known to compare an end with. */
const notJudged = ({ referenceLoss }: Ended): ArmEnd => ({
  outcome: null,
  finalLoss: endLevel(referenceLoss),
  shows: false,
});
const NOT_TRAINED: ArmEnd = { outcome: null, finalLoss: Number.NaN, shows: false };

/** How trainings are judged; where nothing is known to judge by, none is. */
function endsOfTrainings(
  { capture, onset }: ExperimentOptions,
  { armed, closedLoop }: Trained,
  references: References | null,
  planned: readonly PlannedArm[],
): ReturnType<typeof endsBeside> {
  if (references === null || armed === null || !armed.check.follows) return notJudged;
  const { baseline } = armed;
  const from = harmFrom(references, onset);
  const learning = learningUpdates(planned, armed);
  const healthy = healthyBeside(baseline, trainings(planned, armed, closedLoop), references, learning, from);
  return endsBeside(baseline, references, onset, lossesBefore(capture), healthy);
}

/** With too strong weight decay the recorded updates are not typical: the arm with less decay says which size is usual. */
function learningUpdates(planned: readonly PlannedArm[], armed: Training | null): readonly number[] {
  const lessDecay = planned.findIndex(({ undoes }) => undoes === 'weight-decay');
  return (armed?.traces[lessDecay] ?? armed?.baseline)?.updateNorm ?? [];
}

/** How an arm ended: without its losses where it took other batches than the recorded ones. */
const endedOf = ({ training: { skip }, order }: PlannedArm, trace: ClosedLoopTrace): Ended => {
  const { loss, referenceLoss, updateNorm } = trace;
  return { referenceLoss, updateNorm, ...(skip === undefined && order === undefined ? { loss } : {}) };
};

/** Every training of arms and rules from the first recorded state. */
const trainings = (
  planned: readonly PlannedArm[],
  { traces }: Training,
  loop: ClosedLoopResult | null,
): Ended[] => [
  ...traces.map((trace, k) => endedOf(planned[k]!, trace)),
  ...(loop?.entries ?? []).map(({ loss, referenceLoss = [], updateNorm }) => ({
    loss: loss!,
    referenceLoss,
    updateNorm,
  })),
];

/** What shortens the steps and nothing else: less of a weight decay that is too strong, the clipping of before, the rules, lower rates. */
function triesOfShorter(
  { before: { clipping }, rules }: ExperimentOptions,
  planned: readonly PlannedArm[],
  { traces }: Training,
  loop: ClosedLoopResult | null,
) {
  const clipped = (loop?.entries ?? []).map(({ referenceLoss = [], updateNorm }, k) => {
    const by = rules[k]!;
    const earlier = by.label === clipping?.label;
    const label = earlier
      ? `the earlier clipping, ${by.label}, put back`
      : `the rule “${ruleOrder(by.label)}”`;
    return { referenceLoss, updateNorm, by, earlier, label };
  });
  const armed = (trigger: Trigger) =>
    planned.flatMap(({ arm, undoes }, k) =>
      undoes === trigger ? [{ ...traces[k]!, by: arm, label: `the ${armLabel(arm)}` }] : [],
    );
  return [
    ...armed('weight-decay'),
    ...clipped.filter(({ earlier }) => earlier),
    ...clipped.filter(({ earlier }) => !earlier),
    ...armed('sharpness'),
  ];
}

/** Batches before an incident at which a ratio is measured. */
const BEFORE = 4;

/** Positions of the last four batches before one, unlike ones left out. */
export const lastBefore = (until: number, unlike: ReadonlySet<number> = new Set()): readonly number[] =>
  Array.from({ length: until }, (_, index) => index)
    .filter((index) => !unlike.has(index))
    .slice(-BEFORE);

/** Edges of the stretches before, in and after the incident: its unlike batches, a batch that jumped before, or the onset alone. */
function stretches(
  { unlike, harmful }: References,
  onset: number,
  steps: number,
  jumps: readonly number[],
): readonly number[] {
  const all = [...unlike, ...jumps, onset, harmful ?? onset];
  return [0, Math.min(...all), Math.max(...all) + 1, steps];
}

/**
 * The rules as entries of the replay. Where the incident begins with the first recorded step there is no level before, and no rule is
 * said to prevent; a training that ends at the level of the first state shows that the run keeps it, and the rules are judged by it.
 */
function ruleEntries(
  loop: ClosedLoopResult | null,
  armed: Training | null,
  references: References | null,
  shorter: ShorterSteps | null,
  { capture, onset }: ExperimentOptions,
): readonly ReplayEntry[] {
  if (loop === null || armed === null || references === null || shorter === null) return loop?.entries ?? [];
  // The updates of before were not recorded: those of the training that goes on as before are the measure.
  const shown = loop.entries.find(({ label }) => 'label' in shorter.by && label === shorter.by.label);
  const usual = medianOf((shown ?? armed.baseline).updateNorm.slice(0, onset + 1));
  return loop.entries.map((entry) => {
    if (entry.verdict !== 'cannot-tell' && entry.verdict !== 'not-needed') return entry;
    const trace = {
      loss: entry.loss!,
      referenceLoss: entry.referenceLoss ?? [],
      updateNorm: entry.updateNorm,
    };
    if (isFrozen(trace, references.unlike, usual, onset))
      return {
        ...entry,
        verdict: 'cannot-tell',
        why: 'its updates are too small to tell whether it learns on',
      };
    const judged = judgeByReference({
      trace,
      baseline: armed.baseline,
      references: { ...references, level: shorter.level },
      ...{ onset, steps: entry.steps, history: lossesBefore(capture), batches: 'clean batches' },
    });
    return { ...entry, ...judged };
  });
}

/** The arms as entries of the replay. */
function armEntries(
  arms: readonly (PlannedArm & ArmEnd)[],
  armed: Training | null,
  references: References | null,
  options: ExperimentOptions,
): ReplayEntry[] {
  if (armed === null) return [];
  const { capture, prepared, onset } = options;
  const unshown = whyNotShown(
    armed.baseline.loss,
    capture.steps.map(({ loss }) => loss),
    onset,
    capture.steps.map(({ step }) => step),
    lossesBefore(capture),
  );
  const rule = prepared.setup.clipping;
  return arms.map((arm, k) => {
    const judged = unshown === null ? judgeArm(arm, references) : notShown(unshown);
    return armEntry(arm, judged, armed.traces[k]!, rule, armed.optimizerOf(rule), options);
  });
}

/** An arm as an entry of the replay. */
function armEntry(
  { arm }: PlannedArm,
  judged: Judgement,
  trace: ClosedLoopTrace,
  rule: RuleChoice,
  optimizer: ReplayEntry['optimizer'],
  { capture, model }: ExperimentOptions,
): ReplayEntry {
  const steps = capture.steps.map(({ step }) => step);
  const members = ruleMembers(rule);
  const first = trace.engaged.indexOf(true);
  return {
    mode: 'closed-loop',
    ...members,
    label: `${leavesAll(rule) ? '' : `${members.label ?? rule.label}, `}${armLabel(arm)}`,
    arm,
    optimizer,
    steps,
    loss: trace.loss,
    referenceLoss: trace.referenceLoss,
    taskLoss: Object.fromEntries(model.objective.tasks.map((task, t) => [task, trace.taskLoss[t]!])),
    minClipFactor: trace.minClipFactor,
    updateNorm: trace.updateNorm,
    firstEngagedStep: first < 0 ? null : steps[first]!,
    engagedFraction: trace.engaged.filter(Boolean).length / steps.length,
    ended: trace.ended!,
    ...judged,
    bottleneck: trace.bottleneck,
    source: 'computed',
  };
}
