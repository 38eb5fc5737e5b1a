/** What the recorded gradients say by themselves: one that holds the one before, tensors without any, lone huge entries. */

import type { AuditLink } from '../../../model/audit.ts';
import { formatNumber } from '../../../model/format-number.ts';
import { medianOf } from '../../../model/order-statistics.ts';
import type { Capture } from '../../../read/captures/read.ts';
import { indexOf } from '../entries.ts';
import { broken, cannotTell, holds, named } from '../link.ts';
import type { Course } from '../simulate.ts';
import type { Survey } from '../survey.ts';

/** Steps that it takes to say that a tensor never gets a gradient. */
const STEPS = 5;

/** @param repeats whether the same batch was given step after step, so that equal gradients are no news */
export function gradientLinks(
  capture: Capture,
  survey: Survey,
  declared: Course,
  repeats: boolean,
): AuditLink[] {
  const found = [
    repeats ? null : held(capture, survey, declared),
    ...dead(capture, survey),
    lone(capture, survey),
  ].filter((one) => one !== null);
  if (found.some(({ outcome }) => outcome === 'broken')) return found;
  const checks = survey.gradients.flat().filter((one) => one !== null).length;
  return [
    ...found,
    holds(
      'gradient',
      checks,
      `${checks} gradients of ${survey.steps} steps: ${found.length === 0 ? 'none holds the one before, ' : ''}none has a lone huge entry`,
    ),
  ];
}

/** How much of each gradient is what the step before left. */
interface Persistence {
  /**
   * Coefficients of a gradient on what was left of the one before, with the mean of all earlier differences as a second regressor, which
   * takes the part that fresh gradients have in common; of odd and of even steps. 1 where the one before was added.
   */
  readonly coefficients: readonly [odd: number, even: number];
  /** Inner products of differences of consecutive gradients with those one and two steps later, over their norms. */
  readonly lag1: number;
  readonly lag2: number;
  /** Share of the non-zero entries that the step before left exactly so: in all steps, and by step from the second on. */
  readonly kept: number;
  readonly shares: readonly number[];
  /** Mean factor of the clip. */
  readonly factor: number;
}

/** Coefficient on the gradient before: 1 within this, and in odd and in even steps alone, which are half as many, within twice that. */
const NEAR_ONE = 0.3;
/** What was added in full has 1 or, by what fresh gradients have in common, more; batches in an order (sorted rows) have less. */
const ADDED = 0.95;
/** Differences of fresh gradients are unrelated; those of a smooth healthy run go the same way, of a noisy one the opposite. */
const SMOOTH = 0.6;
const OPPOSITE = -0.1;
const NOISE = 0.05;
/** A clip that leaves less of a gradient leaves too little to recognise. */
const LEAST_LEFT = 0.25;
/** Entries that are left exactly as they were: units or rows that the batch did not touch. */
const KEPT = 0.02;

function held(capture: Capture, survey: Survey, declared: Course): AuditLink | null {
  const whole = persistenceOf(survey, declared);
  if (whole === null) return null;
  // Where it begins later: every step from one on leaves entries as they were, which no step before does.
  const begins = whole.shares.findLastIndex((share) => share < KEPT) + 2;
  const since = persistenceOf(sinceOf(survey, begins - 1), {
    ...declared,
    factor: (step, tensor) => declared.factor(step + begins - 1, tensor),
  });
  if (begins > 1 && since !== null && since.kept >= KEPT && holdsBefore(since))
    return heldEntry(capture, since, begins, survey.steps - begins);
  if (holdsBefore(whole)) return heldEntry(capture, whole, 1, survey.steps - 1);
  return isLikeBefore(whole)
    ? cannotTell(
        'gradient',
        'each gradient is like the one before: it may hold it, or the training is smooth',
        'in Python: clippy_diag.audit(capture, model=…, loss_fn=…), which computes the gradient again',
      )
    : null;
}

