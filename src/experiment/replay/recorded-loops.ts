/** Closed loops that the user's own framework ran and stored, compared with the one under the recorded clipping. */

import { USUAL, usualRange } from '../../judge/incidents/unlike.ts';
import { DiagError } from '../../model/errors.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { CaptureManifest } from '../../read/captures/manifest.ts';
import type { Capture } from '../../read/captures/read.ts';
import { chooseRules, type RuleChoice } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import type { ArmEnd, endsBeside } from './arm-end.ts';
import { suddenDeparture } from './departure.ts';
import type { Ended } from './outcome.ts';
import { firstHarm, highestBefore, levelOf, type References } from './reference.ts';
import { firstWritten } from './written-options.ts';

/** How far a loop's own losses may be from the recorded ones up to the onset, relatively. */
const FOLLOWS = 0.01;

type Stored = Omit<ReplayEntry, 'verdict' | 'confidence' | 'why'>;

/** One whose losses, its own and those on reference batches, are known at each recorded step. */
export type Loop<T extends Stored = ReplayEntry> = T &
  Readonly<Record<'loss' | 'referenceLoss', readonly number[]>>;

/** What each of the loops is judged by. */
export interface Judged<T extends Stored> {
  readonly loops: readonly Loop<T>[];
  /** The one under the recorded clipping. */
  readonly baseline: Loop<T>;
  readonly references: References;
}

/** The closed loop under the recorded clipping, with nothing else changed. */
export const baselineOf = <T extends Stored>(
  entries: readonly T[],
  { clipping }: Pick<CaptureManifest, 'clipping'>,
): T | undefined => {
  const recorded = knownRule(() => chooseRules(clipping));
  return entries.find(
    (entry) =>
      entry.mode === 'closed-loop' &&
      entry.arm === undefined &&
      recorded !== null &&
      ruleOf(entry)?.label === recorded.label,
  );
};

/**
 * @param onset position of the onset among the steps
 * @returns null where no loop under the recorded clipping has losses on reference batches, or it does not follow the recorded
 * losses up to the onset
 */
export function judgedLoops<T extends Stored>(
  capture: Pick<Capture, 'steps' | 'manifest'>,
  entries: readonly T[],
  onset: number,
): Judged<T> | null {
  const { steps, manifest } = capture;
  const loops = entries.filter(
    (entry): entry is Loop<T> =>
      entry.mode === 'closed-loop' &&
      [entry.loss, entry.referenceLoss].every((losses) => losses?.length === steps.length),
  );
  const baseline = baselineOf(loops, manifest);
  return baseline === undefined || !follows(baseline, capture, onset)
    ? null
    : { loops, baseline, references: referencesOf(capture, onset, baseline, loops) };
}

/**
 * Where the training under the recorded clipping, which gave the recorded losses, gives another one all at once.
 *
 * @param onset position of the onset among the steps
 * @returns its position, and the loss of the training there; null where it does not, or comes off little by little
 */
export function departureOf(
  { steps, manifest }: Pick<Capture, 'steps' | 'manifest'>,
  entries: readonly Stored[],
  onset: number,
): { readonly at: number; readonly computed: number } | null {
  const loss = baselineOf(entries, manifest)?.loss;
  if (loss?.length !== steps.length) return null;
  const recorded = steps.map((step) => step.loss);
  // A recorded loss that is NaN differs from any: later losses are not looked at.
  const lost = recorded.findIndex((one) => one !== null && !Number.isFinite(one));
  const number = lost >= 0 && Number.isFinite(loss[lost]!);
  const at = suddenDeparture(
    loss,
    number ? recorded.map((one, i) => (i === lost ? Number.MAX_VALUE : one)) : recorded,
    onset,
  );
  return at === null ? null : { at, computed: loss[at]! };
}

/** The rule of an entry as it is known here; null where it is not. */
export const ruleOf = ({ label, rule }: Stored): RuleChoice | null =>
  knownRule(() => parseRule(label ?? rule)[0] ?? null);

