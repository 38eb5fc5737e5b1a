import { formatNumber } from '../../model/format-number.ts';
import { slowerStretches } from '../detectors/throughput-drop.ts';
import type { KnownFailure } from './failure.ts';

/** Share of the usual rate below which the last tenth of an attempt is slow, and points that the attempt needs. */
const [SLOW, POINTS] = [0.5, 40];

export const trainingSlowed: KnownFailure = {
  id: 'training-slowed',
  title: 'The training became slower and stays so',
  symptoms: [
    'slow',
    'slower',
    'throughput',
    'tokens per second',
    'samples per second',
    'steps per second',
    'it/s',
    'data loader',
    'dataloader',
    'gpu utilization',
    'throttling',
  ],
  docs: {
    summary: 'From one step on the training takes more than twice as long for a step, to the end of the log.',
    evidence: `A logged throughput, or the steps over the logged times: over the last tenth of an attempt of ${POINTS} points or more its median is below ${SLOW} of that in the first half. The throughput of an evaluation does not count.`,
    notThis:
      'A single pause (`training-stood-still`), and evaluations or checkpoints between the steps. Steps of a larger batch or of longer sequences take longer, too: then samples or tokens per second did not fall.',
    whatToDo:
      'Time one step on a batch that is in memory already. If it is as fast as before, the loader or its disk is slow; if not, the device or the code is (`nvidia-smi` shows clocks, temperature and other processes). The model is not harmed.',
  },
  look({ run, judged, onsetStep, attempt }) {
    if (judged === null || onsetStep !== null) return null;
    const slow = slowerStretches(run, judged, SLOW, POINTS).find((one) => one.attempt === attempt);
    if (slow === undefined) return null;
    const { series, from, usual, last, isLogged } = slow;
    const step = series.step.at(from)!;
    const what = isLogged ? `"${series.name}"` : `the number of ${run.stepUnit}s per second`;
    const statement = `${what} falls from ${formatNumber(usual)} to ${formatNumber(last)} at ${run.stepUnit} ${step} and stays there`;
    return {
      trigger: 'none-found',
      confidence: null,
      step,
      factor: last / usual,
      statement: `${statement}; the loss is as usual, and the log does not show what takes the time`,
      evidence: [
        {
          id: 'throughput',
          statement,
          value: last,
          unit: isLogged ? series.name : `${run.stepUnit}s per second`,
          usual: null,
          at: { step, batchStep: null },
        },
      ],
      remedy: {
        action: 'none-needed',
        statement:
          'time one step on a batch that is in memory: as fast as before means that the loader or its disk is slow; slow means the device (`nvidia-smi`: clocks, other processes) or code that was added; the model is not harmed',
      },
    };
  },
};
