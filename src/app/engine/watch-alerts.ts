/** When a watcher speaks: alerts with a delay and with hysteresis, and a memory that survives a restart. */
import * as z from 'zod';
import { incidentClause } from '../../model/incident-words.ts';
import type { RunReport, VerdictClass } from '../../model/report.ts';
import type { StepUnit } from '../../model/run.ts';

/** What may be alerted: the classes of incidents; `inconclusive` is one that is still open. */
export const ALERT_CLASSES = [
  'inconclusive',
  'micro-divergence',
  'drift',
  'never-learned',
  'full-divergence',
  'non-finite',
] as const satisfies readonly VerdictClass[];
export type AlertClass = (typeof ALERT_CLASSES)[number];

/** No new record for too long. */
const STALL = 'stall';

const alertSchema = z.strictObject({
  class: z.enum([...ALERT_CLASSES, STALL]),
  run: z.string(),
  series: z.string(),
  attempt: z.number(),
  /** Steps that it covers; a new look at more points may move them. */
  from: z.number(),
  to: z.number(),
  message: z.string(),
  /** Milliseconds when it was seen first, and when a look first did not see it any more. */
  since: z.number(),
  absentSince: z.number().nullable(),
  raised: z.boolean(),
});
export type Alert = z.infer<typeof alertSchema>;

export const alertStateSchema = z.strictObject({
  schemaVersion: z.literal('1.0'),
  alerts: z.array(alertSchema),
});
export type AlertState = z.infer<typeof alertStateSchema>;

export const NO_ALERTS: AlertState = { schemaVersion: '1.0', alerts: [] };

export interface AlertSettings {
  readonly classes: readonly AlertClass[];
  /** A condition is alerted once it has held for so long. */
  readonly delayMs: number;
  /** An alert is forgotten, and may be raised again, once its condition has been absent for so long. */
  readonly clearMs: number;
}

/** A run of which no new record came for a while. */
export interface Stall {
  readonly run: string;
  readonly stepUnit: StepUnit;
  /** The last step that was recorded; null where there is none yet. */
  readonly step: number | null;
  /** How long ago that was, in words. */
  readonly since: string;
}

/** What stopped, in words. */
export const stallWords = ({ stepUnit, step, since }: Stall): string =>
  step === null
    ? `no record yet after ${since}`
    : `no new record for ${since}; the last is ${stepUnit} ${step}`;

const stallAlert = (stall: Stall, now: number): Alert => ({
  class: STALL,
  run: stall.run,
  series: '',
  attempt: 0,
  from: stall.step ?? -1,
  to: stall.step ?? -1,
  message: `stalled: ${stallWords(stall)}`,
  since: now,
  absentSince: null,
  raised: false,
});

function conditionsOf(run: RunReport, now: number): Alert[] {
  const lastStep = run.attemptList[run.attemptList.length - 1]?.lastStep ?? Number.POSITIVE_INFINITY;
  return run.verdict.incidents.flatMap((incident): Alert[] => {
    const name = ALERT_CLASSES.find((one) => one === incident.class);
    if (name === undefined) return [];
    return [
      {
        class: name,
        run: run.id,
        series: incident.series,
        attempt: incident.attempt,
        from: incident.onsetStep,
        to: incident.recoveredStep ?? Math.max(lastStep, incident.onsetStep),
        message: incidentClause(
          name,
          incident.series,
          `${run.stepUnit} ${incident.onsetStep}`,
          incident.recoveredStep === null ? null : String(incident.recoveredStep),
        ),
        since: now,
        absentSince: null,
        raised: false,
      },
    ];
  });
}

const isSame = (a: Alert, b: Alert): boolean =>
  a.class === b.class &&
  a.run === b.run &&
  a.series === b.series &&
  a.attempt === b.attempt &&
  a.from <= b.to &&
  b.from <= a.to;

/**
 * Takes a new look at the runs into account. Pure.
 *
 * @param now milliseconds; of one clock over restarts
 * @param stalls runs whose records stopped coming; alerted whatever `settings` says of classes and delay
 * @returns the new state, and the alerts to raise now: each once, also over restarts
 */
export function updateAlerts(
  state: AlertState,
  runs: readonly RunReport[],
  settings: AlertSettings,
  now: number,
  stalls: readonly Stall[] = [],
): { readonly state: AlertState; readonly raised: readonly Alert[] } {
  const raised: Alert[] = [];
  const incidents = runs
    .flatMap((run) => conditionsOf(run, now))
    .filter((alert) => settings.classes.some((name) => name === alert.class));
  const current = [...incidents, ...stalls.map((stall) => stallAlert(stall, now))].map((alert): Alert => {
    const before = state.alerts.find((other) => isSame(other, alert));
    const since = before?.since ?? now;
    const known = before?.raised === true;
    const due = !known && (alert.class === STALL || now - since >= settings.delayMs);
    const next = { ...alert, since, raised: known || due };
    if (due) raised.push(next);
    return next;
  });
  // Counted from a look that did not see it: while nobody looks, nothing is absent.
  const absent = state.alerts
    .filter((alert) => alert.raised && !current.some((other) => isSame(other, alert)))
    .map((alert) => ({ ...alert, absentSince: alert.absentSince ?? now }))
    .filter(({ absentSince }) => now - absentSince < settings.clearMs);
  return { state: { schemaVersion: '1.0', alerts: [...current, ...absent] }, raised };
}
