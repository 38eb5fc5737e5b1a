/**
 * A ladder of learning rates on copies of a training: which it is stable at. The Python package has the same in
 * `clippy_diag/preflighting.py`, and both are tested on the same trainings of known limit. docs/preflight.md explains it.
 */
import type { Preflight, RateBand } from '../../model/preflight.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';

/** Quiet steps before the first ladder, and steps at each rate. */
const QUIET = 20;
const STEPS = 12;
/** The quiet rate is the asked one divided by LOWER; a ladder ends at HIGHEST times the asked one. */
const LOWER = 8;
const HIGHEST = 64;
/** A rate is not held where its loss is above that of the quiet rate by ERRORS paired errors, and by SHARE of what was learnt or growing by GROWTH. */
const ERRORS = 3;
const SHARE = 0.5;
const GROWTH = 3;
/** The loss is learnt where it is so many errors below that of the untrained net. */
const LEARNT = 2 * ERRORS;
const MOST_QUIET = 320;
const MOST_LOWERED = 5;
/** The lower end of the band is the highest rate held over BELOW; the upper end is multiplied by ADAPTS under an optimizer that divides by its past gradients, whose state adapts after the steps of a ladder. Fitted by bench/preflight. */
const BELOW = Math.SQRT2;
const ADAPTS = 2;

type Rung = Preflight['ladder'][number];

/** How steps are taken, apart from their rate. */
export interface How {
  /** In place of the recorded clipping. */
  readonly rule?: RuleChoice;
  /** Batches whose gradients are averaged in each step. */
  readonly batches?: number;
  /** A tensor of which only a part of every update is applied, and that part. */
  readonly slowed?: { readonly tensor: string; readonly part: number };
}

/** A training that can be tried. */
export interface Trial<State> {
  readonly asked: number;
  /** Gradients that were computed so far. */
  readonly gradients: number;
  /** Whether the optimizer divides by its past gradients, as Adam does. */
  readonly adapts: boolean;
  keep(): State;
  put(state: State): void;
  /** Takes steps on training batches from number `first` on. @returns whether every loss and parameter was finite */
  train(rate: number, steps: number, first: number, how: How): Promise<boolean>;
  /** The loss of every fixed batch. */
  losses(): Promise<readonly number[]>;
  /** How far every tensor has moved since a state, over its size there. */
  moved(since: State): ReadonlyMap<string, number>;
}

interface Ladder {
  readonly rungs: readonly Rung[];
  readonly held: number | null;
  readonly failed: number | null;
}

interface Answer<State> {
  readonly ladder: Ladder;
  readonly climb: Climb<State> | null;
  /** Why nothing can be said; null where something can. */
  readonly unknown: string | null;
  readonly steps: number;
  /** Whether the asked rate was held in an earlier ladder; null without one. */
  readonly early: boolean | null;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** How far losses are above others of the same batches, in standard errors of the paired differences; infinite where one is not finite. */
export function errorsAbove(losses: readonly number[], others: readonly number[]): number {
  if (!losses.every(Number.isFinite)) return Number.POSITIVE_INFINITY;
  const differences = losses.map((loss, i) => loss - others[i]!);
  const middle = mean(differences);
  const variance = differences.reduce((sum, d) => sum + (d - middle) ** 2, 0) / (differences.length - 1);
  const error = Math.sqrt(variance / differences.length);
  if (error === 0) return middle === 0 ? 0 : Math.sign(middle) * Number.POSITIVE_INFINITY;
  return middle / error;
}

/** Tries rates from one state, each compared with the quiet rate from the same state on the same batches. */
class Climb<State> {
  readonly rungs: Rung[] = [];
  #quiet: readonly number[];

  constructor(
    readonly trial: Trial<State>,
    readonly state: State,
    readonly first: number,
    readonly over: () => boolean,
    readonly given: number,
    readonly before: readonly number[],
  ) {
    this.#quiet = before;
  }

  /** Takes the quiet rate as the reference, lowered until its loss does not rise; null where no rate is low enough. */
  async start(quiet: number): Promise<number | null> {
    let rate = quiet;
    for (let i = 0; i <= MOST_LOWERED; i++, rate /= LOWER) {
      const after = await this.#after(rate, {});
      const held = errorsAbove(after, this.before) <= ERRORS;
      this.#note(rate, after, held);
      if (!held) continue;
      this.#quiet = after;
      return rate;
    }
    return null;
  }

