/** What the judge and the recorder for JavaScript say of every shared case; the judge in Python has cases.long.test.ts. */
import { describe, expect, it } from 'vitest';
import { clippyRecorder } from '../../src/experiment/recorder/tfjs-recorder.ts';
import { expectSame, type IncidentCase, incidentCases, type Judged, judgedCase, onsets } from './cases.ts';

/** Cases that the judge is known to get wrong. */
const STEPS_THAT_ARE_WRONG: readonly string[] = ['steps-99-x3.5-after-jump', 'steps-200-x3-after-jump'];
const EARLY: readonly string[] = [];

const CASES = incidentCases();
const said = onsets();

describe('the judge', () => {
  it('says of each case what onsets.json holds (npm run judge)', () => {
    expect(Object.keys(said)).toEqual(CASES.map(({ name }) => name));
    expect(CASES.length).toBeGreaterThan(500);
    for (const one of CASES) expectSame(judgedCase(one), said[one.name]!, one.name);
  });

  /** Names of the cases for which something does not hold. */
  const wrong = (
    cases: readonly IncidentCase[],
    holds: (incidents: Judged['incidents'], truth: NonNullable<IncidentCase['truth']>) => boolean,
  ): string[] =>
    cases.filter(({ name, truth }) => !holds(said[name]!.incidents, truth!)).map(({ name }) => name);

  it('finds every clear jump where it was put, at once, and no other incident', () => {
    // Two thousandths of what was learnt down to zero are no incident.
    const clear = CASES.filter(({ name, truth }) => truth?.clear && !/^learnt-to-zero.*-up$/.test(name));
    expect(clear.length).toBeGreaterThan(200);
    for (const { name, truth, tails } of clear) {
      const { incidents, begins } = said[name]!;
      const at = truth!.at;
      const near = (onset: number): boolean => Math.abs(onset - at) <= 2;
      expect(
        incidents.some(([, , onset]) => near(onset)),
        name,
      ).toBe(true);
      if (tails === true) continue;
      expect(
        begins.some(([newest, onset]) => near(onset) && newest <= at + 2),
        name,
      ).toBe(true);
      expect(
        incidents.filter(([, , onset]) => !near(onset)),
        name,
      ).toEqual([]);
      // What passes is over where it was put to pass, unless the run ends before that can be told.
      if (truth!.until !== null)
        for (const [found, , , recovered] of incidents)
          if (found !== 'inconclusive')
            expect(Math.abs(recovered! - truth!.until), name).toBeLessThanOrEqual(2);
    }
  });

  it('finds nothing in the healthy cases; heavy tails show an incident in one of five at most', () => {
    const healthy = CASES.filter(({ truth }) => truth === null);
    const quiet = healthy.filter(({ tails }) => tails !== true);
    expect(quiet.length).toBeGreaterThan(50);
    const alarmed = (cases: readonly IncidentCase[]): string[] =>
      cases.filter(({ name }) => said[name]!.incidents.length > 0).map(({ name }) => name);
    expect(alarmed(quiet)).toEqual([]);
    const tails = healthy.filter((one) => one.tails === true);
    expect(alarmed(tails).length).toBeLessThanOrEqual(tails.length / 5);
  });

  it('finds every rise in warm-up that stays where it was put, as drift or worse', () => {
    const rises = CASES.filter(({ rises, truth }) => rises && truth!.until === null);
    expect(rises.length).toBeGreaterThan(10);
    const bad = wrong(rises, (incidents, { at }) =>
      incidents.some(
        ([found, , onset]) =>
          Math.abs(onset - at) <= 4 && ['drift', 'full-divergence', 'non-finite'].includes(found),
      ),
    );
    expect(bad).toEqual([]);
  });

  it('finds every burst at the start that passes, from its first point on to where it is back', () => {
    const bursts = CASES.filter(({ name }) => name.startsWith('bursts-'));
    expect(bursts.length).toBe(3);
    const bad = wrong(
      bursts,
      ([first, ...others], { at, until }) =>
        first![0] === 'micro-divergence' &&
        first![2] === at &&
        Math.abs(first![3]! - until!) <= 1 &&
        others.length === 0,
    );
    expect(bad).toEqual([]);
  });

  it('begins a loss that grows until it is no number where it grew, and one that is lost out of the calm there', () => {
    const lost = CASES.filter(({ name }) => name.includes('-to-nan-'));
    expect(lost.length).toBe(7);
    for (const { name, truth } of lost) {
      expect(said[name]!.incidents.length, name).toBe(1);
      const [found, , onset] = said[name]!.incidents[0]!;
      expect(found, name).toBe('non-finite');
      // A climb is known to have begun only when it has left its noise; one from the third point on has hardly a level before it.
      const late = name.startsWith('climbs') ? 60 : truth!.at < 3 ? 5 : 4;
      expect(Math.abs(onset - truth!.at), name).toBeLessThanOrEqual(late);
    }
  });

  it('finds levels that stay up in noise as large, and none where it is back', () => {
    const steps = CASES.filter(({ name, truth }) => name.startsWith('steps-') && truth !== null);
    expect(steps.length).toBe(12);
    const bad = wrong(steps, ([first, ...others], { at, until }) => {
      if (first === undefined || others.length > 0 || Math.abs(first[2] - at) > 10) return false;
      return until === null
        ? /^(drift|full-divergence)$/.test(first[0]) && first[3] === null
        : first[0] === 'micro-divergence' && first[3]! - at < 15;
    });
    expect(bad).toEqual(STEPS_THAT_ARE_WRONG);
  });

  it('finds every swell where it was put and where it passes', () => {
    const swells = CASES.filter((one) => one.swells);
    expect(swells.length).toBeGreaterThan(5);
    const bad = wrong(
      swells,
      (incidents, { at, until }) =>
        incidents.length === 1 &&
        incidents[0]![3] !== null &&
        Math.abs(incidents[0]![2] - at) <= 5 &&
        Math.abs(incidents[0]![3]! - until!) <= 5,
    );
    expect(bad).toEqual([]);
  });

  it('lets the largest incident lead, and says when the level is back', () => {
    const leads = CASES.filter((one) => one.leads !== undefined);
    for (const { name, leads: at } of leads) expect(said[name]!.worst, name).toBe(at);
    const back = CASES.filter((one) => one.back !== undefined);
    for (const { name, truth, back: at } of back) {
      const [, , , recovered] = said[name]!.incidents.find(([, , onset]) => onset === truth!.at)!;
      expect(Math.abs(recovered! - at!), name).toBeLessThanOrEqual(2);
    }
    expect(leads.length * back.length).toBeGreaterThan(0);
  });

  it('has hardly an incident that starts long before a jump that is not clear, heavy tails apart', () => {
    const unclear = CASES.filter(({ truth, tails }) => truth !== null && tails !== true);
    const early = wrong(unclear, (incidents, { at }) => incidents.every(([, , onset]) => onset >= at - 10));
    expect(early).toEqual(EARLY);
  });
});

