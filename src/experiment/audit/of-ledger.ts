/** Audits a ledger: what hashes and checksums of the whole run say of its batches, its weights between steps and its resumes. */

import type { Audit, AuditLink } from '../../model/audit.ts';
import { changeWords, textOf } from '../../model/option-change.ts';
import type { Ledger, LedgerRole, LedgerStep, TensorSummary } from '../../read/ledger/read.ts';
import { sketchLength } from '../../step/tensor/sketch.ts';
import { asAudit } from './audit.ts';
import { broken, cannotTell, holds, named } from './link.ts';
import { IN_A_ROW, repeatedBatch, repeatedOrder } from './links/batch.ts';

/** Steps with tensors in which others moved before a tensor that did not is named. */
const STILL = 4;
/** Lengths of sketches have a standard deviation of 9 %; what lies within rounding of a scaled one is scaled. */
const SCALED_WITHIN = 1e-5;

/** A step whose tensors are kept. */
interface Taken {
  readonly step: number;
  readonly at: LedgerStep;
  readonly roles: ReadonlyMap<LedgerRole, readonly TensorSummary[]>;
}

/** @throws what reading its files throws */
export async function auditLedger(ledger: Ledger): Promise<Audit> {
  const steps = [...ledger.steps.values()].sort((a, b) => a.step - b.step);
  const taken: Taken[] = [];
  for (const step of ledger.taken) {
    const [at, roles] = [ledger.steps.get(step), await ledger.tensors(step)];
    if (at !== undefined && roles !== undefined) taken.push({ step, at, roles });
  }
  const between = [written(taken, 'weights'), written(taken, 'state'), optionLink(steps)];
  const found = between.filter((one) => one !== null);
  return asAudit([
    ...batchLinks(steps),
    ...[freshState(taken), still(taken)].filter((one) => one !== null),
    cannotTell(
      'optimizer',
      'a ledger has sums of gradients and weights, and no entries to follow through the optimizer',
      'a capture: capture() of the recorder writes one at the next step',
    ),
    ...(found.length > 0 ? found : [betweenLink(taken)]),
  ]);
}

// ---- batches

function batchLinks(steps: readonly LedgerStep[]): AuditLink[] {
  const hashed = steps.filter(({ batch }) => batch !== null);
  if (hashed.length === 0) return [cannotTell('batch', 'no batches were recorded', 'record(…, batch=batch)')];
  const hashes = hashed.map(({ batch }) => batch);
  const stepAt = (k: number): number => hashed[k]!.step;
  const found = [repeatedBatch(hashes, stepAt), again(hashed) ?? repeatedOrder(hashes, stepAt)].filter(
    (one) => one !== null,
  );
  return found.length > 0
    ? found
    : [holds('batch', hashed.length, `no batch of ${hashed.length} steps is that of the step before`)];
}

/** The first batches of a later process, if the run had them before in the same order. */
function again(steps: readonly LedgerStep[]): AuditLink | null {
  const seen = new Map<string, number>();
  for (const [k, { batch, session }] of steps.entries()) {
    const before = steps[k - 1];
    if (before !== undefined && before.session !== session) {
      const from = seen.get(batch!);
      const repeats =
        from !== undefined &&
        Array.from({ length: IN_A_ROW }, (_, n) => n).every(
          (n) => steps[k + n]?.batch !== undefined && steps[k + n]!.batch === steps[from + n]!.batch,
        );
      if (repeats)
        return broken('batch', {
          checks: steps.length,
          broken: IN_A_ROW,
          step: steps[k]!.step,
          cause: 'order-repeated',
          confidence: 'likely',
          statement: `after the resume at step ${steps[k]!.step} the batches are those of step ${steps[from]!.step} on, in the same order`,
          fix: 'restore the position of the data loader when the run resumes',
        });
    }
    if (!seen.has(batch!)) seen.set(batch!, k);
  }
  return null;
}

// ---- between steps

/** Tensors whose checksums before the step that follows are others than those after the step. */
function changed({ roles, at }: Taken, what: 'weights' | 'state'): readonly number[] {
  const [after, next] = [roles.get(`${what}After`), roles.get(`${what}Next`)];
  if (after === undefined || next === undefined) return [];
  return at.session.tensors.flatMap((_, k) => (after[k]!.checksum === next[k]!.checksum ? [] : [k]));
}

function written(taken: readonly Taken[], what: 'weights' | 'state'): AuditLink | null {
  const own = taken.filter((one) => changed(one, what).length > 0);
  const [first] = own;
  if (first === undefined) return null;
  const places = changed(first, what);
  const names = places.map((k) => first.at.session.tensors[k]!.name);
  const factor = what === 'weights' ? scaleOf(first, places) : null;
  const text = factor === null ? 'changed' : `were multiplied by ${factor}`;
  return broken('between', {
    id: what === 'weights' ? 'between' : 'between:state',
    checks: taken.length,
    broken: own.length,
    step: first.step,
    tensor: names[0]!,
    cause: what === 'state' ? 'state-stale' : factor === null ? 'weights-replaced' : 'all-scaled',
    factor,
    confidence: 'shown',
    statement: `${what === 'state' ? 'the state of ' : ''}${named(names)} ${text} between the end of step ${first.step} and the next step: something wrote to them`,
    fix: 'find what writes between optimizer.step() and the next forward pass: load_state_dict(), a callback, a constraint, an average of weights',
  });
}

