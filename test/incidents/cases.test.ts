/** What the judge and the recorder for JavaScript say of every shared case; the judge in Python has cases.long.test.ts. */
import { describe, expect, it } from 'vitest';
import { clippyRecorder } from '../../src/experiment/recorder/tfjs-recorder.ts';
import { judgePoints } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { expectSame, incidentCases, judgedCase, onsets } from './cases.ts';

const CASES = incidentCases();
const said = onsets();

describe('the judge', () => {
  it('says of each case what onsets.json holds (npm run judge)', () => {
    expect(Object.keys(said)).toEqual(CASES.map(({ name }) => name));
    expect(CASES.length).toBeGreaterThan(500);
    for (const one of CASES) expectSame(judgedCase(one), said[one.name]!, one.name);
  });

  it('finds every clear jump where it was put, at once, and no other incident', () => {
    const clear = CASES.filter(({ truth }) => truth?.clear);
    expect(clear.length).toBeGreaterThan(200);
    for (const { name, truth, tails } of clear) {
      const { incidents, begins } = said[name]!;
      const at = truth!.at;
      const near = (onset: number): boolean => Math.abs(onset - at) <= 2;
      expect(
        incidents.some(([, , onset]) => near(onset)),
        name,
      ).toBe(true);
      expect(
        begins.some(([newest, onset]) => near(onset) && newest <= at + 2),
        name,
      ).toBe(true);
      if (tails === true) continue;
      expect(
        incidents.filter(([, , onset]) => !near(onset)),
        name,
      ).toEqual([]);
      expect(
        begins.filter(([newest]) => !near(newest)),
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
    for (const { name } of quiet)
      expect(said[name], name).toEqual({ incidents: [], numbers: [], worst: null, begins: [] });
    const tails = healthy.filter((one) => one.tails === true);
    const alarmed = tails.filter(({ name }) => said[name]!.incidents.length > 0);
    expect(alarmed.length).toBeLessThanOrEqual(tails.length / 5);
  });

  it('finds every rise in warm-up that stays where it was put, as drift or worse, with a last good point before it', () => {
    const rises = CASES.filter(({ rises, truth }) => rises && truth!.until === null);
    expect(rises.length).toBeGreaterThan(10);
    for (const { name, truth, losses } of rises) {
      expect(said[name]!.worst, name).toBe(truth!.at);
      const worst = judgePoints(Float64Array.from(losses), DEFAULT_VERDICT_SETTINGS).incidents.find(
        ({ onset }) => onset === truth!.at,
      )!;
      expect(['drift', 'full-divergence', 'non-finite'], name).toContain(worst.class);
      expect(worst.lastGood, name).toBe(truth!.at - 1);
    }
  });

  it('finds every burst at the start that passes, from its first point on to where it is back', () => {
    const bursts = CASES.filter(({ name }) => name.startsWith('bursts-'));
    expect(bursts.length).toBe(3);
    for (const { name, truth } of bursts) {
      const [[found, form, onset, recovered], ...others] = said[name]!.incidents as [
        (typeof said)[0]['incidents'][0],
      ];
      expect([found, form, onset, others.length], name).toEqual(['micro-divergence', 'rise', truth!.at, 0]);
      expect(Math.abs(recovered! - truth!.until!), name).toBeLessThanOrEqual(1);
    }
  });

  it('begins a loss that grows until it is no number where it grew, and one that is lost out of the calm there', () => {
    const lost = CASES.filter(({ name }) => name.includes('-to-nan-'));
    expect(lost.length).toBe(7);
    for (const { name, truth, losses } of lost) {
      expect(said[name]!.incidents.length, name).toBe(1);
      const [found, , onset] = said[name]!.incidents[0]!;
      expect(found, name).toBe('non-finite');
      // A climb is known to have begun only when it has left its noise.
      expect(Math.abs(onset - truth!.at), name).toBeLessThanOrEqual(name.startsWith('climbs') ? 60 : 2);
      // Cut right before the first NaN the same losses begin to diverge there, or are healthy.
      const head = judgePoints(Float64Array.from(losses.filter(Number.isFinite)), DEFAULT_VERDICT_SETTINGS);
      expect(head.incidents[0]?.onset, name).toBe(name.startsWith('calm') ? undefined : onset);
    }
  });

  it('finds every level that stays up in noise as large, though a jump to it seemed to come back, and none where it is back', () => {
    const steps = CASES.filter(({ name, truth }) => name.startsWith('steps-') && truth !== null);
    expect(steps.length).toBe(12);
    for (const { name, truth } of steps) {
      expect(said[name]!.incidents.length, name).toBe(1);
      const [found, form, onset, recovered] = said[name]!.incidents[0]!;
      const stays = truth!.until === null;
      expect(found, name).toMatch(stays ? /^(drift|full-divergence)$/ : /^micro-divergence$/);
      expect(stays ? recovered === null : recovered! - truth!.at < 15, name).toBe(true);
      expect(Math.abs(onset - truth!.at), name).toBeLessThanOrEqual(8);
      if (name.endsWith('jump') || !stays) expect([form, onset], name).toEqual(['jump', truth!.at]);
    }
  });

  it('finds every swell where it was put and where it passes, and begins at no other point while the losses come', () => {
    const swells = CASES.filter((one) => one.swells);
    expect(swells.length).toBeGreaterThan(5);
    for (const { name, truth } of swells) {
      expect(said[name]!.incidents.length, name).toBe(1);
      const [found, form, onset, recovered] = said[name]!.incidents[0]!;
      expect([found, form], name).toEqual(['micro-divergence', 'swell']);
      expect(Math.abs(onset - truth!.at), name).toBeLessThanOrEqual(3);
      expect(Math.abs(recovered! - truth!.until!), name).toBeLessThanOrEqual(3);
      for (const [newest, start] of said[name]!.begins) {
        expect(newest < truth!.until!, name).toBe(true);
        expect(Math.abs(start - truth!.at), name).toBeLessThanOrEqual(3);
      }
    }
    expect(swells.some(({ name }) => said[name]!.begins.length > 0)).toBe(true);
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

  it('has no incident that starts long before a jump that is not clear, heavy tails apart', () => {
    for (const { name, truth, tails } of CASES) {
      if (truth === null || tails === true) continue;
      for (const [, , onset] of said[name]!.incidents)
        expect(onset, name).toBeGreaterThanOrEqual(truth.at - 3);
    }
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
      const begun = recorded(losses);
      expect(
        begun.map(([step]) => step),
        name,
      ).toEqual(said[name]!.begins.map(([newest]) => newest));
      for (const [step, reason] of begun)
        expect(reason, name).toContain(Number.isFinite(losses[step]) ? ' after a median of ' : 'loss is ');
    }
  });
});
