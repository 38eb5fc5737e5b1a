/** Settings that the record states to have changed, and faults that the audit shows: each is named as what it is. */
import { describe, expect, it } from 'vitest';
import { decayAt } from '../../src/experiment/audit/declared.ts';
import { writtenBetween } from '../../src/experiment/audit/links/between.ts';
import { changesBy } from '../../src/experiment/cause/changes.ts';
import { decideCause } from '../../src/experiment/cause/decide.ts';
import { withAudit } from '../../src/experiment/cause/from-audit.ts';
import { NO_CAUSE, suggestionFor } from '../../src/experiment/cause/from-log.ts';
import type { Observed } from '../../src/experiment/cause/observe.ts';
import { recordedSettings } from '../../src/experiment/cause/recorded-settings.ts';
import type { References } from '../../src/experiment/replay/reference.ts';
import type { Audit, AuditLink } from '../../src/model/audit.ts';
import type { Cause, Remedy } from '../../src/model/cause.ts';
import type { Capture } from '../../src/read/captures/read.ts';

const COUNT = 60;
const CHANGED = 30;

type Options = Readonly<Record<string, unknown>>;

/** Steps 100 to 159 whose groups have options that may change at step 130. */
function stepsOf(
  before: Options,
  after: Options | null,
  rates: (i: number) => readonly number[] = () => [0.1],
) {
  const steps = Array.from({ length: COUNT }, (_, i) => ({
    step: 100 + i,
    learningRates: rates(i),
    record: {
      options:
        i === 0 ? new Map([[0, before]]) : i === CHANGED && after !== null ? new Map([[0, after]]) : null,
    },
  }));
  return steps as unknown as Capture['steps'];
}

const whole = [{ name: 'w', group: 0, from: 0 }] as const;
const settings = (before: Options, after: Options | null) =>
  recordedSettings({ steps: stepsOf(before, after) }, whole);

/** The cause of a capture without a model whose loss jumps at step 131. */
function causeOf(found: Observed['settings']) {
  const flat = (value: number): number[] => new Array(COUNT).fill(value);
  const observed: Observed = {
    steps: flat(0).map((_, i) => 100 + i),
    batchIds: [],
    loss: flat(0).map((_, i) => (i <= CHANGED ? 1 + 0.01 * (i % 3) : 50)),
    learningRate: flat(0.1),
    gradientNorm: flat(1),
    updateNorm: flat(0.1),
    tensors: [],
    surprise: [],
    effectiveRate: flat(0.1),
    decays: [],
    mismatches: [
      {
        id: 'capture-mismatch',
        message: 'm',
        steps: [120, 140],
      } as unknown as Observed['mismatches'][number],
    ],
    agreedAt: 120,
    empty: null,
    ...(found === undefined ? {} : { settings: found }),
  };
  const onset = CHANGED + 1;
  return decideCause({
    onset,
    observed,
    references: null,
    hasModel: false,
    changes: changesBy(onset, observed, null, []),
    arms: [],
    cameBack: false,
    ruleHolds: false,
    shorter: null,
    unrecorded: null,
  });
}

