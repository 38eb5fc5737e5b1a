/** What the optimizer holds: tensors in no group or in two, a state younger than the run, a rate that begins again. */

import type { AuditLink } from '../../../model/audit.ts';
import { formatNumber } from '../../../model/format-number.ts';
import type { Capture } from '../../../read/captures/read.ts';
import { broken, named } from '../link.ts';

/** @param ages how many steps the optimizer had taken before the first recorded one, by its state of each parameter */
export function optimizerLinks(capture: Capture, ages: readonly number[]): AuditLink[] {
  return [notHeld(capture), heldTwice(capture), age(capture, ages), restarted(capture)].filter(
    (one) => one !== null,
  );
}

/** Parameters that get a gradient and are in no group. */
function notHeld({ manifest, steps }: Capture): AuditLink | null {
  const { allParameters } = manifest.training;
  if (allParameters === null) return null;
  const names = allParameters.flatMap(({ name, group, trains }) =>
    trains && group === null && steps.some(({ record }) => (record.outside.get(name) ?? 0) > 0) ? [name] : [],
  );
  if (names.length === 0) return null;
  return broken('optimizer', {
    checks: allParameters.length,
    broken: names.length,
    step: steps[0]!.step,
    tensor: names[0]!,
    cause: 'not-in-optimizer',
    confidence: 'likely',
    statement: `${named(names)} get gradients and are in no parameter group: no step moves them`,
    fix: 'give the optimizer model.parameters() after the model is complete, or freeze them (requires_grad_(False)) if that is meant',
  });
}

function heldTwice({ manifest }: Capture): AuditLink | null {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const name of manifest.training.groups.flat()) {
    if (seen.has(name)) twice.add(name);
    seen.add(name);
  }
  const [tensor] = twice;
  if (tensor === undefined) return null;
  return broken('optimizer', {
    checks: seen.size,
    broken: twice.size,
    tensor,
    cause: 'twice-in-optimizer',
    confidence: 'shown',
    statement: `${named([...twice])} are in two parameter groups: each step moves them twice`,
    fix: 'put every parameter into one group of one optimizer',
  });
}

/** A state that took fewer steps than this share of the run's, and more than a few, is younger than the run. */
const YOUNG = 0.8;
const FEW = 10;

function age({ manifest, steps }: Capture, ages: readonly number[]): AuditLink | null {
  if (ages.length === 0 || steps.length < 2) return null;
  const oldest = Math.max(...ages);
  const stride = Math.min(...steps.slice(1).map(({ step }, k) => step - steps[k]!.step));
  const skipped = manifest.skipped.length;
  const run = (steps[0]!.step - skipped) / stride;
  // A recorder that was there from the run's start knows that its steps are all of it.
  if (!(oldest < YOUNG * run - FEW)) return null;
  const first = steps[0]!.step;
  const began = Math.round(first - oldest * stride);
  return broken('optimizer', {
    checks: ages.length,
    broken: ages.length,
    step: began,
    cause: 'state-fresh',
    confidence: 'likely',
    statement: `the optimizer has taken ${oldest} steps where the run is at step ${first}: its state begins at step ${began}`,
    fix: 'load optimizer.state_dict() with the weights when the run resumes; if the state was dropped on purpose, count steps from there',
  });
}

/** A rate that falls or rises by more than this at a resume begins again. */
const JUMP = 2;

function restarted({ manifest }: Capture): AuditLink | null {
  const before = manifest.training.run?.before;
  const first = manifest.training.run?.first;
  if (before == null || first == null) return null;
  const changes = first.learningRates.map((rate, k) => rate / (before.learningRates[k] ?? Number.NaN));
  const worst = changes.find((times) => times > JUMP || times < 1 / JUMP);
  if (worst === undefined || first.step - before.step > 2 * FEW) return null;
  return broken('optimizer', {
    checks: changes.length,
    broken: 1,
    step: first.step,
    cause: 'rate-restarted',
    factor: worst,
    confidence: 'likely',
    statement: `the learning rate is ${formatNumber(first.learningRates[0]!)} at step ${first.step}, after the resume, and was ${formatNumber(before.learningRates[0]!)} at step ${before.step}: the schedule begins again`,
    fix: `load scheduler.state_dict() when the run resumes, or build the schedule with last_epoch=${before.step}`,
  });
}
