/** The links from the clip to the weights: the declared chain, and where it does not hold what explains it. */

import type { AuditLink, AuditLinkName } from '../../model/audit.ts';
import { DiagError } from '../../model/errors.ts';
import { counted, formatNumber } from '../../model/format-number.ts';
import type { Capture } from '../../read/captures/read.ts';
import { type RecordedSetup, recordedSetup } from '../replay/from-capture.ts';
import { type Chain, type Comparison, declaredCourse, followChain } from './chain.ts';
import { type DeclaredClip, declaredClip } from './declared.ts';
import { changedEntries, fewEntriesOf, indexOf } from './entries.ts';
import { explain } from './explain.ts';
import { broken, cannotTell, holds, named, notApplicable } from './link.ts';
import { LINK_OF_CAUSE } from './link-of-cause.ts';
import { writtenBetween } from './links/between.ts';
import { type Survey, withoutOutside } from './survey.ts';

/** A deviation of so many tolerances cannot be rounding; between 1 and this the audit says nothing. */
const BROKEN = 3;

export interface Setup extends RecordedSetup {
  readonly clip: DeclaredClip | null;
}

/** Optimizers and clipping as declared, or why the chain cannot be computed. */
export function setupOf({ manifest, path }: Capture): Setup | string {
  let setup: RecordedSetup;
  try {
    setup = recordedSetup(manifest, path, null);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return error.message;
  }
  if (setup.withoutFormula !== null) return `the steps of ${setup.withoutFormula} have no formula`;
  const clip = declaredClip(setup.clipping);
  return typeof clip === 'string' ? `clipping by ${clip} is not computed here` : { ...setup, clip };
}

/** @returns the links from the unscaling to the weights */
export async function chainLinks(capture: Capture, setup: Setup, survey: Survey): Promise<AuditLink[]> {
  const links = await linksOf(capture, setup, survey);
  const isBroken = links.some(({ outcome }) => outcome === 'broken');
  if (!isBroken || !survey.hasOutside) return links;
  const alone = await linksOf(capture, setup, withoutOutside(survey));
  return alone.some(({ outcome, cause }) => outcome === 'broken' && cause === 'unknown') ? links : alone;
}

async function linksOf(capture: Capture, setup: Setup, survey: Survey): Promise<AuditLink[]> {
  const { clip } = setup;
  if (capture.manifest.parameters.length === 0)
    return [
      cannotTell(
        'optimizer',
        'the optimizer holds frozen parameters only, so that no step moves anything',
        'record an optimizer that holds parameters that train',
      ),
    ];
  const declared = declaredCourse(capture, clip, survey);
  const chain = await followChain(capture, setup, survey, declared);
  const { comparisons } = chain;
  if (comparisons.length === 0)
    return [
      cannotTell(
        'optimizer',
        'the capture holds the weights before its first step only',
        'record more than `every` steps, or Recorder(…, every=1) in a test',
      ),
    ];
  const narrow = lostToRounding(capture, comparisons);
  const missed = comparisons.filter(({ worst }) => (worst?.ratio ?? 0) > BROKEN);
  if (narrow !== null) return [narrow, ...clipHolds(capture, setup, survey, missed.length === 0)];
  if (missed.length === 0) return heldChain(capture, setup, survey, chain);
  return brokenChain(capture, setup, survey, chain, missed);
}

/** Whether the clip acted in a way that the weights show. */
function clipHolds(capture: Capture, { clip }: Setup, survey: Survey, closed: boolean): AuditLink[] {
  if (clip === null) return [notApplicable('clip', 'no clipping was declared')];
  if (!closed) return [];
  const { factor, bound } = declaredCourse(capture, clip, survey);
  const engaged = survey.gradients.filter((step, k) =>
    step.some((one, tensor) => one !== null && (factor(k, tensor) < 1 || one.largest > bound)),
  ).length;
  if (engaged === 0)
    return [
      cannotTell(
        'clip',
        `the clip (${clip.label}) had nothing to do in these steps`,
        'record steps whose gradient is above the limit',
      ),
    ];
  return [holds('clip', engaged, `the clip acts as declared (${clip.label}), ${counted(engaged, 'time')}`)];
}

