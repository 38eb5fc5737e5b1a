/** How far a watched run has come, how fast, and when it last wrote a record. */
import type { RunReport } from '../../model/report.ts';
import type { StepUnit } from '../../model/run.ts';

/** Of several runs that of the newest record. */
export interface Pace {
  readonly run: string;
  readonly stepUnit: StepUnit;
  readonly step: number;
  /** Milliseconds: when the last new record was written, as far as the looks around it and the file tell. */
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

export interface LookTimes {
  /** When the files of a run were last written to, in milliseconds; the clock may be that of a file server. */
  writtenAt(run: RunReport): number;
  /** Milliseconds: when the look before this one began. A record that it did not see is no older. */
  readonly before: number;
  /** Milliseconds: the end of this look. */
  readonly now: number;
}

/**
 * Takes a new look at the runs into account. Pure.
 *
 * Records count, not bytes: a log of lines may grow by warnings alone.
 */
export function updatePace(
  state: PaceState,
  runs: readonly RunReport[],
  { writtenAt, before: lastLook, now }: LookTimes,
): PaceState {
  // Of a run that was seen before the record is younger than the last look, whatever the clock of a file server says.
  const atOf = (run: RunReport): number => {
    const written = Math.min(now, writtenAt(run));
    return state.points.has(run.id) ? Math.max(lastLook, written) : written;
  };
  const points = new Map(runs.map((run) => [run.id, pointsOf(run)]));
  const known = new Map(
    runs.flatMap((run): [string, RunNews][] => {
      const before = state.news.get(run.id);
      const isNew = points.get(run.id)! > 0 && points.get(run.id) !== state.points.get(run.id);
      if (!isNew) return before === undefined ? [] : [[run.id, before]];
      const grew = state.points.has(run.id);
      return [[run.id, { at: atOf(run), grew }]];
    }),
  );
  const news = runs
    .filter((run) => points.get(run.id)! > 0 && points.get(run.id) !== state.points.get(run.id))
    .map((run) => ({
      run,
      step: lastStepOf(run),
      at: atOf(run),
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
