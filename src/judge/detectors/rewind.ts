/** What to do after an incident: where to go back to, which data to skip, and how much slower to go on. */

import type { Finding } from '../../model/finding.ts';
import { SEVERITIES } from '../../model/finding.ts';
import { isBack, type RewindAdvice } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import type { JudgedRun } from '../incidents/verdict.ts';

/** PaLM restarted "roughly 100 steps before the spike started" … */
const STEPS_BEFORE = 100;
/** … and skipped "roughly 200–500 data batches, which cover the batches that were seen before and during the spike". */
const SKIP_LEAST = 2 * STEPS_BEFORE;
const SKIP_MOST = 5 * STEPS_BEFORE;
/** A shorter run goes back by this share of its steps, which is our number: a hundred steps may be all that it learnt. */
const SHARE_BEFORE = 0.1;
/** Half the learning rate (`slower` below) is our number: the stability limit of every optimizer here is proportional to 1/η. */
const LEARNING_RATE_FACTOR = 0.5;

/** Comes first: a page without room cuts the end. */
const RULE = 'By a rule of thumb,';
const UNTRIED = 'nothing was tried on this run.';

/** A checkpoint that training could go on from. */
export interface RestartPoint {
  readonly step: number;
  readonly path: string;
}

/**
 * How to go back, by the rule of the PaLM paper (arXiv 2204.02311, section 5.1): the latest checkpoint at least 100 steps
 * before the onset (the latest before the onset where there is none so early), skipping 200 to 500 batches from there so that
 * they cover the incident; a tenth of the steps before the onset, and 2 to 5 times as many batches, where that is less. Where
 * an epoch has no more than 100 batches, the end of the last one before the onset is far enough, as it is where epochs are
 * counted. A run that came back keeps its learning rate; any other gets half of it.
 *
 * Null where nothing happened, or where the run was never good. Epochs and rows count singly: one back, and those of the
 * incident skipped.
 */
export function rewindAdvice(
  run: Run,
  { verdict }: Pick<JudgedRun, 'verdict'>,
  checkpoints: readonly RestartPoint[] = [],
): RewindAdvice | null {
  const { onsetStep, lastGoodStep } = verdict;
  if (onsetStep === null || lastGoodStep === null) return null;
  const incident = verdict.incidents.find(
    (one) => one.onsetStep === onsetStep && one.class === verdict.class,
  );
  const firstStep = Math.min(...run.attempts.map((attempt) => attempt.firstStep), lastGoodStep);
  const inSteps = run.stepUnit === 'step';
  const trained = onsetStep - firstStep;
  // So early there is no training to go back to, and little data to leave out.
  const early = inSteps && trained <= STEPS_BEFORE;
  const scale = early ? 1 : Math.min(1, (SHARE_BEFORE * trained) / STEPS_BEFORE);
  const scaled = (steps: number): number => Math.ceil(scale * steps);
  const back = inSteps
    ? Math.max(onsetStep - scaled(STEPS_BEFORE), epochBefore(run, lastGoodStep))
    : lastGoodStep;
  const target = Math.max(firstStep, Math.min(lastGoodStep, back));
  const before = checkpoints.filter(({ step }) => step <= lastGoodStep).sort((a, b) => b.step - a.step);
  const checkpoint = before.find(({ step }) => step <= target) ?? before[0];
  const rewindToStep = checkpoint?.step ?? target;
  const worst = Math.max(incident?.peakStep ?? onsetStep, onsetStep);
  const span = Math.min(Math.max(worst - rewindToStep, scaled(SKIP_LEAST)), scaled(SKIP_MOST));
  // If the checkpoint is further back than the skipped batches reach, the last ones are skipped: those at the onset.
  const skipFrom = Math.max(rewindToStep + 1, onsetStep - scaled(SKIP_MOST / 2));
  const lastStep = Math.max(...run.attempts.map((attempt) => attempt.lastStep), onsetStep);
  const skipSteps: readonly [number, number] = inSteps
    ? [skipFrom, Math.max(Math.min(skipFrom + span - 1, lastStep), onsetStep)]
    : [onsetStep, Math.max(onsetStep, Math.min(worst, onsetStep + 1))];
  const cameBack = isBack(verdict);
  return {
    lastGoodStep,
    rewindToStep,
    rewindToCheckpoint: checkpoint?.path ?? null,
    skipSteps,
    learningRateFactor: cameBack ? null : LEARNING_RATE_FACTOR,
    why: whyBack(),
  };

  function whyBack(): string {
    const good = `The last good ${run.stepUnit} is ${lastGoodStep}`;
    const slower = 'half the learning rate';
    if (checkpoint === undefined && target === firstStep && early)
      return cameBack
        ? `${good}. It lies near the beginning: a longer warm-up makes such a start calmer.`
        : `${RULE} begin again with ${slower}, a longer warm-up, or clipping. ${good}, near the beginning; ${UNTRIED}`;
    const to =
      checkpoint === undefined
        ? target === firstStep
          ? 'the beginning'
          : `the last checkpoint at or before ${run.stepUnit} ${target}`
        : `${checkpoint.path} (${run.stepUnit} ${checkpoint.step})`;
    // Every epoch trains on the same data, and no single batch caused a slow climb: leaving data out helps in neither case.
    const skips = inSteps && verdict.class !== 'drift';
    const orders = [
      `go back to ${to}`,
      ...(skips ? [`skip the data of steps ${skipSteps[0]} to ${skipSteps[1]}`] : []),
      ...(cameBack ? [] : [`go on with ${slower} or with clipping`]),
    ];
    const sentence =
      orders.length < 3 ? orders.join(' and ') : `${orders.slice(0, -1).join(', ')}, and ${orders.at(-1)}`;
    return `${RULE} ${sentence}. ${good}; ${UNTRIED}`;
  }
}

/** The end of the last epoch before a step, where epochs are short; −∞ where the log does not name them. */
function epochBefore({ epochs }: Run, step: number): number {
  if (epochs === undefined || epochs.batches > STEPS_BEFORE) return Number.NEGATIVE_INFINITY;
  return Math.floor((step - epochs.first + 1) / epochs.batches) * epochs.batches;
}

/** What to do next, gravest first: the way back, then what the findings advise, each sentence once. */
export function adviceOf(findings: readonly Finding[], rewind: RewindAdvice | null): readonly string[] {
  const ordered = [...findings]
    .filter(({ severity }) => severity !== 'note')
    .sort((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity));
  const sentences = [rewind?.why, ...ordered.map(({ advice }) => advice)];
  return [...new Set(sentences.filter((sentence): sentence is string => sentence != null))];
}
