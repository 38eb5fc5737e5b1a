/**
 * Learning rate × clipping rule × seed: each cell trains on from a capture's initial state, and either stays in the band of
 * the losses before or leaves it. How much higher a learning rate a rule carries is what arXiv 2302.09178 compares rules by.
 */
import { lossesBefore } from '../captures/as-run.ts';
import { randomVectors } from '../curvature/random.ts';
import {
  earlierOf,
  endBeside,
  endLevel,
  judgeLosses,
  LAST_LOSSES,
  leftForGood,
  peakOf,
} from '../incidents/losses.ts';
import type { MatrixCell, TrainingMatrix } from '../model/matrix.ts';
import type { RuleChoice } from '../rules/choice.ts';
import { type TrainingOptions, trainRuns } from './closed-loop.ts';

export interface MatrixOptions extends TrainingOptions {
  readonly rules: readonly RuleChoice[];
  /** Times every recorded learning rate. */
  readonly learningRateMultipliers: readonly number[];
  /** 0 takes the batches as recorded, any other in an order of its own. */
  readonly seeds: readonly number[];
}

/**
 * Trains every cell.
 *
 * @throws as `trainRuns`
 */
export async function trainMatrix(options: MatrixOptions): Promise<TrainingMatrix> {
  const { capture, rules, learningRateMultipliers: multipliers, seeds } = options;
  const count = Math.min(options.steps ?? capture.steps.length, capture.steps.length);
  const orders = new Map(seeds.map((seed) => [seed, batchOrder(count, seed)]));
  const runs = rules.flatMap((rule) =>
    multipliers.flatMap((multiplier) =>
      seeds.map((seed) => ({ rule, multiplier, order: orders.get(seed), seed })),
    ),
  );
  const { steps, baseline, check, traces, notes } = await trainRuns(
    options,
    runs.map(({ rule, multiplier, order }) => ({
      rule,
      multiplier,
      ...(order === undefined ? {} : { order }),
    })),
  );
  const numbers = steps.map(({ step }) => step);
  const history = lossesBefore(capture);
  const without = judgeLosses(baseline.loss, history);
  const known = Number.isFinite(without.band.high) && count >= LAST_LOSSES;
  let slower = 0;
  const cells = runs.map(({ rule, multiplier, seed }, r): MatrixCell => {
    const { loss, ended } = traces[r]!;
    const judged = judgeLosses(loss, history);
    // Without an incident of the baseline there is no level to come back to but the cell's own.
    const { band, incident } = without.incident === null ? judged : without;
    const end = incident === null ? 'in-band' : endBeside(loss, judged, band);
    const diverged = known ? end === 'out' : null;
    if (end === 'slower') slower++;
    return {
      rule: rule.id,
      label: rule.label,
      learningRateMultiplier: multiplier,
      seed,
      diverged,
      leftAtStep: diverged === true ? (numbers[leftForGood(loss, band)] ?? null) : null,
      finalLoss: endLevel(loss),
      peak: peakOf(loss, earlierOf(judged.incident, without.incident), band),
      ended: ended!,
    };
  });
  const { band } = without;
  if (!known)
    notes.push(
      `${count} steps with ${history.length} losses before them cannot tell what diverges: ${LAST_LOSSES} steps are needed, and five losses before an incident`,
    );
  if (slower > 0)
    notes.push(
      `${slower} of ${cells.length} runs fall more slowly and end above the band that they have not reached; they count as held`,
    );
  return {
    steps: { first: numbers[0]!, last: numbers.at(-1)!, count },
    learningRates: [...new Set(steps.flatMap((step) => step.learningRates))],
    band: { median: band.median, high: band.high },
    baseline: check,
    cells,
    holds: rules.map(({ label }) => ({
      label,
      upTo: holdsUpTo(cells.filter((cell) => cell.label === label)),
    })),
    notes,
  };
}

function holdsUpTo(cells: readonly MatrixCell[]): number | null {
  const bad = cells.filter(({ diverged }) => diverged !== false).map((cell) => cell.learningRateMultiplier);
  const first = Math.min(...bad);
  const held = cells.map((cell) => cell.learningRateMultiplier).filter((multiplier) => multiplier < first);
  return held.length === 0 ? null : Math.max(...held);
}

/** The positions of `count` batches in an order of the seed's own; undefined for seed 0, which keeps theirs. */
export function batchOrder(count: number, seed: number): readonly number[] | undefined {
  if (seed === 0) return undefined;
  const key = randomVectors(seed).gaussian(count);
  return Array.from({ length: count }, (_, i) => i).sort((a, b) => key[a]! - key[b]!);
}
