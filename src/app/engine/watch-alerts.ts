/** When a watcher speaks: alerts with a delay and with hysteresis, and a memory that survives a restart. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { incidentClause } from '../../model/incident-words.ts';
import { jobEndClause } from '../../model/job-words.ts';
import type { RunReport, VerdictClass } from '../../model/report.ts';
import type { StepUnit } from '../../model/run.ts';
import { isPartName } from './watch-rotations.ts';

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

/** What is alerted without being asked for: an open incident is reported once it is decided. */
export const DEFAULT_ALERTS = ALERT_CLASSES.filter((name) => name !== 'inconclusive');

/** No new record for too long, and a process that ended in an error or from outside: alerted whatever the classes are. */
const STALL = 'stall';
const CRASH = 'crash';
const KINDS = [...ALERT_CLASSES, STALL, CRASH] as const;

const alertSchema = z.strictObject({
  class: z.enum(KINDS),
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
  /** As which class it was raised. */
  raisedAs: z.enum(KINDS).nullable().default(null),
  /** Whether it is over: the loss is back, records come again. */
  over: z.boolean().default(false),
  /** The same over all looks and restarts: receivers join the message of the end to that of the beginning by it. */
  key: z.string().default(''),
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

/** An alert as it is seen first. */
const newAlert = (
  about: Pick<Alert, 'class' | 'run' | 'from' | 'message'> & Partial<Alert>,
  now: number,
): Alert => ({
  series: '',
  attempt: 0,
  to: about.from,
  since: now,
  absentSince: null,
  raised: false,
  raisedAs: null,
  over: false,
  key: '',
  ...about,
});

const stallAlert = (stall: Stall, now: number): Alert =>
  newAlert(
    { class: STALL, run: stall.run, from: stall.step ?? -1, message: `stalled: ${stallWords(stall)}` },
    now,
  );

function crashOf({ id, job, attemptList, stepUnit }: RunReport, now: number): Alert[] {
  if (job?.ended !== 'crashed' && job?.ended !== 'killed') return [];
  const from = job.at?.step ?? attemptList.at(-1)?.lastStep ?? -1;
  const where = from >= 0 ? ` after ${stepUnit} ${from}` : '';
  const what = jobEndClause(job);
  return [newAlert({ class: CRASH, run: id, from, message: `the process ${what}${where}` }, now)];
}

function conditionsOf(run: RunReport, now: number): Alert[] {
  const lastStep = run.attemptList[run.attemptList.length - 1]?.lastStep ?? Number.POSITIVE_INFINITY;
  return run.verdict.incidents.flatMap((incident): Alert[] => {
    const name = ALERT_CLASSES.find((one) => one === incident.class);
    if (name === undefined) return [];
    return [
      newAlert(
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
          over: incident.recoveredStep !== null,
        },
        now,
      ),
    ];
  });
}

/** Whether two names are of one run: after a restart the part of a log that was rotated away is seen under a name of its own. */
const isOneRun = (known: string, seen: string): boolean => known === seen || isPartName(seen, known);

/** Stalls and crashes are kinds of their own; classes of incidents are not, because the class of one may change. */
const kindOf = ({ class: name }: Alert): string => (name === STALL || name === CRASH ? name : 'incident');

const isSame = (known: Alert, seen: Alert): boolean =>
  kindOf(known) === kindOf(seen) &&
  isOneRun(known.run, seen.run) &&
  known.series === seen.series &&
  known.attempt === seen.attempt &&
  known.from <= seen.to &&
  seen.from <= known.to;

/** For each alert that is seen the one of the state that it continues, each at most once: the one that begins nearest. */
function continued(known: readonly Alert[], seen: readonly Alert[]): ReadonlyMap<Alert, Alert> {
  const pairs = seen
    .flatMap((one) => known.filter((other) => isSame(other, one)).map((other) => [one, other] as const))
    .sort(([a, b], [c, d]) => Math.abs(a.from - b.from) - Math.abs(c.from - d.from));
  const result = new Map<Alert, Alert>();
  const taken = new Set<Alert>();
  for (const [one, other] of pairs) {
    if (result.has(one) || taken.has(other)) continue;
    result.set(one, other);
    taken.add(other);
  }
  return result;
}

/** Classes of an incident that may still end well. An alert of one is raised again once the incident is of another class. */
const MILD: readonly Alert['class'][] = ['inconclusive', 'micro-divergence'];

const GOES_ON = { [STALL]: 'records come again', [CRASH]: 'the run goes on after its crash' } as const;

const keyOf = ({ run, series, attempt, from, since }: Alert, kind: string): string =>
  createHash('sha256')
    .update(JSON.stringify([kind, run, series, attempt, from, since]))
    .digest('hex')
    .slice(0, 16);

/**
 * Takes a new look at the runs into account. Pure.
 *
 * @param now milliseconds; of one clock over restarts
 * @param stalls runs whose records stopped coming; alerted whatever `settings` says of classes and delay
 * @param growing ids of runs that wrote records while they were watched and have not stopped: what they show is over
 * @returns the new state; the alerts to raise now, each once, also over restarts; and those that were raised and are over now
 */
export function updateAlerts(
  state: AlertState,
  runs: readonly RunReport[],
  settings: AlertSettings,
  now: number,
  stalls: readonly Stall[] = [],
  growing: ReadonlySet<string> = new Set(),
): { readonly state: AlertState; readonly raised: readonly Alert[]; readonly ended: readonly Alert[] } {
  const raised: Alert[] = [];
  const ended: Alert[] = [];
  const incidents = runs.flatMap((run) => conditionsOf(run, now));
  const seen = [
    ...incidents,
    ...runs.flatMap((run) => crashOf(run, now)),
    ...stalls.map((stall) => stallAlert(stall, now)),
  ];
  const before = continued(state.alerts, seen);
  const wanted = (alert: Alert): boolean =>
    kindOf(alert) !== 'incident' ||
    before.get(alert)?.raised === true ||
    settings.classes.some((name) => name === alert.class);
  const current = seen.filter(wanted).map((alert): Alert => {
    const known = before.get(alert);
    const since = known?.since ?? now;
    const wasAs = known === undefined || !known.raised ? null : (known.raisedAs ?? known.class);
    const isWorse = wasAs !== null && MILD.includes(wasAs) && !MILD.includes(alert.class);
    const held = kindOf(alert) !== 'incident' || now - since >= settings.delayMs;
    const isAsked = kindOf(alert) !== 'incident' || settings.classes.some((name) => name === alert.class);
    const due = (wasAs === null || isWorse) && held && isAsked;
    const next = {
      ...alert,
      run: known?.run ?? alert.run,
      since,
      raised: wasAs !== null || due,
      raisedAs: due ? alert.class : wasAs,
      key: known?.key || keyOf({ ...alert, since }, kindOf(alert)),
    };
    if (due) raised.push(next);
    else if (wasAs !== null && next.over && !known!.over) ended.push(next);
    return next;
  });
  const seenAgain = new Set(before.values());
  const lastSteps = new Map(runs.map(({ id, attemptList }) => [id, attemptList.at(-1)?.lastStep]));
  /** Also of a run that wrote while nobody watched. */
  const isPast = ({ class: name, run, from }: Alert): boolean => name === STALL && lastSteps.get(run)! > from;
  const absent = state.alerts
    .filter((alert) => alert.raised && !seenAgain.has(alert))
    .map((alert) => {
      const goesOn = growing.has(alert.run) || isPast(alert);
      // After a restart of the watcher a run that stalled may be at rest still.
      if (alert.class === STALL && !alert.over && !goesOn) return alert;
      // Counted from a look that did not see it: while nobody looks, nothing is absent.
      const next = { ...alert, absentSince: alert.absentSince ?? now };
      if (kindOf(alert) === 'incident' || alert.over || !goesOn) return next;
      ended.push({ ...next, over: true, message: GOES_ON[alert.class as typeof STALL] });
      return { ...next, over: true };
    })
    .filter(({ absentSince }) => absentSince === null || now - absentSince < settings.clearMs);
  return { state: { schemaVersion: '1.0', alerts: [...current, ...absent] }, raised, ended };
}
