import type { CauseEvidence } from '../../model/cause.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { calmBefore, type LogEvidence, lastBefore } from './log-evidence.ts';
import { raisedRate } from './rates.ts';

/** Times the usual range that one value before the NaN may reach: a step that was too long passes through many decades. */
const LONE = 2;
/** Points after an onset in which the NaN may come. */
const NEAR = 3;

export const badBatch: KnownFailure = {
  id: 'nan-out-of-calm',
  title: 'NaN or infinity out of calm: one batch',
  symptoms: [
    'nan',
    'inf',
    'infinity',
    'not a number',
    'non-finite',
    'nan loss',
    'loss is nan',
    'bad batch',
    'log(0)',
    'division by zero',
  ],
  docs: {
    summary:
      'The loss is usual up to one step and no number from there on: that batch, and not the learning rate, is the likely cause.',
    evidence:
      'The three losses before the first NaN lie in the range of the twenty before them, widened by half of it, or one of them is at most twice as high; so does a logged gradient norm; a logged learning rate did not rise in the ten points before. It is likely where every step is logged; where records are further apart, what happened between them was not seen, and the cause stays open.',
    notThis:
      'A loss or a gradient norm that rises before: the steps were too long. A loss scaler that skips: the precision. A first loss that is NaN: the initial weights, or the first batch.',
    whatToDo:
      'Look at the rows of that batch: `torch.isfinite(x).all()` of features and labels, then logarithms, divisions and square roots of the loss. Go on from a checkpoint before it without the batch. The same batch alone, at older weights, confirms it: its loss is NaN there, too.',
  },
  look(judged) {
    const { run, loss } = judged;
    if (loss === null || judged.onset < 0) return null;
    // Points that are a little high may come before; whether they are calm is asked below.
    const until = Math.min(loss.value.length, judged.onset + NEAR + 1);
    let onset = judged.onset;
    while (onset < until && Number.isFinite(loss.value.at(onset)!)) onset++;
    if (onset === until) return null;
    const log = { ...judged, onset };
    const calm = calmBefore(loss.value, onset, LONE);
    if (calm === null || rateRose(log, onset)) return null;
    const [before, step] = [loss.step.at(onset - 1)!, loss.step.at(onset)!];
    const norm = normBefore(log, step);
    if (norm === 'raised') return null;
    const isEvery = run.stepUnit === 'step' && step - before <= 1;
    return isEvery ? seen(log, calm, norm) : unseen(log, calm, norm);
  },
};

const rateRose = ({ rates, loss }: LogEvidence, onset: number): boolean => {
  if (rates === null) return false;
  const until = lastBefore(rates, loss!.step.at(onset)! + 1);
  return until >= 1 && raisedRate(rates.value, until) !== null;
};

/** The norm before a step where it is usual; `raised` where it is not, null where none is logged or too few are. */
function normBefore({ norms }: LogEvidence, step: number): number | 'raised' | null {
  if (norms === null) return null;
  const last = lastBefore(norms, step);
  if (last < 6) return null;
  const calm = calmBefore(norms.value, last + 1, LONE);
  return calm === null ? 'raised' : calm.last;
}

const calmWords = (
  { run, loss, onset }: LogEvidence,
  { last, usual }: { last: number; usual: readonly [number, number] },
  norm: number | null,
): string =>
  `the loss ${last <= usual[1] ? 'is usual' : 'hardly rises'} up to ${run.stepUnit} ${loss!.step.at(onset - 1)} (${formatNumber(last)}, up to ${formatNumber(usual[1])} was usual)${norm === null ? '' : `, with a gradient norm of ${formatNumber(norm)}`}, and ${loss!.value.at(onset)} at ${run.stepUnit} ${loss!.step.at(onset)}`;

const evidenceOf = (
  { loss, onset }: LogEvidence,
  statement: string,
  usual: readonly [number, number],
): CauseEvidence => ({
  id: 'loss-level',
  statement,
  value: loss!.value.at(onset)!,
  unit: 'loss',
  usual,
  at: { step: loss!.step.at(onset)!, batchStep: loss!.step.at(onset)! },
});

function seen(
  log: LogEvidence,
  calm: NonNullable<ReturnType<typeof calmBefore>>,
  norm: number | null,
): FoundFailure {
  const step = log.loss!.step.at(log.onset)!;
  const words = calmWords(log, calm, norm);
  return {
    trigger: 'data',
    confidence: 'likely',
    lead: 'one batch broke it',
    step,
    statement: `${words}; look at the batch of step ${step}, not at the learning rate: a value that is not finite in its rows, the logarithm of 0 or a division by 0 does that in one step`,
    evidence: [evidenceOf(log, words, calm.usual)],
    remedy: {
      action: 'fix-data',
      statement: `check the rows of batch ${step} (\`torch.isfinite(x).all()\`), go back to a checkpoint before it and go on without it; its loss alone at older weights confirms it: NaN there, too`,
    },
  };
}

function unseen(
  log: LogEvidence,
  calm: NonNullable<ReturnType<typeof calmBefore>>,
  norm: number | null,
): FoundFailure {
  const { run, loss, onset } = log;
  const [before, step] = [loss!.step.at(onset - 1)!, loss!.step.at(onset)!];
  const words = calmWords(log, calm, norm);
  const unit = run.stepUnit;
  return {
    trigger: 'none-found',
    confidence: null,
    step: null,
    statement: `${words}; the log has nothing between ${unit}s ${before} and ${step}: a batch with NaN in it, and steps that were too long, look alike from here`,
    evidence: [evidenceOf(log, words, calm.usual)],
    remedy: {
      action: 'rewind',
      statement: `run again from a checkpoint before ${unit} ${before} and log the loss and the gradient norm of every step up to ${step}: NaN out of calm is that batch (\`torch.isfinite(x).all()\`), a rise before it is the learning rate`,
    },
  };
}
