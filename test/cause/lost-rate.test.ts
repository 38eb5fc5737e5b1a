import { describe, expect, it } from 'vitest';
import { suggestionFor, type Why } from '../../src/experiment/cause/from-log.ts';
import { withLostRate } from '../../src/experiment/cause/lost-rate.ts';
import { untried } from '../../src/experiment/cause/remedies.ts';
import type { Cause } from '../../src/model/cause.ts';
import type { Finding } from '../../src/model/finding.ts';

const cause: Cause = {
  trigger: 'data',
  alsoTriggers: [],
  mechanism: 'bad-batch-only',
  step: 150,
  onsetStep: 150,
  confidence: 'shown',
  statement: 'the batch of step 150 is unlike those before',
  evidence: [],
};
const none = untried('none-needed', 'nothing: the weights are unharmed', { holds: true, tried: 'recorded' });
const skip = untried('skip-batches', 'leave out the batch of step 150', {
  holds: true,
  tried: 'closed-loop',
});
const jump = (severity: Finding['severity'], steps: readonly [number, number]): Finding => ({
  id: 'accumulator-jump',
  severity,
  message: 'the second moment of 100 % of the entries jumps at step 150',
  steps,
  series: null,
  measured: null,
  threshold: null,
  locations: [],
  advice: null,
});

describe('a run that came back on weights that are unharmed', () => {
  const back: Why = { cause, remedies: [none, skip] };

  it.each<[string, Finding[]]>([
    ['without a finding', []],
    ['whose second moment forgets what it took', [jump('note', [150, 150])]],
    ['whose second moment had jumped before', [jump('warning', [90, 91])]],
  ])('%s needs nothing', (_name, findings) => {
    expect(withLostRate(back, findings)).toBe(back);
  });

  it('and whose second moment took a huge gradient goes on without its batch', () => {
    const { cause: told, remedies } = withLostRate(back, [jump('warning', [150, 152])]);
    expect(told).toMatchObject({ mechanism: 'poisoned-accumulators', trigger: 'data', confidence: 'shown' });
    expect(told.statement).toContain('; the optimizer does not go on as before: the second moment of 100 %');
    expect(remedies).toEqual([skip]);
  });

  it('and where nothing was tried, goes back to before', () => {
    const { remedies } = withLostRate({ cause, remedies: [none] }, [jump('warning', [150, 152])]);
    expect(remedies).toMatchObject([{ action: 'restore-optimizer-state', tried: null }]);
    expect(remedies[0]!.statement).toContain('before step 150');
  });
});

it('a run that did not come back keeps what was tried', () => {
  const why: Why = { cause, remedies: [suggestionFor(cause, 'step')] };
  expect(withLostRate(why, [jump('warning', [150, 150])])).toBe(why);
});
