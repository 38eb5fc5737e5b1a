/** What a report of clippy-diag says, in the words of the protocol. What it does not say is `null`: it cannot tell. */

const CLASSES = {
  healthy: 'healthy',
  drift: 'drift',
  'full-divergence': 'diverged',
  'non-finite': 'non-finite',
  'never-learned': 'never-learned',
};
const ACTIONS = { 'none-needed': [], clip: ['clip'] };

function classOf({ class: name, recoveredStep }) {
  return name === 'micro-divergence'
    ? recoveredStep === null
      ? 'drift'
      : 'recovered'
    : (CLASSES[name] ?? null);
}

/** A finding that says that a step does not do what the settings say, or an error of another kind. */
const isFault = ({ id, severity }) =>
  severity === 'error' || id.startsWith('audit-') || id === 'capture-mismatch';

/** The first broken link of the chain, or undefined. */
const brokenLink = (run) => run.audit?.links.find(({ outcome, follows }) => outcome === 'broken' && !follows);

/**
 * The answer of the protocol that a report of clippy-diag gives.
 *
 * A run of the bench is one run; where a folder reads as several, the worst is meant.
 */
export function answerOf(report) {
  const order = [
    'healthy',
    'inconclusive',
    'micro-divergence',
    'drift',
    'never-learned',
    'full-divergence',
    'non-finite',
  ];
  const run = [...report.runs].sort(
    (a, b) => order.indexOf(b.verdict.class) - order.indexOf(a.verdict.class),
  )[0];
  if (run === undefined) return { protocol: 1, alarm: null };
  const link = brokenLink(run);
  const lossIsIll = !['healthy', 'inconclusive'].includes(run.verdict.class);
  const cause = [undefined, 'none-found'].includes(run.cause?.trigger) ? undefined : run.cause;
  // A log may show what was done wrong where the loss does not: a gradient norm that becomes k times as large, a rate that is 0.
  const isSilent = !lossIsIll && (link !== undefined || cause !== undefined || run.findings.some(isFault));
  const undecided = run.verdict.class === 'inconclusive' ? null : false;
  return {
    protocol: 1,
    alarm: lossIsIll || isSilent ? true : undecided,
    class: isSilent ? 'silent' : classOf(run.verdict),
    onset: run.verdict.onsetStep,
    link: link?.link ?? (run.audit && lossIsIll && run.audit.checks > 0 ? 'none' : null),
    trigger: cause?.trigger ?? null,
    tensor: link?.tensor ?? null,
    factor: link?.factor ?? cause?.factor ?? null,
    remedies: (run.remedies ?? []).flatMap(({ action }) => ACTIONS[action] ?? [action]),
  };
}
