/** What happened to a run at a step: what its charts mark, on a terminal and in HTML. */
import { failureLeads, failureWords } from '../model/failure-words.ts';
import { formatCount } from '../model/format-number.ts';
import type { RunReport } from '../model/report.ts';
import { isOver } from './where-it-ends.ts';

export interface RunEvent {
  readonly step: number;
  readonly kind: 'onset' | 'back' | 'restart' | 'rewind';
  readonly label: string;
}

/** Restarts, onsets and recoveries of a run, and the step to go back to. */
export const eventsOf = ({ attemptList, verdict, rewind }: RunReport): RunEvent[] => [
  ...attemptList.slice(1).map(
    ({ firstStep, index }): RunEvent => ({
      step: firstStep,
      kind: 'restart',
      label: `attempt ${index + 1}`,
    }),
  ),
  ...verdict.incidents.flatMap((incident): RunEvent[] => [
    { step: incident.onsetStep, kind: 'onset', label: incident.class },
    ...(incident.recoveredStep === null
      ? []
      : [{ step: incident.recoveredStep, kind: 'back', label: 'back' } as const]),
  ]),
  ...(rewind === null ? [] : [{ step: rewind.rewindToStep, kind: 'rewind', label: 'rewind here' } as const]),
];

/** Whether the step to go back to is where the run itself began. */
const beginsAgain = ({ rewind, attemptList }: RunReport, kind: RunEvent['kind'], step: number): boolean =>
  kind === 'rewind' && rewind?.rewindToCheckpoint === null && step === attemptList[0]?.firstStep;

/** Where the harm began: the step of a failure that has the first line of the page, else that of the verdict. */
function beganAt(run: RunReport): number | null {
  const { cause, verdict } = run;
  const words = failureWords(cause?.failure);
  const isFirst =
    words !== null &&
    words.isWell !== true &&
    (failureLeads(cause?.failure, isOver(run)) || verdict.class === 'healthy');
  return isFirst ? cause!.step : verdict.onsetStep;
}

/** Of these where it began, where it came back, restarts, and where to go back to, each with its step, in the order of steps. */
export const leadingEvents = (run: RunReport): RunEvent[] => {
  const began = beganAt(run);
  const own: RunEvent[] =
    began === null || began === run.verdict.onsetStep ? [] : [{ step: began, kind: 'onset', label: '' }];
  return (
    [...eventsOf(run), ...own]
      .filter(
        ({ kind, step }) =>
          // A run that came back is given no orders.
          (kind === 'rewind' && !isOver(run)) ||
          kind === 'restart' ||
          step === began ||
          (own.length === 0 && step === run.verdict.recoveredStep),
      )
      .map(({ step, kind, label }) => ({
        step,
        kind,
        label: beginsAgain(run, kind, step)
          ? 'begin again'
          : `${{ onset: run.stepUnit, back: 'back', restart: `${label} at`, rewind: 'go back to' }[kind]} ${formatCount(step)}`,
      }))
      .sort((a, b) => a.step - b.step)
      // Incidents of two kinds that begin at one step have one mark.
      .filter(({ label }, i, all) => all.findIndex((one) => one.label === label) === i)
  );
};

const SYMBOLS = {
  onset: { unicode: '▲', ascii: '^' },
  back: { unicode: '✓', ascii: 'v' },
  restart: { unicode: '»', ascii: '>' },
  rewind: { unicode: '↺', ascii: 'R' },
} as const;

/** Its mark under a chart of a terminal, one column wide. */
export const symbolOf = (kind: keyof typeof SYMBOLS, ascii: boolean): string =>
  SYMBOLS[kind][ascii ? 'ascii' : 'unicode'];