function heldChain(capture: Capture, setup: Setup, survey: Survey, { comparisons }: Chain): AuditLink[] {
  const told = comparisons.filter(({ allowed, declared }) => declared > allowed);
  const worst = comparisons.reduce((most, one) => Math.max(most, one.worst?.ratio ?? 0), 0);
  const scaled = capture.steps.some(({ lossScale }) => lossScale !== undefined);
  if (told.length === 0)
    return [
      cannotTell(
        'optimizer',
        'the steps are smaller than the rounding of the weights',
        'keep the weights in float32, or record steps with a larger learning rate',
      ),
      ...clipHolds(capture, setup, survey, false),
    ];
  const members = { residual: worst, residualDeclared: worst };
  return [
    ...clipHolds(capture, setup, survey, true),
    ...(scaled
      ? [holds('unscale', survey.steps, 'the loss scale is divided out before the clip and the step')]
      : []),
    {
      ...holds(
        'optimizer',
        told.length,
        `the recorded weights are those that the declared optimizer gives, in ${counted(told.length, 'comparison')} of a tensor`,
      ),
      ...members,
    },
    {
      ...holds(
        'weights',
        told.length,
        `nothing else moved the weights: the largest deviation is ${formatNumber(worst, 'rough')} of what rounding may add`,
      ),
      ...members,
    },
  ];
}

/** Narrow weights that do not move because each step is smaller than half a unit. */
function lostToRounding(
  { manifest, dtypes, steps }: Capture,
  comparisons: readonly Comparison[],
): AuditLink | null {
  const narrow = comparisons.filter(({ tensor }) =>
    ['BF16', 'F16'].includes(dtypes.get(manifest.parameters[tensor]!.name) ?? ''),
  );
  const [meant, still] = [narrow, narrow].map((all, k) =>
    all.reduce((sum, one) => sum + (k === 0 ? one.meant : one.still), 0),
  ) as [number, number];
  const moved = Math.sqrt(narrow.reduce((sum, one) => sum + one.moved ** 2, 0));
  const declared = Math.sqrt(narrow.reduce((sum, one) => sum + one.declared ** 2, 0));
  if (meant === 0 || still < meant / 2 || moved > declared / 2) return null;
  const first = narrow.reduce((a, b) => (b.still / b.meant > a.still / a.meant ? b : a));
  const { name } = manifest.parameters[first.tensor]!;
  return broken('optimizer', {
    checks: meant,
    broken: still,
    step: steps[first.from]!.step,
    tensor: name,
    cause: 'rounded',
    factor: moved / declared,
    confidence: 'shown',
    statement: `${formatNumber((100 * still) / meant, 'rough')} % of the entries do not move over ${counted(first.to - first.from, 'step')}: the steps are smaller than half a unit of ${dtypes.get(name) === 'BF16' ? 'bfloat16' : 'float16'}`,
    fix: 'keep the weights in float32 and compute under autocast, keep a float32 copy for the optimizer, or raise the learning rate',
  });
}

async function brokenChain(
  capture: Capture,
  setup: Setup,
  survey: Survey,
  chain: Chain,
  missed: readonly Comparison[],
): Promise<AuditLink[]> {
  const { manifest, steps } = capture;
  const first = missed.reduce((a, b) => (b.to < a.to || (b.to === a.to && worstOf(b) > worstOf(a)) ? b : a));
  const common = {
    checks: chain.comparisons.length,
    broken: missed.length,
    residualDeclared: Math.max(...missed.map(worstOf)),
  };
  const stretch = `between steps ${steps[first.from]!.step} and ${steps[first.to]!.step}`;
  const few = fewEntriesOf(missed);
  if (few !== null) return [await entriesLink(capture, chain, few, common), ...rest(setup, capture, survey)];
  const missing = missingState(capture, setup, survey);
  const { closing, alone } = explain(capture, setup, setup.clip, survey, chain, missed);
  const [leading] = closing;
  const { name, shape } = manifest.parameters[first.tensor]!;
  const parameter = { tensor: name, index: first.worst === null ? null : indexOf(first.worst.place, shape) };
  if (leading === undefined) {
    if (missing !== null) return [missing];
    if (leftNoTrace(chain, missed))
      return [
        broken(linkOfWrite(capture, first), {
          ...common,
          ...parameter,
          step: steps[first.from]!.step,
          cause: 'weights-replaced',
          confidence: 'likely',
          residual: null,
          statement: `something wrote to the weights ${stretch}: those of ${named(missed.map(({ tensor }) => manifest.parameters[tensor]!.name))} are not what the declared step gives, and from step ${steps[first.to]!.step} on they are, with the optimizer's state as it was`,
          fix: `find what writes to the weights ${stretch} other than optimizer.step(): load_state_dict(), a callback, a constraint, an average of weights`,
        }),
        ...rest(setup, capture, survey),
      ];
    return [
      broken('optimizer', {
        ...common,
        ...parameter,
        step: steps[first.from]!.step,
        cause: 'unknown',
        confidence: null,
        residual: null,
        statement: `the recorded weights are not those that the declared step gives, ${stretch}, worst in "${name}" (${formatNumber(worstOf(first))} times what rounding may add); none of the known causes explains it`,
        fix: `look at what ran ${stretch}; correct "optimizer" and "clipping" of the recorder if they are not what the loop does`,
      }),
    ];
  }
  const { candidate, fit } = leading;
  const { cause } = candidate;
  const others = [
    ...new Set(
      closing
        .slice(1)
        .map((one) => one.candidate)
        .filter((one) => one.cause !== cause),
    ),
  ];
  const also =
    others.length > 0
      ? `; the same would be seen if ${others.map(({ statement }) => statement).join(', or if ')}`
      : '';
  const isWeights = cause === 'all-scaled';
  return [
    broken(isWeights ? linkOfWrite(capture, first) : LINK_OF_CAUSE[cause], {
      ...common,
      tensor: candidate.global ? null : name,
      step: steps[candidate.at ?? first.from]!.step,
      cause,
      factor: candidate.factor,
      residual: fit.worst,
      confidence: alone && others.length === 0 && candidate.isGuess !== true ? 'shown' : 'likely',
      statement: `${candidate.statement}: with it the weights are met to ${formatNumber(fit.worst, 'rough')} of what rounding may add, without it they are ${formatNumber(common.residualDeclared, 'rough')} times that off${also}`,
      fix: candidate.fix,
      wouldTell:
        others.length > 0
          ? 'steps with another learning rate, gradient norm or weight decay, which tell these apart'
          : null,
    }),
    ...rest(setup, capture, survey).filter(({ link }) => link !== LINK_OF_CAUSE[cause]),
  ];
}

