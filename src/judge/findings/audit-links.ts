/** One kind of finding for each link of the audit that may be broken; the audit itself is src/experiment/audit. */
import {
  AUDIT_LINKS,
  type Audit,
  type AuditLink,
  type AuditLinkName,
  brokenLinks,
} from '../../model/audit.ts';
import type { Finding, FindingType, Outcome } from '../../model/finding.ts';

/** The rule of a gate that forbids all of them. */
export const AUDIT_RULE = 'audit';

type AuditFindingId = `audit-${AuditLinkName}`;

const idOf = (link: AuditLinkName): AuditFindingId => `audit-${link}`;

const advice =
  'Change the line that the finding names, record some twenty steps again, and audit them: `clippy-diag audit CAPTURE` prints all links with their evidence.';

const kindOf = (
  texts: Pick<FindingType, 'title'> & { readonly id: AuditFindingId; summary: string; details: string },
): FindingType => ({
  id: texts.id,
  title: texts.title,
  severity: 'error',
  thresholds: [],
  docs: { summary: texts.summary, details: texts.details, advice, references: [] },
});

export const AUDIT_FINDINGS: Readonly<Record<AuditFindingId, FindingType>> = {
  'audit-batch': kindOf({
    id: 'audit-batch',
    title: 'The recorded batches are not those of a training',
    summary:
      'The same batch comes again and again, a column never changes, or the order of batches begins anew.',
    details:
      'Compares the hashes and the values of all recorded batches. A batch that is meant to repeat (a test that one batch can be learnt) is reported too: turn the rule off there.',
  }),
  'audit-mode': kindOf({
    id: 'audit-mode',
    title: 'The model is trained in evaluation mode',
    summary:
      'Modules that behave differently in evaluation, such as dropout or BatchNorm, were in that mode while gradients were taken.',
    details:
      'Reads the modes that the recorder stored with each step. A part that is kept in evaluation mode, such as a frozen BatchNorm, is not reported; the whole model is.',
  }),
  'audit-loss': kindOf({
    id: 'audit-loss',
    title: 'The recorded loss is not the loss of the recorded batch',
    summary:
      'The loss that is computed again from the recorded weights and batch differs from the recorded one.',
    details:
      'Needs a model: the loss is computed again in the framework of the training. Without a model this link is not decided.',
  }),
  'audit-gradient': kindOf({
    id: 'audit-gradient',
    title: 'A recorded gradient is not that of its step',
    summary:
      'Gradients hold those of the step before, a tensor has none, or single entries are far larger than all others.',
    details:
      'Compares each recorded gradient with the one before, looks for tensors whose gradient is always zero or absent, and for entries that no other step or neighbour explains.',
  }),
  'audit-accumulation': kindOf({
    id: 'audit-accumulation',
    title: 'Accumulated gradients are divided by a wrong number',
    summary:
      'The step uses a multiple of the recorded gradient: micro-batches were summed where they are averaged, or divided twice.',
    details:
      'Solves the factor between the recorded gradient and the one that the recorded movement of the weights needs, over all recorded steps.',
  }),
  'audit-unscale': kindOf({
    id: 'audit-unscale',
    title: 'Gradients are clipped before the loss scale is removed',
    summary: 'The clip saw gradients that still carried the loss scale of mixed precision.',
    details:
      'Follows the weights with a clip of scaled and of unscaled gradients; the recorded weights agree with one of them.',
  }),
  'audit-clip': kindOf({
    id: 'audit-clip',
    title: 'Clipping does not do what is declared',
    summary:
      'The clip does not act on the gradients of the step, or it measures another norm than the declared one.',
    details:
      'Follows the weights with the declared clip, without one, and with a multiple of the norm; the factor is solved from the recorded weights.',
  }),
  'audit-optimizer': kindOf({
    id: 'audit-optimizer',
    title: 'The optimizer does not take the declared step',
    summary:
      'The recorded weights are not those that the declared optimizer, its options and its state give.',
    details:
      'Computes every entry of the next weights in float64 and compares it with the recorded one, within the rounding of the type. Where they differ one change at a time is tried: rate, decay, state, rounding, groups.',
  }),
  'audit-weights': kindOf({
    id: 'audit-weights',
    title: 'Weights changed in a way that no step explains',
    summary: 'Single entries or all weights were written by something other than the optimizer.',
    details:
      'Entries that deviate alone are reported with index and factor (a power of two is a flipped bit), a common factor with its size.',
  }),
  'audit-between': kindOf({
    id: 'audit-between',
    title: 'Something changed between two steps',
    summary: 'Weights, optimizer state or an option of a group changed after one step and before the next.',
    details:
      'Compares checksums and options after a step with those before the next one. A learning rate may change; another option of a group counts, since no schedule of rates changes it.',
  }),
  'audit-ranks': kindOf({
    id: 'audit-ranks',
    title: 'Ranks of a distributed training differ',
    summary: 'Ranks that should hold equal weights do not, or several ranks train on the same data.',
    details:
      'Compares checksums of weights and hashes of batches by rank. A recording of one rank decides nothing.',
  }),
};

/** A capture and its audit. */
export interface AuditedCapture {
  readonly path: string;
  readonly audit: Audit;
}

/** What each link of some captures amounts to: broken in one of them, or held, or why it was not decided. */
export function auditOutcomes(audited: readonly AuditedCapture[]): ReadonlyMap<AuditFindingId, Outcome> {
  return new Map(AUDIT_LINKS.map((link) => [idOf(link), outcomeOf(link, audited)]));
}

function outcomeOf(name: AuditLinkName, audited: readonly AuditedCapture[]): Outcome {
  const findings = audited.flatMap(({ path, audit }) =>
    brokenLinks(audit)
      .filter(({ link }) => link === name)
      .map((link) => findingOf(link, path)),
  );
  if (findings.length > 0) return { kind: 'fail', findings };
  const links = audited.flatMap(({ audit }) => audit.links.filter(({ link }) => link === name));
  // What follows from another fault is neither a finding of its own nor a proof.
  const open = links.find(({ outcome }) => outcome === 'cannot-tell' || outcome === 'broken');
  const held = links.some(({ outcome }) => outcome === 'holds');
  if (held && open === undefined) return { kind: 'pass' };
  return { kind: 'not-applicable', reason: (open ?? links[0])?.statement ?? 'the audit did not look at it' };
}

const findingOf = (link: AuditLink, path: string): Finding => ({
  id: idOf(link.link),
  severity: 'error',
  message: `${link.cause}${link.confidence === 'likely' ? ' (likely)' : ''}: ${link.statement}`,
  steps: link.step === null ? null : [link.step, link.step],
  series: null,
  measured: link.factor === null ? null : { name: 'factor', value: link.factor, unit: '1' },
  threshold: null,
  locations: [{ path, ...(link.tensor === null ? {} : { tensor: link.tensor }) }],
  advice: link.fix ?? advice,
});