describe('an option that was written while the run went on', () => {
  it('is weight decay where that is what changed, with the factor that takes it back', () => {
    const found = settings({ weightDecay: 5e-4, momentum: 0.9 }, { weightDecay: 100, momentum: 0.9 });
    expect(found).toMatchObject([{ trigger: 'weight-decay', from: CHANGED, decayFactor: 5e-6 }]);
    const cause = causeOf(found);
    expect(cause).toMatchObject({ trigger: 'weight-decay', confidence: 'likely' });
    expect(cause.statement).toBe('weight decay of parameter group 0 is 100 from step 130 on, and was 5e-4');
  });
  it('is the code for any other option, and no optimizer state is called lost', () => {
    const cause = causeOf(settings({ momentum: 0.9 }, { momentum: 0.9999 }));
    expect(cause).toMatchObject({ trigger: 'code', confidence: 'likely', alsoTriggers: [] });
    expect(suggestionFor(cause, 'step').action).toBe('fix-code');
  });
  it('is nothing where no value changed, or only the schedule did', () => {
    expect(settings({ momentum: 0.9 }, { momentum: 0.9 })).toEqual([]);
    expect(settings({ learningRate: 1 }, { learningRate: 2 })).toEqual([]);
    expect(settings({ momentum: 0.9 }, null)).toEqual([]);
    expect(causeOf([]).trigger).toBe('optimizer-state');
  });
  it('is not blamed where it was written long before the incident', () => {
    const [early] = settings({ momentum: 0.9 }, { momentum: 0.5 });
    expect(causeOf([{ ...early!, from: 2 }]).trigger).toBe('optimizer-state');
    // Where an arm can be judged it is a candidate that nothing but the arm makes a cause.
    const observed = {
      settings: [{ ...early!, from: 2 }],
      steps: [],
      learningRate: [],
      gradientNorm: [],
      loss: [],
    };
    const found = (level: number | null) =>
      changesBy(
        CHANGED,
        {
          ...observed,
          batchIds: [],
          updateNorm: [],
          decays: [],
          mismatches: [],
          empty: null,
        } as unknown as Observed,
        { level, unlike: new Set(), later: [], loss: [], before: [] } as unknown as References,
        [],
      ).filter(({ trigger }) => trigger === 'code');
    expect(found(1)).toMatchObject([{ from: 2, gradual: true }]);
    expect(found(null)).toEqual([]);
  });
});

describe('a layer that is trained from a step on', () => {
  const rates = (i: number): readonly number[] => [0.02, i < 5 ? 6 : 6];
  const tensors = (from: number) => [
    { name: 'head', group: 0, from: 0 },
    { name: 'encoder', group: 1, from },
    { name: 'never', group: 1, from: null },
  ];
  it('counts as the rate of its group', () => {
    const found = recordedSettings({ steps: stepsOf({}, null, rates) }, tensors(CHANGED));
    expect(found).toMatchObject([{ trigger: 'learning-rate', from: CHANGED, size: 300 }]);
    // Set back, it has the rate of the others, and no other group another one.
    expect(found[0]!.setBack!.rates([0.02, 6])).toEqual([0.02, 0.02]);
    expect(found[0]!.setBack!.rates([0.01, 0.01])).toEqual([0.01, 0.01]);
    const { statement, trigger } = causeOf(found);
    expect(trigger).toBe('learning-rate');
    expect(statement).toMatch(/^"encoder" is trained from step 130 on, .* is 6, against 0.02 of those/);
  });
  it('is none where it was trained all along', () => {
    expect(recordedSettings({ steps: stepsOf({}, null, rates) }, tensors(0))).toEqual([]);
  });
  it('a rate that jumps in another group than the first is named, and one that follows the first is not', () => {
    const only = recordedSettings({ steps: stepsOf({}, null, (i) => [0.1, i < CHANGED ? 0.1 : 5]) }, [
      ...whole,
      { name: 'v', group: 1, from: 0 },
    ]);
    expect(only).toMatchObject([{ trigger: 'learning-rate', from: CHANGED, size: 50 }]);
    // Set back, it follows the first group as before.
    expect(only[0]!.setBack!.rates([0.05, 5])).toEqual([0.05, 0.05]);
    const both = (i: number): number => (i < CHANGED ? 0.1 : 5);
    expect(recordedSettings({ steps: stepsOf({}, null, (i) => [both(i), both(i)]) }, whole)).toEqual([]);
  });
});