  async holds(rate: number, how: How = {}): Promise<boolean> {
    const after = await this.#after(rate, how);
    let held = errorsAbove(after, this.#quiet) <= ERRORS;
    if (!held && this.#lost(after) <= SHARE) held = !(await this.#grows(rate, how, after));
    if (Object.keys(how).length === 0) this.#note(rate, after, held);
    return held;
  }

  /** Doubles the rate until one is not held, then tries the rate between the two. */
  async up(quiet: number, highest: number): Promise<Ladder> {
    let held = quiet;
    for (let rate = 2 * quiet; rate <= highest * 1.001 && !this.over(); rate *= 2) {
      if (await this.holds(rate)) {
        held = rate;
        continue;
      }
      const between = Math.sqrt(held * rate);
      return (await this.holds(between))
        ? { rungs: this.rungs, held: between, failed: rate }
        : { rungs: this.rungs, held, failed: between };
    }
    return { rungs: this.rungs, held, failed: null };
  }

  async #grows(rate: number, how: How, after: readonly number[]): Promise<boolean> {
    const middle = await this.#after(rate, how, STEPS / 2);
    if (errorsAbove(after, middle) <= ERRORS) return false;
    const lowest = Math.min(mean(this.before), mean(this.#quiet), mean(middle));
    return mean(after) - lowest > GROWTH * (mean(middle) - lowest);
  }

  async #after(rate: number, how: How, steps = STEPS): Promise<readonly number[]> {
    this.trial.put(this.state);
    const finite = await this.trial.train(rate, steps, this.first, how);
    return finite ? await this.trial.losses() : this.before.map(() => Number.NaN);
  }

  /** The share of what the quiet rate has learnt since the given state that these losses lack: of what a whole run learnt before, half is a lost run. */
  #lost(after: readonly number[]): number {
    const learnt = this.given - mean(this.#quiet);
    const above = mean(after) - mean(this.#quiet);
    return learnt > 0 && Number.isFinite(above) ? above / learnt : Number.POSITIVE_INFINITY;
  }

  #note(rate: number, after: readonly number[], held: boolean): void {
    this.rungs.push({ rate, before: mean(this.before), after: mean(after), held });
  }
}

/** What a preflight is asked. */
interface PreflightQuestion {
  /** After which no further rate is tried. */
  readonly seconds: number;
  /** Under each of which the largest rate is looked for, where the asked one is not well within. */
  readonly rules: readonly RuleChoice[];
  /** Milliseconds now. */
  clock(): number;
  /** Loss of the untrained net, where it is known from before. */
  readonly untrained?: number;
}

/** What limits a rate, with the highest rate that is held with twice the batch, null where none above is. */
interface Limit extends Pick<Preflight, 'limitedBy' | 'batchScaling'> {
  readonly withTwice: number | null;
}
const NO_LIMIT: Limit = { limitedBy: { kind: 'unknown', tensor: null }, batchScaling: null, withTwice: null };

/** The answer of a ladder. @throws what the trial throws */
export async function climbLadder<State>(
  trial: Trial<State>,
  question: PreflightQuestion,
): Promise<Preflight> {
  const begun = question.clock();
  const spent = () => (question.clock() - begun) / 1000;
  const answer = await find(trial, question, () => spent() > question.seconds);
  const { verdict, band } = judged(trial, answer);
  const { held, failed } = answer.ladder;
  const found = band !== null && answer.climb !== null && held !== null && failed !== null;
  const { withTwice, ...limit } = found ? await limitOf(answer.climb!, held!, failed!) : NO_LIMIT;
  const underRules =
    found && verdict !== 'well-within' ? await rulesAbove(answer.climb!, held!, failed!, question.rules) : [];
  const told: Omit<Preflight, 'statement'> = {
    asked: trial.asked,
    stableRate: band,
    ratio: band === null ? null : trial.asked / middleOf(band),
    verdict,
    ...limit,
    underRules,
    warmup: answer.early === false && isHeld(answer.ladder, trial.asked) ? { steps: answer.steps } : null,
    gradients: trial.gradients,
    seconds: Math.round(spent() * 1000) / 1000,
    ladder: answer.ladder.rungs,
  };
  return { ...told, statement: statementOf(told, answer.unknown, withTwice) };
}

/** The single number of a band: its geometric middle, or its lower end where it has no upper one. */
const middleOf = ({ low, high }: RateBand): number => (Number.isFinite(high) ? Math.sqrt(low * high) : low);

const NOTHING: Ladder = { rungs: [], held: null, failed: null };
const isHeld = ({ held }: Ladder, rate: number): boolean => held !== null && rate <= held * 1.001;

async function find<State>(
  trial: Trial<State>,
  question: PreflightQuestion,
  over: () => boolean,
): Promise<Answer<State>> {
  const start = trial.keep();
  const given = await trial.losses();
  const nothing = (unknown: string, steps: number): Answer<State> => ({
    ladder: NOTHING,
    climb: null,
    unknown,
    steps,
    early: null,
  });
  if (!given.every(Number.isFinite))
    return nothing('The loss of the given weights is not finite: look at weights and data.', 0);
  const untrained = given.map((loss) => Math.max(loss, question.untrained ?? loss));
  const quiet = await quietRate(trial, start, given);
  if (quiet === null)
    return nothing('Even at a very low rate the loss rises: the rate is not what is wrong.', QUIET);
  let early: boolean | null = null;
  for (let steps = QUIET; ; steps *= 2) {
    const state = trial.keep();
    const now = await trial.losses();
    const learnt = errorsAbove(untrained, now) >= LEARNT;
    const climb = new Climb(trial, state, steps, over, mean(given), now);
    const reference = await climb.start(quiet);
    if (reference === null)
      return {
        ...nothing(`After ${steps} quiet steps no rate is low enough to keep the loss from rising.`, steps),
        ladder: { ...NOTHING, rungs: climb.rungs },
      };
    const ladder = await climb.up(reference, HIGHEST * trial.asked);
    if (learnt || over() || steps >= MOST_QUIET)
      return { ladder, climb, unknown: learnt ? null : notLearnt(steps, over(), question), steps, early };
    early = isHeld(ladder, trial.asked);
    trial.put(state);
    const rate = Math.max(reference, Math.min(trial.asked, (ladder.held ?? reference) / 4));
    if (!(await trial.train(rate, steps, steps, {}))) {
      trial.put(state);
      await trial.train(reference, steps, steps, {});
    }
  }
}

/** The rate of the quiet steps, lowered until the loss does not rise in them; the trial is then after them. */
async function quietRate<State>(
  trial: Trial<State>,
  start: State,
  given: readonly number[],
): Promise<number | null> {
  let rate = trial.asked / LOWER;
  for (let i = 0; i <= MOST_LOWERED; i++, rate /= LOWER) {
    trial.put(start);
    const finite = await trial.train(rate, QUIET, 0, {});
    if (finite && errorsAbove(await trial.losses(), given) <= ERRORS) return rate;
  }
  return null;
}

const notLearnt = (steps: number, over: boolean, { seconds }: PreflightQuestion): string =>
  over
    ? `${seconds} seconds were not enough: give more with --seconds.`
    : `In ${steps} quiet steps the loss did not fall by ${LEARNT} errors, so a collapse would not show.`;

function judged<State>(
  { asked, adapts }: Trial<State>,
  { ladder, unknown }: Answer<State>,
): { verdict: Preflight['verdict']; band: RateBand | null } {
  if (ladder.held === null || unknown !== null) return { verdict: 'cannot-tell', band: null };
  const low = ladder.held / BELOW;
  const high = ladder.failed === null ? Number.POSITIVE_INFINITY : ladder.failed * (adapts ? ADAPTS : 1);
  if (asked < low) return { verdict: 'well-within', band: { low, high } };
  if (!Number.isFinite(high)) return { verdict: 'cannot-tell', band: null };
  return { verdict: asked > high ? 'above' : 'near', band: { low, high } };
}

/** What limits the rate, by trial: one tensor, noise, else curvature. */
async function limitOf<State>(climb: Climb<State>, held: number, failed: number): Promise<Limit> {
  if (climb.over()) return NO_LIMIT;
  const { trial, state } = climb;
  trial.put(state);
  await trial.train(failed, 2, climb.first, {});
  const moved = [...trial.moved(state)].map(
    ([name, far]) => [name, Number.isNaN(far) ? Number.POSITIVE_INFINITY : far] as const,
  );
  const [tensor] = moved.sort(([, a], [, b]) => b - a)[0] ?? [];
  const twice = await climb.holds(failed, { batches: 2 });
  const more = twice && (await climb.holds(failed * Math.SQRT2, { batches: 2 }));
  const scaling = {
    batchScaling: more ? 1 : twice ? 0.5 : 0,
    withTwice: more ? failed * Math.SQRT2 : twice ? failed : null,
  };
  const rate = 2 * failed;
  const slowed = tensor === undefined || moved.length < 2 ? null : { tensor, part: held / rate };
  if (slowed !== null && (await climb.holds(rate, { slowed })))
    return { limitedBy: { kind: 'tensor', tensor: slowed.tensor }, ...scaling };
  return { limitedBy: { kind: twice ? 'noise' : 'curvature', tensor: null }, ...scaling };
}

/** Between which rates of the row the limit is under each rule, up to twice the asked one; null where no rate above is held. */
async function rulesAbove<State>(
  climb: Climb<State>,
  held: number,
  failed: number,
  rules: readonly RuleChoice[],
): Promise<Preflight['underRules']> {
  const found: { rule: string; stableRate: RateBand | null }[] = [];
  const highest = 2 * Math.max(climb.trial.asked, failed) * 1.001;
  for (const rule of rules) {
    if (climb.over()) break;
    let low = held;
    let rate = failed;
    for (; rate <= highest && (await climb.holds(rate, { rule })); rate *= 2) low = rate;
    const high = rate > highest ? Number.POSITIVE_INFINITY : rate;
    found.push({ rule: rule.label, stableRate: low === held ? null : { low, high } });
  }
  return found;
}

const short = (value: number): string => String(Number(value.toPrecision(2)));

/** The answer in plain words. */
function statementOf(
  found: Omit<Preflight, 'statement'>,
  unknown: string | null,
  withTwice: number | null,
): string {
  const { stableRate: stable, verdict } = found;
  const asked = short(found.asked);
  if (stable === null) {
    const tried = found.ladder.length === 0 ? 0 : Math.max(...found.ladder.map(({ rate }) => rate));
    return `The largest stable learning rate is unknown. ${unknown ?? `Rates up to ${short(tried)} were tried.`}`;
  }
  if (!Number.isFinite(stable.high))
    return `The training is stable to a learning rate of at least ${short(stable.low)}; ${asked} is well within that.`;
  const about = `The training is stable to a learning rate of about ${short(middleOf(stable))} (${short(stable.low)} to ${short(stable.high)})`;
  const said = {
    'well-within': `${about}; ${asked} is well within that.`,
    near: `${about}; ${asked} is near that limit.`,
    above: `${about}; ${asked} is too high for its first steps.`,
    'cannot-tell': about,
  }[verdict];
  return [said, ...reasonsOf(found, withTwice)].join(' ');
}

function reasonsOf(found: Omit<Preflight, 'statement'>, withTwice: number | null): string[] {
  const { limitedBy, warmup, underRules, verdict, asked } = found;
  const said: string[] = [];
  if (limitedBy.kind === 'noise' && withTwice !== null)
    said.push(`Gradient noise limits it: with twice the batch ${short(withTwice)} is held.`);
  if (limitedBy.kind === 'curvature') said.push('Curvature limits it: twice the batch does not help.');
  if (limitedBy.kind === 'tensor')
    said.push(`One tensor limits it: with smaller updates of ${limitedBy.tensor} twice the rate is held.`);
  if (limitedBy.kind === 'tensor' && withTwice !== null)
    said.push(`With twice the batch ${short(withTwice)} is held.`);
  if (warmup !== null)
    said.push(
      `The first steps do not hold this rate, and after ${warmup.steps} quiet steps it is held: a warm-up may help.`,
    );
  const helped = underRules.filter(({ stableRate }) => stableRate !== null && stableRate.low >= asked);
  if (helped.length > 0 && verdict !== 'well-within')
    said.push(`Under ${helped.map(({ rule }) => rule).join(' or ')} the asked rate is held.`);
  return said;
}
