/** The state of watched runs as numbers: one list of measurements, which Prometheus and OpenTelemetry get in their forms. */
import { decidingSeries } from '../../model/deciding-series.ts';
import { type Report, type RunReport, VERDICT_CLASSES } from '../../model/report.ts';
import type { Stall } from '../engine/watch-alerts.ts';
import type { PaceState } from '../engine/watch-pace.ts';

export interface Measurement {
  readonly labels: Readonly<Record<string, string>>;
  /** May be NaN or infinite: a loss is. */
  readonly value: number;
}

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly kind: 'gauge' | 'counter';
  /** In the words of UCUM; empty for a number without one. */
  /** As UCUM has it. Never `1`: collectors append `_ratio` to the name of such a gauge, and no alert rule would find it. */
  readonly unit: string;
  readonly measurements: readonly Measurement[];
}

export interface Watched {
  readonly report: Report | undefined;
  readonly paces: PaceState;
  readonly stalls: readonly Stall[];
  /** Alerts that were raised by this process, by class. */
  readonly raised: ReadonlyMap<string, number>;
  /** Milliseconds since 1970: when the look ended. */
  readonly now: number;
}

const lossOf = (run: RunReport): number | undefined =>
  (run.series.find(({ role, points }) => role === 'loss' && points > 0) ?? decidingSeries(run))?.statistics
    .last;

/** Every family is there, also without measurements: a rule on one that is absent never fires. */
export function metricsOf({ report, paces, stalls, raised, now }: Watched): readonly MetricFamily[] {
  const runs = report?.runs ?? [];
  const silent = new Set(stalls.map(({ run }) => run));
  const ofRuns = (value: (run: RunReport) => number | null | undefined): Measurement[] =>
    runs.flatMap((run) => {
      const measured = value(run);
      return measured === null || measured === undefined
        ? []
        : [{ labels: { run: run.id }, value: measured }];
    });
  const gauge = (
    name: string,
    help: string,
    unit: string,
    measurements: readonly Measurement[],
  ): MetricFamily => ({
    name: `clippy_diag_${name}`,
    help,
    kind: 'gauge',
    unit,
    measurements,
  });
  return [
    gauge(
      'runs',
      'Watched runs by the class of their verdict.',
      '{run}',
      VERDICT_CLASSES.map((name) => ({
        labels: { class: name },
        value: runs.filter(({ verdict }) => verdict.class === name).length,
      })),
    ),
    gauge(
      'run_verdict',
      'Gravity of the verdict: 0 healthy, 1 inconclusive, 2 micro-divergence, 3 drift, 4 never-learned, 5 full-divergence, 6 non-finite.',
      '{class}',
      runs.map(({ id, verdict }) => ({
        labels: { run: id, class: verdict.class },
        value: VERDICT_CLASSES.indexOf(verdict.class),
      })),
    ),
    gauge(
      'run_onset_step',
      'Step at which the incident of the verdict began.',
      '{step}',
      ofRuns(({ verdict }) => verdict.onsetStep),
    ),
    gauge('run_loss', 'The last loss that was logged.', '{loss}', ofRuns(lossOf)),
    gauge(
      'run_last_step',
      'The last step that was logged.',
      '{step}',
      ofRuns(({ attemptList }) => attemptList.at(-1)?.lastStep),
    ),
    gauge(
      'run_last_record_timestamp_seconds',
      'When the last record was seen, in seconds since 1970.',
      's',
      ofRuns(({ id }) => {
        const news = paces.news.get(id);
        return news === undefined ? undefined : news.at / 1000;
      }),
    ),
    gauge(
      'run_stalled',
      'Whether records stopped coming for longer than --stall.',
      '{run}',
      ofRuns(({ id }) => Number(silent.has(id))),
    ),
    gauge(
      'run_crashed',
      'Whether the process ended in an error or from outside.',
      '{run}',
      ofRuns(({ job }) => Number(job?.ended === 'crashed' || job?.ended === 'killed')),
    ),
    gauge('last_look_timestamp_seconds', 'When the logs were last looked at, in seconds since 1970.', 's', [
      { labels: {}, value: now / 1000 },
    ]),
    {
      name: 'clippy_diag_alerts_total',
      help: 'Alerts that were raised since the watcher started.',
      kind: 'counter',
      unit: '{alert}',
      measurements: [...raised].map(([name, value]) => ({ labels: { class: name }, value })),
    },
  ];
}