const isLikeBefore = ({ coefficients: [odd, even] }: Persistence): boolean =>
  Math.abs((odd + even) / 2 - 1) <= NEAR_ONE &&
  Math.max(Math.abs(odd - 1), Math.abs(even - 1)) <= 2 * NEAR_ONE;

/** The part of a survey from a step on. */
const sinceOf = ({ samples, steps }: Survey, from: number): Pick<Survey, 'samples' | 'steps'> => ({
  samples: samples.map((sample) => ({ ...sample, gradients: sample.gradients.slice(from) })),
  steps: steps - from,
});

function holdsBefore(one: Persistence): boolean {
  const { coefficients, lag1, lag2, kept, factor } = one;
  if (!isLikeBefore(one)) return false;
  const added = (coefficients[0] + coefficients[1]) / 2 >= ADDED;
  const fresh = added && lag1 > OPPOSITE && lag1 < SMOOTH && lag2 - lag1 < NOISE && factor > LEAST_LEFT;
  return fresh || kept >= KEPT;
}

function heldEntry(
  capture: Capture,
  { coefficients, kept }: Persistence,
  begins: number,
  checks: number,
): AuditLink {
  const proof =
    kept >= KEPT
      ? `, and ${formatNumber(100 * kept, 'rough')} % of the entries are exactly what the step before left`
      : '';
  const { step } = capture.steps[begins]!;
  return broken('gradient', {
    checks,
    broken: checks,
    step,
    cause: 'no-zero-grad',
    confidence: kept >= KEPT ? 'shown' : 'likely',
    statement: `${begins > 1 ? `from step ${step} on ` : ''}each gradient holds the one before, ${formatNumber((coefficients[0] + coefficients[1]) / 2, 'brief')} times${proof}`,
    fix: 'call optimizer.zero_grad() before loss.backward() in every step',
  });
}

type Vectors = readonly Float64Array[];

const dot = (a: Vectors, b: Vectors): number => {
  let sum = 0;
  for (const [k, x] of a.entries()) for (let i = 0; i < x.length; i++) sum += x[i]! * b[k]![i]!;
  return sum;
};

function persistenceOf(
  { samples, steps }: Pick<Survey, 'samples' | 'steps'>,
  declared: Pick<Course, 'factor'>,
): Persistence | null {
  const whole = samples
    .map((sample, tensor) => ({ ...sample, tensor }))
    .filter(({ gradients }) => gradients.every((g) => g !== null));
  if (whole.length === 0 || steps < STEPS + 3) return null;
  const gradients = Array.from({ length: steps }, (_, step) => whole.map((one) => one.gradients[step]!));
  const factors = gradients.map((_, step) => declared.factor(step, whole[0]!.tensor));
  const left = gradients.map((now, step) =>
    now.map((g, k) => g.map((x) => x * declared.factor(step, whole[k]!.tensor))),
  );
  const differences = gradients
    .slice(1)
    .map((now, before) => now.map((g, k) => g.map((x, i) => x - left[before]![k]![i]!)));
  const size = left.reduce((sum, one) => sum + dot(one, one), 0);
  if (!(size > 0) || !Number.isFinite(size)) return null;
  return {
    coefficients: [
      coefficientOf(gradients, left, differences, 1),
      coefficientOf(gradients, left, differences, 0),
    ],
    lag1: productsOf(differences, 1),
    lag2: productsOf(differences, 2),
    ...keptShares(gradients, left),
    factor: factors.reduce((sum, one) => sum + one, 0) / steps,
  };
}

