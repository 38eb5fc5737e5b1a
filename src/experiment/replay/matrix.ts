/**
 * Learning rate × clipping rule × seed: each cell trains on from a capture's initial state, and either stays in the band of
 * the losses before or leaves it. How much higher a learning rate a rule carries is what arXiv 2302.09178 compares rules by.
 */

import { randomVectors } from '../../differentiate/curvature/random.ts';
import { judgeBranches } from '../../judge/incidents/followers.ts';
import {
  earlierOf,
  endBeside,
  endLevel,
  judgeLosses,
  LAST_LOSSES,
  largestEndLevel,
  leftForGood,
  peakOf,
} from '../../judge/incidents/losses.ts';
import type { MatrixCell, TrainingMatrix } from '../../model/matrix.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { incidentOfCapture } from './capture-incident.ts';
import { type TrainingOptions, trainRuns } from './closed-loop.ts';

export interface MatrixOptions extends TrainingOptions {
  readonly rules: readonly RuleChoice[];
  /** Times every recorded learning rate. */
  readonly learningRateMultipliers: readonly number[];
  /** 0 takes the batches as recorded, any other in an order of its own, stretch by stretch. */
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
  const { onset, end = count } = incidentOfCapture(capture);
  const edges = [0, onset ?? 0, end, count].map((edge) => Math.min(edge, count));
  const orders = new Map(seeds.map((seed) => [seed, batchOrder(edges, seed)]));
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
  const highLevel = largestEndLevel(history);
  let slower = 0;
  const cellOf = ({ rule, multiplier, seed }: (typeof runs)[number], r: number): MatrixCell => {
    const { loss, ended } = traces[r]!;
    const judged = judgeLosses(loss, history);
    // Without an incident of the baseline there is no level to come back to but the cell's own.
    const { band, incident } = without.incident === null ? judged : without;
    const ends = incident === null ? 'in-band' : endBeside(loss, judged, band);
    const diverged = known ? ends === 'out' : null;
    if (ends === 'slower') slower++;
    const finalLoss = endLevel(loss);
    // A level far above the old one is not stable, although single losses reach it.
    const hurt = ends === 'in-band' && finalLoss > highLevel;
    return {
      rule: rule.id,
      label: rule.label,
      learningRateMultiplier: multiplier,
      seed,
      diverged,
      verdict: diverged === null ? null : diverged ? 'lost' : hurt ? 'hurt' : 'holds',
      leftAtStep: diverged === true ? (numbers[leftForGood(loss, band)] ?? null) : null,
      finalLoss,
      peak: peakOf(loss, earlierOf(judged.incident, without.incident), band),
      ended: ended!,
    };
  };
  const cells = judgeBranches(history.length, () => runs.map(cellOf));
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
    band: { median: band.median, high: band.high, highLevel },
    baseline: check,
    cells,
    holds: rules.map(({ label }) => ({ label, ...reachOf(cells.filter((cell) => cell.label === label)) })),
    notes,
  };
}

/** Up to where all cells hold, and where one does not. */
function reachOf(cells: readonly MatrixCell[]): { upTo: number | null; notAt: number | null } {
  const bad = cells.flatMap((cell) => (cell.verdict === 'holds' ? [] : [cell.learningRateMultiplier]));
  const first = Math.min(...bad);
  const held = cells.map((cell) => cell.learningRateMultiplier).filter((multiplier) => multiplier < first);
  return { upTo: held.length === 0 ? null : Math.max(...held), notAt: bad.length === 0 ? null : first };
}

/**
 * The positions of the batches in an order of the seed's own: they change places within the stretches before, in and after the
 * incident only, since a cell must meet what set off the incident where the run met it. Undefined for seed 0, which keeps theirs.
 *
 * @param edges of the stretches, rising, from 0 to the number of batches
 */
export function batchOrder(edges: readonly number[], seed: number): readonly number[] | undefined {
  if (seed === 0) return undefined;
  const key = randomVectors(seed).gaussian(edges.at(-1)!);
  return edges.slice(1).flatMap((to, k) => {
    const from = edges[k]!;
    return Array.from({ length: Math.max(to - from, 0) }, (_, i) => from + i).sort(
      (a, b) => key[a]! - key[b]!,
    );
  });
}
