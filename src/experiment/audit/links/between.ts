/** What changed between the end of one step and the start of the next: options by the record, weights and state by checksums. */

import type { AuditLink } from '../../../model/audit.ts';
import { changeWords, type OptionChange } from '../../../model/option-change.ts';
import type { Capture } from '../../../read/captures/read.ts';
import type { Checksums } from '../../../read/captures/training.ts';
import { optionChanges } from '../../replay/written-options.ts';
import { broken, cannotTell, holds, named } from '../link.ts';

/** Something that was written between two steps. */
export interface Written {
  /** Position of the step before which it is seen. */
  readonly at: number;
  readonly what: 'weights' | 'state';
  readonly tensors: readonly string[];
}

/** Pairs of moments that could be compared, and those that differ. */
export function writtenBetween({ steps }: Capture): {
  readonly checks: number;
  readonly written: readonly Written[];
} {
  let checks = 0;
  const written: Written[] = [];
  for (let at = 1; at < steps.length; at++)
    for (const what of ['weights', 'state'] as const) {
      const [end, start] = [steps[at - 1]!.record.after?.[what], steps[at]!.record.before?.[what]];
      if (end == null || start == null) continue;
      checks++;
      if (differ(end, start)) written.push({ at, what, tensors: changed(end, start) });
    }
  return { checks, written };
}

/** Whether something was written: of sums over other tensors, as where a layer was unfrozen, only those in both count. */
function differ(end: Checksums, start: Checksums): boolean {
  const isSame =
    end.tensors.size === start.tensors.size &&
    [...end.tensors.keys()].every((name) => start.tensors.has(name));
  return isSame ? end.sum !== start.sum : changed(end, start).length > 0;
}

const changed = (end: Checksums, start: Checksums): string[] =>
  [...start.tensors].flatMap(([name, sum]) =>
    end.tensors.has(name) && end.tensors.get(name) !== sum ? [name] : [],
  );

/** An option that changes at more of the steps than this follows a schedule: of momentum, of weight decay. */
const OF_A_SCHEDULE = 0.25;

/** Options of a group that change at so many steps that a schedule does it. */
function scheduled(changes: readonly OptionChange[], steps: number): ReadonlySet<string> {
  const counts = new Map<string, number>();
  for (const change of changes) counts.set(keyOf(change), (counts.get(keyOf(change)) ?? 0) + 1);
  const most = Math.max(1, OF_A_SCHEDULE * (steps - 1));
  return new Set([...counts].flatMap(([key, count]) => (count > most ? [key] : [])));
}

const keyOf = ({ group, name }: OptionChange): string => `${group}:${name}`;

/** An option's name as `weight_decay` and `weightDecay` have in common. */
const plain = (name: string): string => name.replaceAll('_', '').toLowerCase();

/** Options that a loop sets, of optimizers without a formula: these keep counts and estimates of their own in their groups too. */
const OF_THE_LOOP = new Set(
  'weightdecay momentum dampening nesterov betas beta1 beta2 beta3 eps epsilon alpha rho amsgrad maximize centered'.split(
    ' ',
  ),
);

/** The first change of an option that no schedule explains. */
export function unexplainedChange(capture: Capture): AuditLink[] {
  const { steps, manifest } = capture;
  const changes = optionChanges(steps);
  const follows = scheduled(changes, steps.length);
  const expected = new Set(manifest.training.expectedChanges.map(plain));
  const own = changes.filter(
    (change) =>
      !follows.has(keyOf(change)) &&
      !expected.has(plain(change.name)) &&
      (manifest.optimizers[change.group]?.formula !== false || OF_THE_LOOP.has(plain(change.name))),
  );
  const [first] = own;
  if (first === undefined) return [];
  const { at, group } = first;
  const together = own.filter((one) => one.at === at && one.group === group).length;
  return [optionEntry(first, steps[at]!.step, together, steps.length)];
}

function optionEntry(change: OptionChange, step: number, count: number, checks: number): AuditLink {
  const { group, name, was, is } = change;
  const factor = typeof was === 'number' && typeof is === 'number' && was !== 0 ? is / was : null;
  return broken('between', {
    checks,
    broken: count,
    step,
    cause: 'options-changed',
    factor,
    confidence: 'likely',
    statement: changeWords(change, step),
    fix: `look for what writes ${name} into optimizer.param_groups[${group}]: a callback, a loaded state_dict, a typing error; if it is meant, declare it: expected_changes=["${name}"] of the recorder or of clippy_diag.audit`,
  });
}

/** The link as a whole, where nothing was written. */
export function betweenLink(capture: Capture): AuditLink {
  const { checks } = writtenBetween(capture);
  const optioned = capture.steps.filter(({ record }) => record.options !== null).length;
  if (checks === 0)
    return cannotTell(
      'between',
      'checksums of weights and state were not recorded at the end of a step and the start of the next',
      'a recorder of clippy-diag 0.3 that sees the end of a step: PyTorch’s, or a callback of Keras',
    );
  return holds(
    'between',
    checks,
    `weights and state at the start of a step are those of the end of the step before, ${checks} of ${checks} times${optioned > 0 ? '; no option changed' : ''}`,
  );
}

/** State that something wrote to between two steps, and nothing else explains. */
export function stateWritten(capture: Capture): AuditLink | null {
  const { written } = writtenBetween(capture);
  const first = written.find(({ what }) => what === 'state');
  if (first === undefined) return null;
  const { step } = capture.steps[first.at]!;
  return broken('optimizer', {
    checks: written.length,
    broken: written.filter(({ what }) => what === 'state').length,
    step,
    tensor: first.tensors[0] ?? null,
    cause: 'state-stale',
    confidence: 'shown',
    statement: `the optimizer's state${first.tensors.length > 0 ? ` of ${named(first.tensors)}` : ''} was written between the step before and step ${step}`,
    fix: 'look for load_state_dict() or a callback that writes to optimizer.state while the run goes on',
  });
}
