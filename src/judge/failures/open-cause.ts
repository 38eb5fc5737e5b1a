/** What is said where the log shows that a run went wrong and not why: what was seen to be as usual, and the look that decides. */

import type { CauseEvidence } from '../../model/cause.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { KnownFailure } from './failure.ts';
import {
  calmBefore,
  type LogEvidence,
  lastBefore,
  levelBefore,
  levelFrom,
  type Points,
} from './log-evidence.ts';

export const openCause: KnownFailure = {
  id: 'cause-not-shown',
  title: 'The log does not show why',
  symptoms: [
    'no cause was found',
    'unknown cause',
    'cause',
    'why',
    'drift',
    'slow rise',
    'loss goes up',
    'loss increases',
  ],
  docs: {
    summary: 'The loss went wrong, and nothing that was logged with it says why.',
    evidence:
      'None of the known failures speaks. The page says what was seen to be as usual: the learning rate and the gradient norm in the three logged points before the onset, against the twenty before those.',
    notThis: 'A cause: what was not logged was not seen.',
    whatToDo:
      'One look distinguishes data from weights. Where the loss jumps in one step, compute the loss of that batch alone at older weights: a high one means the batch. Otherwise evaluate weights from after the onset on batches from before it. A usual loss means that the data changed; a high one means that the weights are harmed. Log the learning rate and the gradient norm of every step, or record a capture (`clippy-diag init`), before running it again from a checkpoint before the onset.',
  },
  look(log) {
    const { run, onsetStep, judged } = log;
    if (onsetStep === null) return null;
    const unit = run.stepUnit;
    const usual = [
      seenCalm(log.rates, onsetStep, 'the learning rate did not rise'),
      seenCalm(log.norms, onsetStep, 'the gradient norm was usual'),
    ].filter((one) => one !== null);
    const raised = raisedNorm(log);
    const seen =
      raised?.statement ?? (usual.length === 0 ? null : `${usual.join(' and ')} before ${unit} ${onsetStep}`);
    const slow = judged?.verdict.class === 'drift';
    const jump = jumpAt(log);
    const statement = [
      `the log does not show what changed${seen === null ? '' : `: ${seen}`}`,
      ...(jump === null ? [] : [jump]),
      ...(isUntrained(log)
        ? ['it is back at the loss that the untrained network had: what was learnt is lost']
        : []),
      ...(slow && !isUntrained(log)
        ? [
            'a slow rise comes from data that change slowly, or from a rate that is too high for how sharp the loss has become',
          ]
        : []),
    ].join('; ');
    return {
      trigger: 'none-found',
      confidence: null,
      step: null,
      statement,
      evidence: raised === null ? [] : [raised],
      remedy: {
        action: 'rewind',
        statement: jump === null ? lookAtWeights(log, onsetStep, slow) : lookAtBatch(log, onsetStep),
      },
    };
  },
};

/** The one look that distinguishes data from weights, and what to log so that the next run shows it. */
function lookAtWeights({ run, norms, rates }: LogEvidence, onsetStep: number, slow: boolean): string {
  const unit = run.stepUnit;
  const missing = [
    ...(norms === null ? ['the gradient norm'] : []),
    ...(rates === null ? ['the learning rate'] : []),
  ];
  const log = missing.length === 0 ? 'record a capture (`clippy-diag init`)' : `log ${missing.join(' and ')}`;
  return run.stepUnit === 'step'
    ? `evaluate weights from after ${unit} ${onsetStep} on batches from before it: a usual loss means that the data changed, a high one that the weights are harmed${slow ? '' : `; then go back to a checkpoint before ${unit} ${onsetStep}, ${log}, and run it again`}`
    : `compare the data and the settings of ${unit} ${onsetStep} with those before; go back to a checkpoint before it, ${log}, and run it again`;
}

/** Share of its first level within which a loss is that of the untrained network, and below which it had learnt. */
const [UNTRAINED, LEARNT] = [0.05, 0.8];

/** Whether a loss that had come down ends at its first level again. */
function isUntrained({ loss, onset }: LogEvidence): boolean {
  if (loss === null || onset < 1) return false;
  const first = levelFrom(loss.value, 0, 5);
  const end = levelBefore(loss.value, loss.value.length);
  return (
    first > 0 && Math.abs(end / first - 1) <= UNTRAINED && levelBefore(loss.value, onset) <= LEARNT * first
  );
}

/** Times the usual range that a loss jumps to in one step. */
const JUMP = 3;

/** That the loss jumps from one step to the next, as a clause; null where it does not, or where not every step is logged. */
function jumpAt({ run, loss, onset }: LogEvidence): string | null {
  if (loss === null || onset < 1 || run.stepUnit !== 'step') return null;
  const [before, step] = [loss.step.at(onset - 1)!, loss.step.at(onset)!];
  const calm = calmBefore(loss.value, onset);
  const value = loss.value.at(onset)!;
  if (calm === null || step - before > 1 || !(value >= JUMP * calm.usual[1]) || calm.usual[1] <= 0)
    return null;
  return `the loss is usual up to ${run.stepUnit} ${before} and ${formatNumber(value)} at ${run.stepUnit} ${step}: that batch is unlike the others, or the update before it was far too large`;
}

/** The look that distinguishes a batch from the step before it. */
const lookAtBatch = ({ run }: LogEvidence, onsetStep: number): string =>
  `compute the loss of batch ${onsetStep} alone at weights from a checkpoint before ${run.stepUnit} ${onsetStep}: if it is high there too, look at the rows of that batch and of those after it; if it is usual, the weights were harmed by the step before: go back to that checkpoint and clip, or lower the rate`;

function seenCalm(points: Points | null, onsetStep: number, words: string): string | null {
  if (points === null) return null;
  const last = lastBefore(points, onsetStep + 1);
  return last < 3 || calmBefore(points.value, last) === null ? null : words;
}

/** A gradient norm that rose before the loss did. */
function raisedNorm({ norms, onsetStep, run }: LogEvidence): CauseEvidence | null {
  if (norms === null) return null;
  const last = lastBefore(norms, onsetStep!);
  if (last < 8 || calmBefore(norms.value, last + 1) !== null) return null;
  const value = norms.value.at(last)!;
  if (!Number.isFinite(value)) return null;
  const statement = `the gradient norm had risen to ${formatNumber(value)} at ${run.stepUnit} ${norms.step.at(last)}, before the loss did`;
  return {
    id: 'gradient-norm',
    statement,
    value,
    unit: 'norm',
    usual: null,
    at: { step: norms.step.at(last)!, batchStep: null },
  };
}
