/**
 * The judge of losses that are still coming: what makes a recorder write a capture.
 *
 * The recorder for tfjs takes it from here; python/src/clippy_diag/judge.py is its twin in Python. Both are held against
 * fixtures/incidents/cases.json.
 */
import { FIRST_VALUES, LOG_SCALE, linearScale } from './bands.ts';
import { followPoints, lengthsFor } from './judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from './settings.ts';

/** The incident that the newest loss starts or continues. Positions count all losses from the first, which is 0. */
export interface StreamedIncident {
  /** Whether the newest loss starts it. */
  readonly begins: boolean;
  /** First loss outside the band on the way there. */
  readonly onset: number;
  /** Median before, in units of the loss; NaN where too few losses came before. */
  readonly before: number;
}

/** Losses that are kept: more than a window, and than a way out of the band before a jump, ever has. */
const KEPT = 4096;

/**
 * Losses in the order of their steps, one `add` a step, with constant memory.
 *
 * The same bands, settings and incidents as the verdict of a log that ends at the newest loss, with the losses so far for its length, but for two things that
 * only the rest of a log can tell: climbs, and a return that the end of the log would have shown sooner.
 */
export function lossStream() {
  const settings = DEFAULT_VERDICT_SETTINGS;
  const kept = new Float64Array(KEPT);
  const at = (index: number): number => kept[index % KEPT]!;
  const start = (scale: typeof LOG_SCALE) => followPoints(at, scale, settings, settings.windowMaximum, KEPT);
  let scale = LOG_SCALE;
  let follower = start(scale);
  let count = 0;
  /** Of the finite losses. */
  const first: number[] = [];
  return {
    /** Takes the newest loss, of any value; the incident that it starts or continues, null where there is none. */
    add(loss: number): StreamedIncident | null {
      kept[count % KEPT] = loss;
      count++;
      const isFirst = Number.isFinite(loss) && first.length < FIRST_VALUES;
      if (isFirst) first.push(loss);
      if (scale === LOG_SCALE ? loss <= 0 && loss > Number.NEGATIVE_INFINITY : isFirst) {
        // From the first loss that has no logarithm on, all are judged by their values, as they would have been had it been known.
        scale = linearScale(first);
        follower = start(scale);
        for (let i = Math.max(0, count - KEPT); i < count - 1; i++)
          follower.step(i, lengthsFor(i + 1, settings));
      }
      follower.step(count - 1, lengthsFor(count, settings));
      // What is over says nothing of the next loss.
      follower.incidents.length = 0;
      const { open } = follower;
      return open === null
        ? null
        : { begins: open.trigger === count - 1, onset: open.onset, before: scale.from(open.center) };
    },
  };
}
