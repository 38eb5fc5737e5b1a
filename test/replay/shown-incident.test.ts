/** A rule is judged only where the training without it has the recorded incident. */
import { describe, expect, it } from 'vitest';
import { whyNotShown } from '../../src/experiment/replay/shown-incident.ts';
import { judgeClosedLoop } from '../../src/experiment/replay/verdict.ts';

const COUNT = 80;
const ONSET = 40;
const steps = Array.from({ length: COUNT }, (_, i) => 100 + i);
const along = (at: (i: number) => number): number[] => steps.map((_, i) => at(i));
const wave = (i: number): number => 1 + 0.01 * Math.sin(i);
const calm = along(wave);
const lost = along((i) => wave(i) * (i < ONSET ? 1 : 15));
const passing = along((i) => wave(i) * (i < ONSET || i > ONSET + 4 ? 1 : 15));

describe('the training without the rule', () => {
  it('has the incident where it follows the record, also when rounding takes them apart later', () => {
    expect(whyNotShown(lost, lost, ONSET, steps)).toBeNull();
    const apart = lost.map((loss, i) => loss * (i > ONSET ? 1.3 : 1 + 1e-5 * i));
    expect(whyNotShown(apart, lost, ONSET, steps)).toBeNull();
    expect(whyNotShown(passing, passing, ONSET, steps)).toBeNull();
    expect(
      whyNotShown(
        lost,
        lost.map(() => null),
        ONSET,
        steps,
      ),
    ).toBeNull();
  });
  it('has it not where it stays calm, though a rule would be called not needed', () => {
    expect(judgeClosedLoop(calm, calm, steps).verdict).toBe('not-needed');
    expect(whyNotShown(calm, lost, ONSET, steps)).toMatch(/does not have the incident of step 140: /);
  });
  it('has another one where its loss leaves the record at one step', () => {
    // State lost and rate raised together: only the rate is in the loop.
    const other = lost.map((loss, i) => (i < ONSET ? loss : 4 * wave(i)));
    expect(whyNotShown(other, lost, ONSET, steps)).toMatch(
      /the loss at step 140 is 4\.\d+ where 15\.\d+ was recorded/,
    );
  });
  it('has it not where only the record is no number, or only it comes back', () => {
    const broken = lost.map((loss, i) => (i < ONSET ? loss : Number.NaN));
    expect(whyNotShown(lost, broken, ONSET, steps)).toMatch(/does not have the incident/);
    expect(whyNotShown(broken, broken, ONSET, steps)).toBeNull();
    expect(whyNotShown(passing, lost, ONSET, steps)).toMatch(/comes back from the incident of step 140/);
  });
});