/** Of g(t) on what was left of g(t−1), with the mean of earlier differences as a second regressor, by least squares over steps of one parity. */
function coefficientOf(
  gradients: readonly Vectors[],
  left: readonly Vectors[],
  differences: readonly Vectors[],
  parity: number,
): number {
  let [aa, ab, bb, ay, by] = [0, 0, 0, 0, 0];
  const sum = gradients[0]!.map((g) => new Float64Array(g.length));
  for (let step = 2; step < gradients.length; step++) {
    for (const [k, one] of sum.entries())
      for (let i = 0; i < one.length; i++) one[i] = one[i]! + differences[step - 2]![k]![i]!;
    if (step % 2 !== parity) continue;
    const b = sum.map((one) => one.map((x) => x / (step - 1)));
    const [y, a] = [gradients[step]!, left[step - 1]!];
    aa += dot(a, a);
    ab += dot(a, b);
    bb += dot(b, b);
    ay += dot(a, y);
    by += dot(b, y);
  }
  return (ay * bb - by * ab) / (aa * bb - ab * ab);
}

function productsOf(differences: readonly Vectors[], lag: number): number {
  const squares = differences.map((one) => dot(one, one));
  let [above, below] = [0, 0];
  for (let k = lag; k < differences.length; k++) {
    above += dot(differences[k]!, differences[k - lag]!);
    below += Math.sqrt(squares[k]! * squares[k - lag]!);
  }
  return above / below;
}

/** Entries within a few roundings of what was left. */
const SAME = 2e-6;

function keptShares(
  gradients: readonly Vectors[],
  left: readonly Vectors[],
): Pick<Persistence, 'kept' | 'shares'> {
  const total = { same: 0, count: 0 };
  const shares = gradients.slice(1).map((now, before) => {
    let [same, count] = [0, 0];
    for (const [k, g] of now.entries())
      for (const [i, x] of g.entries()) {
        if (x === 0) continue;
        count++;
        if (Math.abs(x - left[before]![k]![i]!) <= SAME * Math.abs(x)) same++;
      }
    total.same += same;
    total.count += count;
    return count === 0 ? 0 : same / count;
  });
  return { kept: total.count === 0 ? 0 : total.same / total.count, shares };
}

const CUT =
  'look for detach(), torch.no_grad(), .item(), numpy() or .data between these layers and the loss; freeze them (requires_grad_(False)) if that is meant';

/** Tensors without a gradient: the lower part of a graph that is cut, or one whose gradient is always 0. */
function dead(capture: Capture, survey: Survey): AuditLink[] {
  const { manifest, steps } = capture;
  const { gradients } = survey;
  if (gradients.length < STEPS) return [];
  const { parameters } = manifest;
  const absent = parameters.map((_, k) => gradients.every((step) => step[k] === null));
  const zero = parameters.map(
    (_, k) =>
      !absent[k] &&
      gradients.every((step) => (step[k]?.largest ?? 0) === 0 && (step[k]?.nonFinite ?? 0) === 0),
  );
  const namesOf = (which: readonly boolean[]): string[] =>
    parameters.flatMap(({ name }, k) => (which[k] ? [name] : []));
  const found: AuditLink[] = [];
  const first = absent.findIndex((one) => !one);
  if (first > 0) {
    const names = namesOf(absent.map((one, k) => one && k < first));
    found.push(
      broken('gradient', {
        checks: parameters.length,
        broken: names.length,
        step: steps[0]!.step,
        tensor: names[0]!,
        cause: 'detached',
        confidence: 'likely',
        statement: `${named(names)} get no gradient in ${gradients.length} steps, and what follows in the model does: the graph is cut above "${names.at(-1)}"`,
        fix: CUT,
      }),
    );
  }
  const zeros = namesOf(zero);
  if (zeros.length > 0)
    found.push(
      broken('gradient', {
        checks: parameters.length,
        broken: zeros.length,
        step: steps[0]!.step,
        tensor: zeros[0]!,
        cause: 'dead-tensor',
        confidence: 'likely',
        statement: `the gradient of ${named(zeros)} is 0 in every entry of ${gradients.length} steps`,
        fix: 'look at what follows it: units that are all off, a factor of 0, a loss that leaves its output out',
      }),
    );
  const unused = namesOf(absent.map((one, k) => one && k >= Math.max(first, 0)));
  if (found.length === 0 && unused.length > 0)
    found.push(
      cannotTell(
        'gradient',
        `${named(unused)} get no gradient in ${gradients.length} steps: not used, or cut off`,
        'freeze what is not used (requires_grad_(False)), so that what is cut off stands out',
      ),
    );
  if (found.length === 0) found.push(...lost(capture, survey));
  return found;
}

