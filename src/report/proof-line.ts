/** The third line of a page: what the verdict rests on, and what was not there to be checked. */
import type { FindingId } from '../judge/findings/registry.ts';
import { counted } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RunReport } from '../model/report.ts';

/** What a check needs that a run may not have, as a reader calls it, by one of the kinds of findings that need it. */
const EVIDENCE: readonly (readonly [FindingId, string])[] = [
  ['gradient-norm-spike', 'gradient norm'],
  ['non-finite-tensor', 'checkpoint'],
  ['capture-mismatch', 'capture'],
];

/** Levels between which the loss of a calm run fell, where it is shown that it learnt: of the untrained model, and the last. */
export const learntLevels = ({ provenBy }: RunReport['verdict']): readonly [number, number] | null =>
  (provenBy?.learnt.holds === true && provenBy.learnt.levels) || null;

/**
 * The proofs of a run, the most important first: `600 of 600 loss records judged`, `learnt`, `not seen: capture`. The levels
 * of what was learnt are in the first line of the page. Of the proofs that cannot tell, that of what was learnt is said.
 *
 * @returns null of a report that says nothing of them
 */
export function proofsOf({
  verdict,
  detectorsRun,
  notRun,
  findings,
}: Pick<RunReport, 'verdict' | 'detectorsRun' | 'notRun' | 'findings'>): readonly string[] | null {
  if (detectorsRun === undefined) return null;
  const { judged, learnt, whole } = verdict.provenBy ?? {};
  const proven = [judged, learnt, whole].flatMap((proof) => {
    if (proof === undefined) return [];
    // A tick over a run that is not shown to have learnt says so.
    if (proof.holds === null) return proof === learnt ? ['learning not shown'] : [];
    return [proof === learnt && learntLevels(verdict) !== null ? 'learnt' : inertName(proof.statement)];
  });
  const passed = detectorsRun.filter((kind) => findings.every(({ id }) => id !== kind)).length;
  const missing = EVIDENCE.flatMap(([kind, name]) => (notRun.some(({ id }) => id === kind) ? [name] : []));
  return [
    ...(proven.length === 0 ? [`${counted(passed, 'check')} passed`] : proven),
    ...(missing.length === 0 ? [] : [`not seen: ${missing.join(', ')}`]),
  ];
}