const worstOf = ({ worst }: Comparison): number => worst?.ratio ?? 0;

/**
 * Whether weights were off in one stretch alone, and the state that the optimizer keeps of the gradients explains all later ones: what
 * happened touched the weights and not the state.
 */
function leftNoTrace({ comparisons, traces }: Chain, missed: readonly Comparison[]): boolean {
  const ends = new Set(missed.map(({ to }) => to));
  const [to] = ends;
  const tensors = new Set(missed.map(({ tensor }) => tensor));
  const later = comparisons.filter((one) => one.from >= to! && tensors.has(one.tensor));
  const keeps = missed.every(({ tensor }) => Object.keys(traces[tensor]!.slots).length > 0);
  return ends.size === 1 && keeps && later.length >= tensors.size;
}

/** The links of the chain that the cause leaves whole. */
function rest(setup: Setup, capture: Capture, survey: Survey): AuditLink[] {
  return clipHolds(capture, setup, survey, true);
}

/** The link of weights that were written: between the steps, where checksums show it. */
function linkOfWrite(capture: Capture, { from, to }: Comparison): AuditLinkName {
  const { written } = writtenBetween(capture);
  return written.some(({ at, what }) => what === 'weights' && at > from && at <= to) ? 'between' : 'weights';
}

/** One or a few entries alone. */
async function entriesLink(
  capture: Capture,
  chain: Chain,
  missed: Comparison,
  common: Pick<AuditLink, 'checks' | 'broken' | 'residualDeclared'>,
): Promise<AuditLink> {
  const { steps, manifest } = capture;
  const changed = await changedEntries(capture, chain, missed);
  const first = changed[0]!;
  const { name } = manifest.parameters[missed.tensor]!;
  const others = missed.elements - missed.off;
  const when =
    first.at === null
      ? `between steps ${steps[missed.from]!.step} and ${steps[missed.to]!.step}`
      : `between steps ${steps[first.at - 1]!.step} and ${steps[first.at]!.step}`;
  const count = missed.off === 1 ? 'one entry' : `${missed.off} entries`;
  const factor = first.factor === null ? '' : `, ${formatNumber(first.factor)} times`;
  const bit = first.isBit ? ', as one flipped bit does' : '';
  return broken(linkOfWrite(capture, missed), {
    ...common,
    step: steps[first.at ?? missed.from]!.step,
    tensor: name,
    index: first.index,
    cause: 'entries-changed',
    factor: first.factor,
    residual: 1,
    confidence: first.isBit ? 'shown' : 'likely',
    statement: `${count} of "${name}" changed ${when}: at [${first.index.join(', ')}] ${formatNumber(first.found)} was found where ${formatNumber(first.expected)} is expected${factor}${bit}; the other ${formatNumber(others)} entries are as the step gives them`,
    fix: 'load the weights of a checkpoint from before; if it comes again on this device and not on another, have its memory tested',
  });
}

/** That the optimizer's state before the first step is not in the capture, so that a chain that does not hold says nothing. */
function missingState(capture: Capture, { optimizers }: Setup, { steps }: Survey): AuditLink | null {
  const { manifest } = capture;
  if (steps === 0 || manifest.steps[0]!.step <= 1) return null;
  const keeps = manifest.parameters.some(
    ({ group }) => optimizers[group]!.optimizer.slots(optimizers[group]!.options).length > 0,
  );
  return keeps && !capture.hasState
    ? cannotTell(
        'optimizer',
        'the capture does not hold the state of the optimizer before its first step',
        'record state/<slot>/<name> in initial.safetensors',
      )
    : null;
}