/** What is found, or null where a rule or an option is not known here. */
export function knownRule(find: () => RuleChoice | null): RuleChoice | null {
  try {
    return find();
  } catch (error) {
    if (error instanceof DiagError) return null;
    throw error;
  }
}

/**
 * Whether a training under the recorded clipping did up to the onset what was recorded; and one step beyond an option that was
 * written into the optimizer by then, since a loop of a framework may take its steps without it.
 */
function follows({ loss }: Loop<Stored>, { steps }: Pick<Capture, 'steps'>, onset: number): boolean {
  const written = firstWritten(steps);
  const last = written <= onset ? Math.max(onset, written + 1) : onset;
  return steps.slice(0, last + 1).every(({ loss: recorded }, i) => {
    if (recorded === null) return true;
    // The framework and the precision are those of the run: what is NaN there is NaN here.
    if (!Number.isFinite(recorded)) return !Number.isFinite(loss[i]);
    return Math.abs(loss[i]! - recorded) <= FOLLOWS * Math.abs(recorded);
  });
}

/** Steps whose batches an arm leaves out or puts others in place of: they are those that are unlike the ones before. */
const unlikeIn = (arm: Stored['arm']): readonly number[] | undefined =>
  arm?.kind === 'skip-batches' || arm?.kind === 'earlier-batches' ? arm.steps : undefined;

/** How loops ended: without the losses of those that took other batches than the recorded ones. */
export const endedOf = (loops: readonly Loop<Stored>[]): Ended[] =>
  loops.map(({ loss, referenceLoss, updateNorm, arm }) => ({
    referenceLoss,
    updateNorm,
    ...(unlikeIn(arm) === undefined ? { loss } : {}),
  }));

/** How the training of an arm ended: batches that it left out, or took others for, say nothing of it. */
export function endOfArm<T extends Stored>(
  loop: Loop<T>,
  { unlike }: References,
  endOf: ReturnType<typeof endsBeside>,
): ArmEnd {
  const { kind } = loop.arm ?? {};
  return endOf(
    loop,
    kind === 'skip-batches' ? unlike : undefined,
    // These took none of what is unlike: they were clean all along.
    kind === 'earlier-batches' || kind === 'skip-rows' ? new Set() : unlike,
  );
}

function referencesOf(
  { steps, manifest }: Pick<Capture, 'steps' | 'manifest'>,
  onset: number,
  { referenceLoss }: Loop<Stored>,
  loops: readonly Stored[],
): References {
  const position = new Map(steps.map(({ step }, index) => [step, index]));
  const positions = (named: readonly number[]): number[] =>
    named.flatMap((step) => position.get(step) ?? []).sort((a, b) => a - b);
  const losses = steps.map((_, index) => manifest.batchLosses[index] ?? Number.NaN);
  const told = manifest.batchLosses.length === steps.length;
  const near = Math.max(0, onset - 1);
  const references = positions(manifest.references);
  const history = lossesBefore({ steps, manifest });
  const harmful = firstHarm(referenceLoss, onset);
  const known = {
    at: 0,
    later: told ? losses.map((loss, index) => ({ index, loss })).slice(near) : [],
    // As the own framework had it, which named the unlike ones.
    usual: told
      ? usualRange([
          ...losses.slice(0, near),
          ...[...history, ...steps.slice(0, near).map(({ loss }) => loss ?? Number.NaN)].slice(-USUAL),
        ])
      : null,
    unlike: new Set(positions(loops.find(({ arm }) => unlikeIn(arm) !== undefined)?.arm?.steps ?? [])),
    onsetBatch: told ? [{ index: 0, loss: losses[onset]! }] : [],
    before: references.filter((index) => index < onset),
    after: references.filter((index) => index > onset),
    // They stay with the own framework.
    batches: [],
    loss: referenceLoss,
    harmful,
    highest: highestBefore(referenceLoss, onset),
  } satisfies Omit<References, 'level'>;
  const recorded = steps.map(({ loss }) => loss ?? Number.NaN);
  return { ...known, ...levelOf(known, recorded, onset, steps[0]!.step) };
}
