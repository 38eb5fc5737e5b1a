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

/**
 * The proofs of a run, the most important first: `600 of 600 loss records judged`, `learnt: 0.69 → 0.45`,
 * `not seen: capture`. A proof that cannot tell is left out.
 *
 * @returns null of a report that says nothing of them
 */
export function proofsOf({
  verdict: { provenBy },
  detectorsRun,
  notRun,
  findings,
}: Pick<RunReport, 'verdict' | 'detectorsRun' | 'notRun' | 'findings'>): readonly string[] | null {
  if (detectorsRun === undefined) return null;
  const proven = [provenBy?.judged, provenBy?.learnt, provenBy?.whole].flatMap((proof) =>
    proof === undefined || proof.holds === null ? [] : [inertName(proof.statement)],
  );
  const passed = detectorsRun.filter((kind) => findings.every(({ id }) => id !== kind)).length;
  const missing = EVIDENCE.flatMap(([kind, name]) => (notRun.some(({ id }) => id === kind) ? [name] : []));
  return [
    ...(proven.length === 0 ? [`${counted(passed, 'check')} passed`] : proven),
    ...(missing.length === 0 ? [] : [`not seen: ${missing.join(', ')}`]),
  ];
}
