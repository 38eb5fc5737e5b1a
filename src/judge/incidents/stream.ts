/**
 * The judge of losses that are still coming: what makes a recorder write a capture.
 *
 * The recorder for tfjs takes it from here; python/src/clippy_diag/{judge,levels}.py are its twin in Python. Tests
 * compare both on fixtures/incidents/cases.json and on made series.
 */
import { Follower, unitOf } from './follow.ts';

/** The incident that the newest loss starts or continues. Positions count all losses from the first, which is 0. */
export interface StreamedIncident {
  /** Whether the newest loss starts it. */
  readonly begins: boolean;
  /** First loss above the best level on the way there. */
  readonly onset: number;
  /** The best level before, in units of the loss. */
  readonly before: number;
}

/** Losses that are kept: the levels are of fewer. */
const KEPT = 4096;

/** The last losses, and how many there were in all. */
interface Kept {
  readonly count: number;
  at(index: number): number;
}

/** A ring of the last losses. */
function keptLosses(): Kept & { push(loss: number): void } {
  const ring = new Float64Array(KEPT);
  let count = 0;
  return {
    get count() {
      return count;
    },
    at: (index) => ring[index % KEPT]!,
    push(loss) {
      ring[count % KEPT] = loss;
      count++;
    },
  };
}

/**
 * Losses in the order of their steps, one `add` a step, with constant memory: the judge of a whole log on those so far.
 *
 * An incident begins where a level is above the best one so far by more than its noise. Only the rest of a log can show that
 * such rises are usual in it, and a return that the end of the log would have shown sooner.
 */
export function lossStream() {
  const kept = keptLosses();
  let first = Number.NaN;
  let least = Number.POSITIVE_INFINITY;
  let follower = new Follower(unitOf(first, least));
  let onset = -1;
  return {
    /** Takes the newest loss, of any value; the incident that it starts or continues, null where there is none. */
    add(loss: number): StreamedIncident | null {
      const { count } = kept;
      kept.push(loss);
      if (Number.isNaN(first) && Number.isFinite(loss)) first = loss;
      // From the first loss on that is 0, and from the first below it, all are compared in another way.
      if (loss <= 0 && loss > Number.NEGATIVE_INFINITY && (loss < 0 ? least >= 0 : least > 0)) {
        follower = new Follower(unitOf(first, loss));
        for (let i = Math.max(0, count + 1 - KEPT); i < count; i++) follower.step(kept.at(i));
      }
      if (Number.isFinite(loss)) least = Math.min(least, loss);
      follower.step(loss);
      // The last one may go on.
      follower.excesses.splice(0, follower.excesses.length - 1);
      follower.spikes.length = 0;
      const one = follower.open ?? (follower.excesses[0]?.trigger === count ? follower.excesses[0] : null);
      if (one === null) return null;
      const begins = one.onset !== onset;
      onset = one.onset;
      return { begins, onset, before: follower.unit.from(one.best + one.gap) };
    },
  };
}
