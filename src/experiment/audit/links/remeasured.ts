/** Loss and gradient against those that the user's own model gives of the recorded batches. */
import type { AuditLink } from '../../../model/audit.ts';
import { counted, formatNumber } from '../../../model/format-number.ts';
import type { Capture } from '../../../read/captures/read.ts';
import type { Remeasure, RemeasuredStep } from '../../../read/captures/training.ts';
import { broken, cannotTell, holds } from '../link.ts';

/** In what rounding and noise may add: above this it is another gradient. */
const APART = 3;
/** A gradient of which rounding or chance moves so large a part is not measured. */
const NOISY = 0.1;
/** A loss that is off by no more than so many times what another draw of random numbers does may be off by chance. */
const CHANCE = 10;
/** Two factors are one within this. */
const SAME_FACTOR = 1e-3;

type Step = RemeasuredStep & { readonly recorded: number };
type Gradient = NonNullable<RemeasuredStep['gradient']>;

/** @returns the links `loss`, `gradient` and `accumulation`, or `mode`; none where nothing was measured again */
export function remeasuredLinks({ manifest }: Capture): AuditLink[] {
  const losses = new Map(manifest.steps.map(({ step, loss }) => [step, loss ?? Number.NaN]));
  const all = manifest.training.remeasured.flatMap((one): Step[] => {
    const recorded = losses.get(one.step);
    return recorded === undefined ? [] : [{ ...one, recorded }];
  });
  const [first] = all;
  if (first === undefined) return [];
  const noisy = all.find(({ gradient }) => gradient !== null && !(gradient.noise <= NOISY));
  if (noisy !== undefined) return noise(noisy);
  const lossOff = all.filter(({ recorded, loss, lossAllowed }) => !near(recorded, loss, lossAllowed));
  const gradientOff = all.filter(({ gradient }) => gradient !== null && !(gradient.ratio <= APART));
  const mode = evaluated(all, lossOff, gradientOff);
  if (mode !== null) return [mode];
  const loss = lossOff.length === 0 ? lossHolds(all) : lossChanged(all, lossOff);
  // Where other random numbers explain the loss, they explain the gradient.
  if (loss.outcome === 'cannot-tell') return [loss, cannotTell('gradient', loss.statement, loss.wouldTell!)];
  if (gradientOff.length === 0) return [loss, ...gradientHolds(all)];
  const found = gradientChanged(all, gradientOff);
  // A gradient of another loss is off because the loss is.
  const follows = loss.outcome === 'broken' ? { follows: loss.id } : {};
  return [loss, { ...found, ...follows }];
}

/** Whether two numbers agree; two that are not finite do. */
const near = (a: number, b: number, allowed: number): boolean =>
  Number.isFinite(a) || Number.isFinite(b) ? Math.abs(a - b) <= allowed : true;

function noise({ step, gradient }: Step): AuditLink[] {
  const again =
    gradient!.repeats > 0 ? `, and two runs of the same differ by ${percent(gradient!.repeats)}` : '';
  return [
    cannotTell(
      'loss',
      `loss and gradient of step ${step} are not determined: rounding moves the gradient by ${percent(gradient!.noise)}${again}`,
      'a loss_fn that draws no random numbers but those of the framework, in whose state it was recorded',
    ),
  ];
}

const percent = (share: number): string => `${formatNumber(100 * share, 'rough')} %`;

function lossHolds(all: readonly Step[]): AuditLink {
  return holds(
    'loss',
    all.length,
    `the recorded loss is that of the model on the recorded batch, at ${counted(all.length, 'step')}`,
  );
}

function gradientHolds(all: readonly Step[]): AuditLink[] {
  const measured = all.flatMap(({ gradient }) => gradient ?? []);
  if (measured.length === 0) return [];
  const worst = measured.reduce((most, { ratio }) => Math.max(most, ratio), 0);
  const repeats = measured.reduce((most, one) => Math.max(most, one.repeats), 0);
  const varies =
    repeats > 0
      ? `; two runs of the same differ by ${percent(repeats)}, as a kernel adds in another order`
      : '';
  return [
    {
      ...holds(
        'gradient',
        measured.reduce((sum, { tensors }) => sum + tensors, 0),
        `the recorded gradients are those of the loss on the recorded batch, at ${counted(measured.length, 'step')}${varies}`,
      ),
      residual: worst,
    },
    holds('accumulation', measured.length, 'the recorded gradient is that of the whole batch, once'),
  ];
}

/** Steps that only evaluation mode explains. */
function evaluated(
  all: readonly Step[],
  lossOff: readonly Step[],
  gradientOff: readonly Step[],
): AuditLink | null {
  const off = all.filter((one) => lossOff.includes(one) || gradientOff.includes(one));
  if (off.length === 0 || !off.every((one) => explains(one, one.evaluation))) return null;
  return broken('mode', {
    checks: all.length,
    broken: off.length,
    step: off[0]!.step,
    cause: 'eval-mode',
    confidence: 'shown',
    statement: `loss and gradient are those of the model in evaluation mode at ${off.length} of ${all.length} steps, and it was recorded in training mode`,
    fix: 'call model.train() before each training step, and after each evaluation',
  });
}

