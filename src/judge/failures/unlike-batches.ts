import { formatCount, formatNumber } from '../../model/format-number.ts';
import type { KnownFailure } from './failure.ts';
import { calmBefore, type LogEvidence } from './log-evidence.ts';

/** Times its usual range that the loss jumps to, and that its last high value still is. */
const [JUMP, STILL] = [3, 2];
/** High losses in a row at most, and usual ones after them. */
const [MOST, AFTER] = [10, 5];

export const unlikeBatches: KnownFailure = {
  id: 'unlike-batches',
  title: 'A few batches are unlike the others, and did no harm',
  symptoms: ['spike', 'loss spike', 'single spike', 'outlier', 'bad batch', 'corrupt rows', 'recovered'],
  docs: {
    summary:
      'The loss is high for up to ten steps and usual again at the next one: these batches were unlike the others.',
    evidence: `Every step is logged. The loss jumps from its usual range to ${JUMP} times that range or more; after at most ${MOST} steps it falls back from ${STILL} times the range or more in one step, and the next ${AFTER} losses are usual. The learning rate did not rise.`,
    notThis:
      'A step that was too long: it harms the weights, and the loss comes back over many steps. A loss that comes down step by step is not this failure.',
    whatToDo:
      'Look at the rows of these batches: values far outside of the usual range, wrong units, labels of another set. The loss of one of them alone, at weights from before, confirms it: it is high there too. If there are many such places, clip the gradient norm.',
  },
  look(log) {
    const found = passing(log);
    // Of a run that does not come back the next losses are usual by chance.
    if (found === null || log.judged?.verdict.class === 'full-divergence') return null;
    const { run, loss, onset } = log;
    const [from, to, back] = [onset, found.end - 1, found.end].map((at) => loss!.step.at(at)!) as [
      number,
      number,
      number,
    ];
    const where =
      from === to ? `step ${formatCount(from)}` : `steps ${formatCount(from)} to ${formatCount(to)}`;
    const batches = from === to ? `batch ${from}` : `batches ${from} to ${to}`;
    const statement = `the loss is usual up to ${run.stepUnit} ${formatCount(loss!.step.at(onset - 1)!)}, up to ${formatNumber(found.highest)} at ${where}, and usual again at ${run.stepUnit} ${formatCount(back)}`;
    return {
      trigger: 'data',
      confidence: 'likely',
      lead: from === to ? 'one batch is unlike the others' : 'a few batches are unlike the others',
      step: from,
      statement: `${statement}; weights that a step had harmed would need more steps to come back`,
      evidence: [
        {
          id: 'loss-level',
          statement,
          value: found.highest,
          unit: 'loss',
          usual: found.usual,
          at: { step: from, batchStep: from },
        },
      ],
      remedy: {
        action: 'fix-data',
        statement: `look at the rows of ${batches}; their loss alone at older weights confirms it: it is high there, too`,
      },
    };
  },
};

/** The end of a stretch of high losses that is over from one step to the next; null where there is none. */
function passing({ run, loss, onset }: LogEvidence): {
  readonly end: number;
  readonly highest: number;
  readonly usual: readonly [number, number];
} | null {
  if (loss === null || onset < 1 || run.stepUnit !== 'step') return null;
  const usual = calmBefore(loss.value, onset)?.usual;
  if (usual === undefined || !(usual[1] > 0) || !(loss.value.at(onset)! >= JUMP * usual[1])) return null;
  let end = onset;
  let highest = 0;
  while (end < loss.value.length && loss.value.at(end)! > usual[1]) {
    highest = Math.max(highest, loss.value.at(end)!);
    end++;
  }
  const after = loss.value.subarray(end, end + AFTER);
  const isEveryStep = loss.step.at(end)! - loss.step.at(onset - 1)! === end - onset + 1;
  const isSudden = loss.value.at(end - 1)! >= STILL * usual[1];
  const isOver = after.length === AFTER && after.every((value) => value <= usual[1]);
  return end - onset <= MOST && isEveryStep && isSudden && isOver ? { end, highest, usual } : null;
}