describe('the audit beside a guess', () => {
  const link = (given: Partial<AuditLink>): Audit =>
    ({
      links: [
        {
          id: 'x',
          outcome: 'broken',
          follows: null,
          confidence: 'shown',
          fix: 'f',
          statement: 's',
          ...given,
        },
      ],
    }) as unknown as Audit;
  const guess = (given: Partial<Cause>): Cause => ({ ...causeOf([]), ...given });
  const asked = (cause: Cause, audit: Audit, isWell = false) =>
    withAudit({ cause, remedies: [suggestionFor(cause, 'step')] }, audit, isWell);
  const batch = guess({ trigger: 'data', statement: 'the batch', evidence: [] });

  it('weights written right before a jump are the code, and not the batch', () => {
    const { cause, remedies } = asked(batch, link({ cause: 'weights-replaced', step: 130 }));
    expect([cause.trigger, cause.confidence, remedies[0]!.action]).toEqual(['code', 'shown', 'fix-code']);
  });
  it('weights written right before a loss that is no number are the code, and not the precision', () => {
    const lost = guess({ trigger: 'precision', mechanism: 'overflow', confidence: 'likely', evidence: [] });
    const told = (step: number) => asked(lost, link({ cause: 'weights-replaced', step })).cause;
    expect(told(130)).toMatchObject({ trigger: 'code', mechanism: 'unknown', confidence: 'shown' });
    expect(told(100).trigger).toBe('precision');
  });
  it('weights that were likely replaced while the state went on are told before a state that is a guess', () => {
    const lost = guess({ trigger: 'optimizer-state', confidence: 'likely' });
    const likely = { confidence: 'likely', step: 120 } as const;
    const told = (given: Partial<AuditLink>, cause = lost) =>
      asked(cause, link({ ...likely, ...given })).cause;
    expect(told({ cause: 'weights-replaced' })).toMatchObject({ trigger: 'code', confidence: 'likely' });
    expect(told({ cause: 'decay-factor' }).trigger).toBe('optimizer-state');
    expect(told({ cause: 'weights-replaced' }, { ...lost, confidence: 'shown' }).trigger).toBe(
      'optimizer-state',
    );
  });
  it('what was tried, holds and takes the fault back is read first, and float32 without the fault is no remedy', () => {
    const state = guess({ trigger: 'none-found', confidence: null });
    const tried = (action: Remedy['action']): Remedy => ({
      ...suggestionFor(state, 'step'),
      ...{ action, tried: 'closed-loop', holds: true },
    });
    const remedies = [tried('raise-precision'), tried('restore-optimizer-state'), tried('clip')];
    const told = (cause: AuditLink['cause']) =>
      withAudit({ cause: state, remedies }, link({ cause, step: 130 }), false).remedies.map(
        ({ action, tried: how }) => [action, how],
      );
    expect(told('state-stale')).toEqual([
      ['restore-optimizer-state', 'closed-loop'],
      ['restore-optimizer-state', null],
      ['clip', 'closed-loop'],
    ]);
    expect(told('weights-replaced')).toEqual([
      ['fix-code', null],
      ['restore-optimizer-state', 'closed-loop'],
      ['clip', 'closed-loop'],
    ]);
  });
  it('a fault from long before leaves the batch, and so does one that experiments compared', () => {
    expect(asked(batch, link({ cause: 'no-zero-grad', step: 100 })).cause.trigger).toBe('data');
    const compared = guess({ ...batch, evidence: [{ id: 'batches-unlike' } as Cause['evidence'][number]] });
    expect(asked(compared, link({ cause: 'weights-replaced', step: 130 })).cause.trigger).toBe('data');
  });
  it('of steps that were too long a fault on the way up is told first, and one before or after it is not', () => {
    const sharp = guess({
      trigger: 'sharpness',
      confidence: 'shown',
      statement: 'the steps',
      onsetStep: 130,
    });
    const at = (step: number) =>
      withAudit({ cause: sharp, remedies: [] }, link({ cause: 'eval-mode', step }), false, 140).cause;
    const tried = { ...suggestionFor(sharp, 'step'), tried: 'closed-loop' } as const;
    const told = withAudit(
      { cause: sharp, remedies: [tried] },
      link({ cause: 'eval-mode', step: 135 }),
      false,
      140,
    );
    expect(told.remedies.map(({ action }) => action)).toEqual(['fix-code']);
    expect(at(135)).toMatchObject({ trigger: 'code', confidence: 'likely', alsoTriggers: ['sharpness'] });
    expect(at(135).statement).toMatch(/, while the loss rises; the steps$/);
    for (const step of [120, 141]) expect(at(step)).toBe(sharp);
  });
  it('a weight decay that was written is a cause of its own where the loss shows nothing, and another option is the code', () => {
    const well = guess({ trigger: 'none-found', confidence: null, onsetStep: null });
    const told = (statement: string) =>
      asked(well, link({ cause: 'options-changed', confidence: 'likely', step: 130, statement }), true);
    const decay = told('weight decay of parameter group 0 is 6.6 from step 130 on, and was 0');
    expect([decay.cause.trigger, decay.remedies[0]!.action]).toEqual(['weight-decay', 'lower-weight-decay']);
    const momentum = told('momentum of parameter group 0 is 0.99 from step 130 on, and was 0.9');
    expect([momentum.cause.trigger, momentum.remedies[0]!.action]).toEqual(['code', 'fix-code']);
  });
  it('weights that nothing known explains are no lost state', () => {
    const { cause, remedies } = asked(causeOf([]), link({ cause: 'unknown', confidence: null, step: 130 }));
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /whether state, weights or a setting changed there is not in the record$/,
    );
    expect(remedies.map(({ action }) => action)).toEqual(['rewind']);
    expect(asked(causeOf([]), link({ cause: 'unknown', step: 159 })).cause.trigger).toBe('optimizer-state');
  });
});