/** The one factor by which all these tensors were multiplied; null where there is none. */
function scaleOf({ roles, at }: Taken, places: readonly number[]): number | null {
  if (places.length < at.session.tensors.length) return null;
  const factors = places.map((k) => {
    const [after, next] = [roles.get('weightsAfter')![k]!.sketch, roles.get('weightsNext')![k]!.sketch];
    const factor = sketchLength(next) / sketchLength(after);
    const rest = next.map((sum, i) => sum - factor * after[i]!);
    return sketchLength(rest) <= SCALED_WITHIN * sketchLength(next) ? factor : Number.NaN;
  });
  const [first] = factors;
  const isOne = factors.every((factor) => Math.abs(factor - first!) <= SCALED_WITHIN * first!);
  return isOne ? Number(first!.toPrecision(5)) : null;
}

/** An option that changes once and that no schedule moves. */
function optionLink(steps: readonly LedgerStep[]): AuditLink | null {
  const changes = steps.flatMap(({ step, options }) =>
    [...options.keys()]
      .filter((key) => !/\.(?:lr|learning_?rate|betas|momentum|initial_lr)$|^frozen$/i.test(key))
      .map((key) => ({ step, key, value: options.get(key) })),
  );
  const [first] = changes;
  if (first === undefined || changes.some(({ key, step }) => key === first.key && step !== first.step))
    return null;
  const was = steps[0]!.session.settings.get(`options.${first.key}`) ?? 'not there';
  const [, group, name] = /^(\d+)\.(.+)$/.exec(first.key) ?? [];
  return broken('between', {
    id: 'between:options',
    checks: steps.length,
    broken: changes.length,
    step: first.step,
    cause: 'options-changed',
    confidence: 'likely',
    statement:
      name === undefined
        ? `option ${first.key} is ${textOf(first.value)} from step ${first.step} on, and was ${textOf(was)}`
        : changeWords({ group: Number(group), name, was, is: first.value }, first.step),
    fix: `look for what writes ${name ?? first.key} into the optimizer; declare it if it is meant`,
  });
}

function betweenLink(taken: readonly Taken[]): AuditLink {
  const ends = taken.filter(({ roles }) => roles.has('weightsAfter'));
  return ends.length === 0
    ? cannotTell(
        'between',
        'this loop does not say when it has stepped: no end of a step was recorded',
        'a recorder that sees the end of a step: PyTorch’s, or a callback of Keras',
      )
    : holds(
        'between',
        ends.length,
        `weights and state at the start of a step are those of the end of the step before, after each of ${ends.length} steps with tensors`,
      );
}

// ---- the optimizer

const isThere = ({ sketch, checksum }: TensorSummary): boolean =>
  checksum !== 0n || sketch.some((sum) => sum !== 0);

/** A process that goes on without the state that the process before it had. */
function freshState(taken: readonly Taken[]): AuditLink | null {
  for (const [k, { step, at, roles }] of taken.entries()) {
    const before = taken[k - 1];
    const had = before?.roles.get('stateAfter') ?? before?.roles.get('state');
    const has = roles.get('state');
    if (before === undefined || before.at.session === at.session || !had || !has) continue;
    if (!had.some(isThere) || has.some(isThere)) continue;
    return broken('optimizer', {
      checks: taken.length,
      broken: 1,
      step,
      cause: 'state-fresh',
      confidence: 'shown',
      statement: `the optimizer has no state at step ${step}, where a new process went on; it had one at step ${before.step}`,
      fix: 'load the optimizer’s state_dict with the weights when the run resumes',
    });
  }
  return null;
}

/** Tensors that get a gradient and never move while others do. */
function still(taken: readonly Taken[]): AuditLink | null {
  const session = taken.at(-1)?.at.session;
  if (session === undefined) return null;
  const own = taken.filter(({ at }) => at.session === session && !at.skipped);
  const moves = ({ roles }: Taken, k: number): boolean | null => {
    const [before, after] = [roles.get('weights'), roles.get('weightsAfter') ?? roles.get('weightsNext')];
    if (before === undefined || after === undefined) return null;
    return before[k]!.checksum !== after[k]!.checksum;
  };
  const names = session.tensors.flatMap(({ name }, k) => {
    const told = own.filter(
      (one) =>
        sketchLength(one.roles.get('gradient')?.[k]?.sketch ?? []) > 0 &&
        session.tensors.some((_, other) => moves(one, other) === true),
    );
    return told.length >= STILL && told.every((one) => moves(one, k) === false) ? [name] : [];
  });
  if (names.length === 0) return null;
  return broken('optimizer', {
    checks: own.length,
    broken: names.length,
    step: own[0]!.step,
    tensor: names[0]!,
    cause: 'not-in-optimizer',
    confidence: 'likely',
    statement: `${named(names)} get gradients and do not move, while others do`,
    fix: 'give the optimizer model.parameters() after the model is complete, or freeze them (requires_grad_(False)) if that is meant',
  });
}