describe('the recorder for JavaScript', () => {
  /** Steps at which it began a capture, and why, of a training of one weight that has these losses. */
  function recorded(losses: readonly number[]): readonly (readonly [number, string])[] {
    const weight = { name: 'w', shape: [1], dataSync: () => Float32Array.of(1) };
    class Sgd {
      static readonly className = 'SGD';
      readonly iterations = 0;
      readonly learningRate = 0.1;
      computeGradients = () => ({ value: weight, grads: {} });
      getConfig = () => ({});
    }
    const begun: (readonly [number, string])[] = [];
    const recorder = clippyRecorder({
      variables: [weight],
      optimizer: new Sgd(),
      // Each capture is one step, so none is missed while another is written.
      every: 1,
      after: 0,
      maxCaptures: Number.POSITIVE_INFINITY,
      files: {
        exists: () => false,
        write: (path, bytes) => {
          if (!path.endsWith('/capture.json')) return;
          const { flushed } = JSON.parse(new TextDecoder().decode(bytes)) as {
            flushed: { step: number; reason: string };
          };
          begun.push([flushed.step, flushed.reason]);
        },
        rename: () => {},
      },
    });
    for (const [step, loss] of losses.entries()) recorder.record(step, loss, { w: weight });
    expect(recorder.stopped).toBeNull();
    return begun;
  }

  it('begins a capture at every step at which an incident begins, and at no other', () => {
    for (const { name, losses } of CASES) {
      // A run that learns nothing in 500 steps has a capture, too: of no incident.
      const begun = recorded(losses).filter(([, reason]) => !reason.startsWith('nothing was learnt'));
      expect(
        begun.map(([step]) => step),
        name,
      ).toEqual(said[name]!.begins.map(([newest]) => newest));
      for (const [step, reason] of begun)
        expect(reason, name).toContain(Number.isFinite(losses[step]) ? ' after a median of ' : 'loss is ');
    }
  });
});