/**
 * Tensors that have a gradient at first and none from some step on. A layer that was frozen looks like one that was cut off, unless the
 * recorder saw that it still asks for a gradient.
 */
function lost({ manifest, steps }: Capture, { gradients }: Survey): AuditLink[] {
  const lasts = manifest.parameters.map((_, k) => gradients.findLastIndex((step) => step[k] !== null));
  const isLost = lasts.map((last) => last >= 0 && last < gradients.length - STEPS);
  const names = manifest.parameters.flatMap(({ name }, k) => (isLost[k] ? [name] : []));
  if (names.length === 0) return [];
  const from = Math.min(...lasts.filter((last) => last >= 0)) + 1;
  const { step } = steps[from]!;
  const asked = steps.slice(from, gradients.length).every(({ record: { unreached } }) => {
    const asking = new Set(unreached);
    return names.every((name) => asking.has(name));
  });
  // What is cut off are the first layers; one in between may be unused.
  const above = isLost.indexOf(false);
  const first = manifest.parameters.slice(0, above).map(({ name }) => name);
  if (asked && above > 0 && first.length === names.length)
    return [
      broken('gradient', {
        checks: manifest.parameters.length,
        broken: names.length,
        step,
        tensor: names[0]!,
        cause: 'detached',
        confidence: 'likely',
        statement: `${named(names)} ask for a gradient and get none from step ${step} on, and what follows in the model does: the graph is cut above "${names.at(-1)}"`,
        fix: CUT,
      }),
    ];
  return [
    cannotTell(
      'gradient',
      `${named(names)} get no gradient from step ${step} on: ${asked ? 'not used' : 'frozen'}, or cut off from the loss`,
      'in Python: clippy_diag.audit(capture, model=…, loss_fn=…), which computes the gradient again',
    ),
  ];
}

/** How many times the next largest entry, and the largest of usual steps, a lone entry has to be. */
const LONE = 100;
const LEAST_ENTRIES = 20;

function lone({ manifest, steps }: Capture, { gradients }: Survey): AuditLink | null {
  const hits = manifest.parameters.flatMap(({ name, elements, shape, embedding }, k) => {
    if (elements < LEAST_ENTRIES || embedding) return [];
    const sizes = gradients.flatMap((step) => step[k]?.largest ?? []);
    const usual = medianOf(Float64Array.from(sizes));
    return gradients.flatMap((step, position) => {
      const one = step[k];
      // A step of which other entries grew too is one of a batch.
      const isLone =
        one != null && one.largest > LONE * one.second && one.second > 0 && one.largest > LONE * usual;
      return isLone ? [{ name, shape, position, ...one, usual }] : [];
    });
  });
  const [first] = hits.sort((a, b) => a.position - b.position);
  if (first === undefined) return null;
  const times = first.largest / first.second;
  return broken('gradient', {
    checks: gradients.length * manifest.parameters.length,
    broken: hits.length,
    step: steps[first.position]!.step,
    tensor: first.name,
    index: indexOf(first.place, first.shape),
    cause: 'lone-gradient',
    confidence: 'likely',
    statement: `one entry of the gradient of "${first.name}" is ${formatNumber(times)} times the next largest at step ${steps[first.position]!.step}: a batch moves many entries`,
    fix:
      hits.length === 1
        ? 'leave this step out; if it comes again on this device and not on another, have its memory tested'
        : 'look at the backward pass of this tensor: the same entry is huge again and again',
  });
}
