/** How far a watched run has come, how fast, and when it last wrote a record. */
import type { RunReport } from '../../model/report.ts';
import type { StepUnit } from '../../model/run.ts';

/** Of several runs that of the newest record. */
export interface Pace {
  readonly run: string;
  readonly stepUnit: StepUnit;
  readonly step: number;
  /** Milliseconds: the time of the look that saw the last new record; of the first look when its file was written to. */
  readonly at: number;
  /** Steps a second over the looks of the last minute that saw new records, at least the last two; null before. */
  readonly rate: number | null;
}

export interface RunNews {
  /** Milliseconds. */
  readonly at: number;
  readonly grew: boolean;
}

export interface PaceState {
  readonly pace: Pace | null;
  /** Points of all series of each run. */
  readonly points: ReadonlyMap<string, number>;
  /** When each run last had a new record, and whether one came while it was watched. */
  readonly news: ReadonlyMap<string, RunNews>;
  /** Looks that saw new records of the run of `pace`. */
  readonly samples: readonly { readonly at: number; readonly step: number }[];
}

export const NO_PACE: PaceState = { pace: null, points: new Map(), news: new Map(), samples: [] };

const RATE_MS = 60_000;

const pointsOf = ({ series }: RunReport): number => series.reduce((sum, { points }) => sum + points, 0);
const lastStepOf = ({ attemptList }: RunReport): number | undefined =>
  attemptList[attemptList.length - 1]?.lastStep;

/**
 * Takes a new look at the runs into account. Pure.
 *
 * Records count, not bytes: a log of lines may grow by warnings alone.
 *
 * @param writtenAt when the files of a run were last written to, in milliseconds; asked for runs that are seen first
 * @param now milliseconds, of the clock of `writtenAt`
 */
export function updatePace(
  state: PaceState,
  runs: readonly RunReport[],
  writtenAt: (run: RunReport) => number,
  now: number,
): PaceState {
  const points = new Map(runs.map((run) => [run.id, pointsOf(run)]));
  const known = new Map(
    runs.flatMap((run): [string, RunNews][] => {
      const before = state.news.get(run.id);
      const isNew = points.get(run.id)! > 0 && points.get(run.id) !== state.points.get(run.id);
      if (!isNew) return before === undefined ? [] : [[run.id, before]];
      const grew = state.points.has(run.id);
      return [[run.id, { at: grew ? now : Math.min(now, writtenAt(run)), grew }]];
    }),
  );
  const news = runs
    .filter((run) => points.get(run.id)! > 0 && points.get(run.id) !== state.points.get(run.id))
    .map((run) => ({
      run,
      step: lastStepOf(run),
      at: state.points.has(run.id) ? now : Math.min(now, writtenAt(run)),
    }))
    .sort(
      (a, b) => b.at - a.at || Number(b.run.id === state.pace?.run) - Number(a.run.id === state.pace?.run),
    );
  const [newest] = news.filter(({ step }) => step !== undefined);
  if (newest === undefined || (state.pace !== null && newest.at < state.pace.at))
    return { ...state, points, news: known };
  const { run, at } = newest;
  const step = newest.step!;
  const before = state.pace?.run === run.id ? state.samples : [];
  // A restart begins anew.
  const kept = before.some((one) => one.step > step) ? [] : before;
  const samples = [
    ...kept.filter((one, i) => now - one.at <= RATE_MS || i === kept.length - 1),
    { at, step },
  ];
  const [first] = samples;
  const ms = at - first!.at;
  return {
    points,
    news: known,
    samples,
    pace: {
      run: run.id,
      stepUnit: run.stepUnit,
      step,
      at,
      rate: ms > 0 && step > first!.step ? ((step - first!.step) / ms) * 1000 : null,
    },
  };
}
