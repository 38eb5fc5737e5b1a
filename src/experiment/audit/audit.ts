/** Audits a capture: does every recorded step do what the code that made it declares? Link by link, in the order of the chain. */

import { AUDIT_LINKS, type Audit, type AuditLink } from '../../model/audit.ts';
import { gapsOf } from '../../read/captures/gaps.ts';
import type { Capture } from '../../read/captures/read.ts';
import { declaredCourse } from './chain.ts';
import { chainLinks, setupOf } from './chain-links.ts';
import { broken, cannotTell, named, notApplicable } from './link.ts';
import { batchLinks } from './links/batch.ts';
import { betweenLink, stateWritten, unexplainedChange, writtenBetween } from './links/between.ts';
import { gradientLinks } from './links/gradient.ts';
import { modeLink } from './links/mode.ts';
import { optimizerLinks } from './links/optimizer.ts';
import { ranksLink } from './links/ranks.ts';
import { remeasuredLinks } from './links/remeasured.ts';
import { surveyOf } from './survey.ts';

/**
 * Audits the recorded steps of a capture of any version, up to the first that is missing between two of them: what an unrecorded
 * step did cannot be distinguished from a fault.
 *
 * @throws what reading the capture throws
 */
export async function auditCapture(recorded: Capture): Promise<Audit> {
  const [gap] = gapsOf({ steps: recorded.steps, skipped: recorded.manifest.skipped });
  const capture = gap === undefined ? recorded : { ...recorded, steps: recorded.steps.slice(0, gap.at) };
  const survey = await surveyOf(capture);
  const batch = await batchLinks(capture);
  const repeats = batch.some(({ cause }) => cause === 'repeated-batch');
  const setup = setupOf(capture);
  const again = remeasuredLinks(capture);
  const links: AuditLink[] = [...batch, modeLink(capture), ...notSeen(capture)];
  if (typeof setup === 'string') {
    const course = declaredCourse(capture, null, survey);
    links.push(...gradientLinks(capture, survey, course, repeats));
    for (const link of ['clip', 'optimizer', 'weights'] as const)
      links.push(cannotTell(link, setup, wouldCompute(capture)));
  } else {
    const declared = declaredCourse(capture, setup.clip, survey);
    links.push(...gradientLinks(capture, survey, declared, repeats));
    links.push(...(await chainLinks(capture, setup, survey)));
  }
  links.push(...optimizerLinks(capture, await capture.ages()));
  links.push(...betweenLinks(capture, links));
  return asAudit(withRemeasured(links, again));
}

/** What was computed again with the user's model replaces what the record alone says of the same link; a fault is said once. */
function withRemeasured(links: readonly AuditLink[], again: readonly AuditLink[]): AuditLink[] {
  const told = new Set(again.map(({ link }) => link));
  const ids = new Set(again.map(({ id }) => id));
  // Rows that are sorted make gradients like those before them; gradients of their own batch alone hold nothing of the step before.
  const areFresh = again.some(({ link, outcome }) => link === 'gradient' && outcome === 'holds');
  const isRefuted = ({ cause, confidence }: AuditLink): boolean =>
    areFresh && cause === 'no-zero-grad' && confidence === 'likely';
  return [
    ...links.filter((one) =>
      one.outcome === 'broken' ? !ids.has(one.id) && !isRefuted(one) : !told.has(one.link),
    ),
    ...again,
  ];
}

/** What checks a chain that is not computed here: the optimizer's own class, which the user names and Python runs. */
function wouldCompute({ manifest, path }: Capture): string {
  const unknown = manifest.optimizers.find(({ formula }) => !formula);
  return unknown === undefined
    ? 'record an optimizer and a clipping rule that the audit can compute'
    : `in Python: clippy_diag.audit(${JSON.stringify(path)}, optimizer=${unknown.name}), which runs the class that you name on the recorded steps`;
}

/** Links of which a capture alone says nothing. */
function notSeen({ manifest, steps }: Capture): AuditLink[] {
  const scaled = steps.some(({ lossScale }) => lossScale !== undefined);
  return [
    cannotTell(
      'loss',
      'the loss was not computed again',
      'in Python: clippy_diag.audit(capture, model=…, loss_fn=…), which computes loss and gradient again',
    ),
    cannotTell(
      'accumulation',
      'the gradients of micro-batches were not recorded one by one',
      'in Python: clippy_diag.audit(capture, model=…, loss_fn=…), which computes the gradient of the whole batch',
    ),
    ...(scaled ? [] : [notApplicable('unscale', 'no loss scale was recorded')]),
    ranksLink(manifest.training, steps),
  ];
}

/** What was written between two steps, where the chain did not say it already. */
function betweenLinks(capture: Capture, links: readonly AuditLink[]): AuditLink[] {
  const found = unexplainedChange(capture);
  const state = stateWritten(capture);
  if (state !== null && !links.some(({ cause }) => cause?.startsWith('state-'))) found.push(state);
  const { written } = writtenBetween(capture);
  const first = written.find(({ what }) => what === 'weights');
  if (first !== undefined && !links.some(({ link, cause }) => link === 'between' && cause !== null)) {
    const { step } = capture.steps[first.at]!;
    found.push(
      broken('between', {
        checks: capture.steps.length,
        broken: written.filter(({ what }) => what === 'weights').length,
        step,
        tensor: first.tensors[0] ?? null,
        cause: 'weights-replaced',
        confidence: 'shown',
        statement: `${first.tensors.length > 0 ? named(first.tensors) : 'weights'} changed between the end of the step before and step ${step}: something wrote to them`,
        fix: 'find what writes to the weights between optimizer.step() and the next forward pass: load_state_dict(), a callback, a constraint, an average of weights',
      }),
    );
  }
  return found.length > 0
    ? found
    : links.some(({ link }) => link === 'between')
      ? []
      : [betweenLink(capture)];
}

/** The links in the order of the chain; what an earlier fault explains follows it. */
export function asAudit(links: readonly AuditLink[]): Audit {
  // What nothing known explains comes after what may have caused it.
  const isUnknown = ({ cause }: AuditLink): number => (cause === 'unknown' ? 1 : 0);
  const ordered = AUDIT_LINKS.flatMap((name) =>
    links.filter(({ link }) => link === name).sort((a, b) => isUnknown(a) - isUnknown(b)),
  );
  const all = ordered.filter(({ outcome }) => outcome === 'broken');
  // What nothing known explains is explained by a fault that is known, wherever in the chain.
  const first = all.find(({ cause }) => cause !== 'unknown') ?? all[0];
  const explained = ordered.map((link) =>
    first !== undefined && link.outcome === 'broken' && follows(link, first, ordered)
      ? { ...link, follows: first.id }
      : link,
  );
  return {
    links: [
      ...explained.filter(({ outcome }) => outcome === 'broken'),
      ...explained.filter(({ outcome }) => outcome !== 'broken'),
    ],
    checks: explained.reduce((sum, { checks }) => sum + checks, 0),
    broken: explained.reduce((sum, { broken: failed }) => sum + failed, 0),
  };
}

/** Whether a fault is a consequence: a chain that nothing known explains, or weights, after a fault of the same steps. */
function follows(link: AuditLink, first: AuditLink, all: readonly AuditLink[]): boolean {
  if (link === first) return false;
  if (link.cause === 'unknown') return true;
  // Weights that were written between steps break the comparison of the weights too; a change that explains all that was recorded
  // of them explains what was written.
  return (
    link.link === 'between' &&
    link.cause === 'weights-replaced' &&
    all.some((one) => one.outcome === 'broken' && (one.link === 'weights' || one.residual !== null))
  );
}