/** Whether a change gives the recorded loss and gradient. */
const explains = ({ recorded, lossAllowed, gradient }: Step, other: Remeasure | null): boolean =>
  other !== null && near(recorded, other.loss, lossAllowed) && (gradient === null || other.ratio <= APART);

/** The one factor of several steps, null where they have none in common. */
function factorOf(factors: readonly number[]): number | null {
  const mean = factors.reduce((sum, one) => sum + one, 0) / factors.length;
  return Number.isFinite(mean) && factors.every((one) => Math.abs(one / mean - 1) <= SAME_FACTOR)
    ? mean
    : null;
}

function lossChanged(all: readonly Step[], off: readonly Step[]): AuditLink {
  const first = off[0]!;
  const common = { checks: all.length, broken: off.length, step: first.step, cause: 'loss-changed' } as const;
  for (const [other, word] of [
    ['batchBefore', 'before'],
    ['batchAfter', 'after'],
  ] as const)
    if (off.every((one) => explains(one, one[other])))
      return broken('loss', {
        ...common,
        confidence: 'shown',
        statement: `the loss of step ${first.step} is that of the batch of the step ${word} it${off.length > 1 ? `, and so at ${counted(off.length, 'step')}` : ''}`,
        fix: 'pass the batch that the loss was computed of to record(…, batch=…), before the loop takes the next one',
      });
  const factor = factorOf(off.map(({ recorded, loss }) => recorded / loss));
  if (factor !== null && off.length === all.length && off.length > 1)
    return broken('loss', {
      ...common,
      factor,
      confidence: 'shown',
      statement: `the recorded loss is ${formatNumber(factor)} times that of loss_fn, at all ${all.length} steps`,
      fix: 'take a mean over the whole batch in both: a sum, or a loss that is divided for accumulation, is another scale',
    });
  const byChance = off.find(({ recorded, loss, chance }) => Math.abs(recorded - loss) <= CHANCE * chance);
  if (byChance !== undefined)
    return cannotTell(
      'loss',
      `at step ${byChance.step} loss and gradient depend on random numbers, and those of the training did not come back: ${formatNumber(byChance.recorded)} was recorded, it is ${formatNumber(byChance.loss)}, and another draw moves it by ${formatNumber(byChance.chance, 'rough')}`,
      'the device of the training, whose random state was recorded, or a capture without dropout',
    );
  return broken('loss', {
    ...common,
    confidence: 'likely',
    statement: `the recorded loss is not what loss_fn gives of the recorded batch at ${off.length} of ${all.length} steps: ${formatNumber(first.recorded)} was recorded at step ${first.step}, and it is ${formatNumber(first.loss)}`,
    fix: 'compare the loss of the loop with loss_fn: a term that one of them lacks, weights of classes, a mask, a label that is shifted; frozen parameters of the model have to be the trained ones',
  });
}

function gradientChanged(all: readonly Step[], off: readonly Step[]): AuditLink {
  const measured = off.map(({ gradient }) => gradient!);
  const first = off[0]!;
  const common = {
    checks: all.length,
    broken: off.length,
    step: first.step,
    residualDeclared: measured.reduce((most, { ratio }) => Math.max(most, ratio), 0),
  };
  const residualOf = (of: (one: Gradient) => number): number =>
    measured.reduce((most, one) => (of(one) > most || Number.isNaN(of(one)) ? of(one) : most), 0);
  const factor = factorOf(measured.map((one) => one.factor));
  const byFactor = residualOf((one) => one.factorRatio);
  if (factor !== null && byFactor <= APART)
    return broken('accumulation', {
      ...common,
      cause: factor > 1 ? 'not-divided' : 'divided-twice',
      factor,
      residual: byFactor,
      confidence: 'shown',
      statement: `the recorded gradient is ${formatNumber(factor)} times that of the loss on the recorded batch, at ${off.length} of ${counted(all.length, 'measured step')}, first at step ${first.step}`,
      fix: 'divide by the number of micro-batches (or ranks) once; a factor on the loss before backward() is a factor of the gradient too',
    });
  const byBefore = residualOf((one) => one.beforeRatio);
  if (byBefore <= APART)
    return broken('gradient', {
      ...common,
      cause: 'no-zero-grad',
      residual: byBefore,
      confidence: 'shown',
      statement: `the gradient of step ${first.step} is that of its loss and ${formatNumber(measured[0]!.before)} times the recorded one of the step before`,
      fix: 'call optimizer.zero_grad() before loss.backward() in every step',
    });
  const { worst } = first.gradient!;
  return broken('gradient', {
    ...common,
    tensor: worst,
    cause: 'gradient-not-of-loss',
    residual: null,
    confidence: 'likely',
    statement: `the recorded gradient is not that of the loss on the recorded batch at ${off.length} of ${all.length} steps: it is ${percent(first.gradient!.off)} off at step ${first.step}, most in "${worst ?? ''}"`,
    fix: 'look for what changes gradients between backward() and record(): a hook, a second backward(), detach() of a part, another loss than the one that is recorded',
  });
}
