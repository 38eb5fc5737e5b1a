/** The sentences of a verdict: about an incident, about a loss without one, about a log without a loss. */

import { counted, formatNumber } from '../../model/format-number.ts';
import { NOT_BACK } from '../../model/incident-words.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Incident } from '../../model/report.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import { growsFromZero, type JudgedSeries, risesInFew } from './attempts.ts';
import type { SeriesIncident } from './judge.ts';
import type { VerdictSettings } from './settings.ts';
import { columnStop } from './signs.ts';

/** One sentence about an incident. */
export function explain(name: string, found: SeriesIncident, incident: Incident, unit: string): string {
  const ratio = `${formatNumber(incident.peak)} at ${unit} ${incident.peakStep}`;
  const from = Number.isNaN(found.before) ? '' : ` from a median of ${formatNumber(found.before)}`;
  const start = `"${name}" leaves its usual range at ${unit} ${incident.onsetStep}${from}`;
  if (found.backIn !== undefined)
    return `${start}, peaks at ${ratio} and is at ${formatNumber(found.after)} where it ends; "${found.backIn.series}" goes on and is back at ${unit} ${found.backIn.step}.`;
  if (found.form === 'climb')
    return `"${name}" climbs from ${unit} ${incident.onsetStep} on, from its best level of ${formatNumber(found.before)}, and ends at ${formatNumber(found.after)}.`;
  if (incident.class === 'non-finite' && Number.isFinite(incident.peak))
    return `${start} and is exactly ${incident.peak} from ${unit} ${incident.peakStep} to the end: a dead run.`;
  if (incident.class === 'non-finite')
    return `${start} and is not finite from ${unit} ${incident.peakStep} to the end.`;
  if (incident.recoveredStep !== null)
    return `${start}, peaks at ${ratio} and is back ${incident.class === 'full-divergence' ? 'too late, ' : ''}at ${unit} ${incident.recoveredStep}.`;
  if (incident.class === 'inconclusive')
    return `${start}, peaks at ${ratio} and is at ${formatNumber(found.after)} where the log ends, before it could come back.`;
  return `${start}, peaks at ${ratio} and ${NOT_BACK}: its last level is ${formatNumber(found.after)}.`;
}

/** One sentence about a loss without an incident: why it is healthy, or why nothing can be said. */
export function withoutIncident(judged: JudgedSeries, run: Run, settings: VerdictSettings): string {
  const { series, attempts, shortEnd } = judged;
  const name = `"${series.name}"`;
  const points = attempts.reduce((sum, attempt) => sum + attempt.points, 0);
  const instead = insteadOf(judged);
  if (instead !== null) return `${name} ${instead} over ${points} points.`;
  if (shortEnd !== null && attempts.some((one) => one.class === 'healthy'))
    return shortEndOf(judged, shortEnd, run.stepUnit, settings);
  if (columnStop(run, series, settings) !== null)
    return `${name} stops while other columns go on, so its end is unknown.`;
  if (growsFromZero(series.value) > 0)
    return `${name} begins at zero and grows, as a loss does that measures the distance from where training began. A reward would tell how the run goes, and none is logged.`;
  if (isZero(series) && points >= settings.minimumPoints)
    return `${name} is 0 at every point, which says nothing about how the run goes.`;
  if (attempts.some((_, k) => risesInFew(attemptOf(series, k).value, settings)))
    return `${name} ends far above where it begins, and ${points} points are too few to tell whether it comes down again.`;
  return `${name} has ${counted(points, 'point')}, too few to judge.`;
}

/** What is said of a series without an incident where the judge of its values is not all. */
const insteadOf = ({ class: found, instead }: JudgedSeries): string | null =>
  found === 'healthy' || instead !== undefined ? (instead ?? 'stays in its band') : null;

/** Whether a loss is exactly zero at every point: printed with too few digits, or empty. */
export const isZero = ({ value }: TimeSeries): boolean => value.every((one) => one === 0);

function shortEndOf(
  { series, attempts }: JudgedSeries,
  attempt: number,
  unit: string,
  { minimumPoints }: VerdictSettings,
): string {
  const { points } = attempts[attempt]!;
  const { value } = attemptOf(series, attempt);
  const end = medianOf(value.subarray(-Math.min(5, value.length)).filter(Number.isFinite));
  const level =
    points < minimumPoints
      ? ''
      : `; it is at ${formatNumber(end)}, where the one before was far lower after as many points`;
  const first = series.step.at(series.attemptOffsets[attempt]!);
  return `The last attempt of "${series.name}" begins at ${unit} ${first} and has ${counted(points, 'point')}, too few to judge${level}. What came before it is healthy.`;
}

/** The epoch of a step, where the log says. */
export function epochRemark({ epochs, stepUnit }: Run, step: number | undefined): string {
  if (epochs === undefined || step === undefined) return '';
  const epoch = Math.floor((step - epochs.first) / epochs.batches);
  return ` That ${stepUnit} is batch ${step - epoch * epochs.batches} of epoch ${epoch}.`;
}

/** Names that are offered where none is that of a loss. */
const MOST_OFFERED = 5;

export function noLoss({ series }: Run): string {
  if (series.length === 0) return 'This log has no series; nothing can be said about divergence.';
  const names = series.slice(0, MOST_OFFERED).map(({ name }) => name);
  const more = series.length > names.length ? ` and ${series.length - names.length} more` : '';
  const likely = series.filter(({ name, role }) => role === 'other' && isTotal(name)).map(({ name }) => name);
  const offer =
    likely.length === 1
      ? `If "${likely[0]}" is one, --map loss=${likely[0]} judges it.`
      : 'If one is, --map loss=NAME judges it.';
  return `No series of this log is read as a loss: ${names.join(', ')}${more}. ${offer}`;
}

/** Whether a name says a total and not of what: a loss mostly, and as well the seconds or the memory of a step. */
const isTotal = (name: string): boolean =>
  /^[\w./-]+$/.test(name) && /^(?:(?:train|training) )?(?:total|overall)$/.test(wordsOf(name).join(' '));
