import { incidentTitle } from '../../model/incident-words.ts';
import { verdictThresholds } from '../incidents/settings.ts';
import { type Detector, findingAt, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'Check the learning rate (0, or so large that the first steps destroyed the weights), that gradients reach every layer, that the optimizer has the parameters that are trained, and that labels belong to their rows. Then start again: there is nothing here to go on from.';

export const neverLearnedDetector = {
  id: 'never-learned',
  title: incidentTitle('never-learned'),
  severity: 'error',
  thresholds: verdictThresholds('learntPoints'),
  docs: {
    summary: 'The run ends at the level of an untrained model, and something in the log proves it.',
    details: `The last tenth of the loss is not three standard errors below the level of an untrained net, no metric has moved, **and** one of these holds in the last attempt:
the loss came back from a rise of twice its level or more that lasted, and no lower than it began, without having been flat for long before; the learning rate, the update norm or the gradient norm is exactly 0 at every point, or the
loss is one number, at four significant digits or more; an AUC is at 0.5 from first to last; the loss is at ln K over its last third, where every accuracy is at 1/K or the configuration says that there are K classes; the attempt
began anew and stays flat far above what the one before had come down to in as many points. The untrained level is that of the first points, or ln K: a loss that falls from worse to the level of a guess has learnt nothing. A flat loss alone is a note (\`nothing-learnt\`): a net that goes on from good weights has one, too.
From \`learntPoints\` points on, or a fifth of them where loss and accuracy both are those of a guess. Never of contrastive losses, of players of a GAN, or where rewards are logged.`,
    advice,
    references: [],
  },
  detect(run, { judged }) {
    const { loss, neverLearned: found } = judged;
    if (loss === null) return notApplicable('the log has no loss');
    if (found === null) return outcomeOf([]);
    const { series } = loss;
    const { untrained, end } = found.learnt;
    return outcomeOf([
      findingAt(run, series, series.attemptOffsets.at(-1)! + found.from, series.step.length - 1, {
        id: 'never-learned',
        severity: 'error',
        message: `"${series.name}" learnt nothing: ${found.why}.`,
        measured: quantity('last level', end, 'loss'),
        threshold: quantity('untrained level', untrained, 'loss'),
        advice,
      }),
    ]);
  },
} as const satisfies Detector;