describe('the audit of a run without an incident', () => {
  const found = (given: Partial<AuditLink>, isWell = true) => {
    const entry = {
      outcome: 'broken',
      follows: null,
      confidence: 'shown',
      fix: 'f',
      statement: 's',
      factor: null,
    };
    const audit = { links: [{ ...entry, step: 113, ...given }] } as unknown as Audit;
    return withAudit(NO_CAUSE, audit, isWell);
  };

  it.each([
    ['eval-mode', 'code', 'fix-code'],
    ['clip-norm-factor', 'code', 'fix-code'],
    ['rounded', 'precision', 'raise-precision'],
    ['order-repeated', 'order', 'fix-data'],
    ['state-fresh', 'optimizer-state', 'restore-optimizer-state'],
    ['rate-restarted', 'learning-rate', 'restore-schedule'],
  ] as const)('%s is the cause: %s', (cause, trigger, action) => {
    const why = found({ cause, factor: 2 });
    expect(why.cause).toMatchObject({ trigger, step: 113, onsetStep: null, confidence: 'shown', factor: 2 });
    expect(why.cause.statement).toBe('s; the loss is well so far');
    expect(why.remedies.map(({ action: one }) => one)).toEqual([action]);
  });

  it('one flipped bit is hardware, and no more than likely without a rerun', () => {
    const why = found({ cause: 'entries-changed', broken: 1 });
    expect([why.cause.trigger, why.cause.confidence]).toEqual(['hardware', 'likely']);
  });

  it('a loss that is not well is not said to be, and an unknown cause gives no trigger', () => {
    expect(found({ cause: 'eval-mode' }, false).cause.statement).toBe('s');
    const unknown = found({ cause: 'unknown', confidence: null });
    expect([unknown.cause.trigger, unknown.cause.statement]).toEqual([
      'none-found',
      's; the loss is well so far',
    ]);
    expect(unknown.remedies.map(({ action }) => action)).toEqual(['fix-code']);
  });

  it('nothing broken leaves what the log says', () => {
    expect(found({ outcome: 'holds' })).toBe(NO_CAUSE);
  });
});

describe('the audit of a run with a changed setting', () => {
  it('takes the weight decay that was written last', () => {
    const steps = stepsOf({ weightDecay: 1 }, { weightDecay: 7 });
    const manifest = { optimizers: [{ options: { weightDecay: 1 } }] } as unknown as Capture['manifest'];
    expect([0, 29, 30, 59].map((at) => decayAt(manifest, steps, at, 0))).toEqual([1, 1, 7, 7]);
  });
  const moment = (tensors: Record<string, string>) => ({
    weights: { sum: Object.values(tensors).join(''), tensors: new Map(Object.entries(tensors)) },
    state: null,
  });
  const between = (end: Record<string, string>, start: Record<string, string>) =>
    writtenBetween({
      steps: [
        { step: 1, record: { after: moment(end), before: null } },
        { step: 2, record: { after: null, before: moment(start) } },
      ],
    } as unknown as Capture).written.map(({ tensors }) => tensors);
  it('weights of an unfrozen layer were not written, and those of another tensor were', () => {
    expect(between({ a: '1' }, { a: '1', b: '2' })).toEqual([]);
    expect(between({ a: '1' }, { a: '3', b: '2' })).toEqual([['a']]);
    expect(between({ a: '1' }, { a: '3' })).toEqual([['a']]);
    expect(between({ a: '1' }, { a: '1' })).toEqual([]);
  });
});
