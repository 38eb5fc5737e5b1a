/** One judge in two languages: its twin says of every shared case what src/incidents says, and that is where the jump was put. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { judgePoints } from '../../src/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/incidents/settings.ts';
import { lossStream } from '../../src/incidents/stream.ts';
import { normals, seeded } from '../detectors/runs.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';
import { CASES_FILE, incidentCases, type Judged, judgedCase, ONSETS_FILE, streamed } from './cases.ts';

const CASES = incidentCases();
const said = JSON.parse(readFileSync(ONSETS_FILE, 'utf8')) as Record<string, Judged>;

describe('the judge', () => {
  it('says of each case what onsets.json holds (npm run judge)', () => {
    expect(Object.keys(said)).toEqual(CASES.map(({ name }) => name));
    expect(CASES.length).toBeGreaterThan(500);
    for (const one of CASES) expect(judgedCase(one), one.name).toEqual(said[one.name]);
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
      expect(said[name], name).toEqual({ incidents: [], worst: null, begins: [] });
    const tails = healthy.filter((one) => one.tails === true);
    const alarmed = tails.filter(({ name }) => said[name]!.incidents.length > 0);
    expect(alarmed.length).toBeLessThanOrEqual(tails.length / 5);
  });

  it('finds every rise in warm-up that stays where it was put, as drift or worse, with a last good point before it', () => {
    const rises = CASES.filter((one) => one.rises);
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

describe('losses as they come', () => {
  /** Positions at which judging the losses so far anew shows an incident that the newest one is part of, and had not before. */
  function judgedAnew(losses: readonly number[]): readonly number[] {
    let within = false;
    return losses.flatMap((_, i) => {
      const { incidents } = judgePoints(Float64Array.from(losses.slice(0, i + 1)), DEFAULT_VERDICT_SETTINGS);
      const last = incidents.filter(({ form }) => form === 'jump').at(-1);
      const was = within;
      within = last !== undefined && last.end === i + 1;
      return within && !was ? [i] : [];
    });
  }

  it('begin an incident where judging all of them anew does', () => {
    let begun = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const random = seeded(seed);
      const normal = normals(seed + 1000);
      const points = 20 + Math.floor(120 * random());
      const fall = 3 * random();
      const noise = 0.2 * random() ** 2;
      const at = Math.floor(points * (0.3 + 0.6 * random()));
      const ratio = random() < 0.3 ? Number.NaN : 1.2 * 20 ** random();
      const losses = Array.from(
        { length: points },
        (_, i) => Math.exp((-fall * i) / points + noise * normal()) * (i < at ? 1 : ratio),
      );
      const [first] = streamed(losses, lossStream());
      expect(first?.[0], `seed ${seed}`).toBe(judgedAnew(losses)[0]);
      if (first !== undefined) begun++;
    }
    expect(begun).toBeGreaterThan(80);
  });

  it('five times the level at step 60, on the way down, begins one', () => {
    const one = CASES.find(({ name }) => name === 'falling-120-x5-at-60')!;
    expect(said[one.name]!.begins).toEqual([[60, 60]]);
    const smooth = Array.from({ length: 61 }, (_, i) => Math.exp(-i / 30) * (i < 60 ? 1 : 5));
    expect(streamed(smooth, lossStream())).toEqual([[60, 60]]);
  });

  it('go on for as long as a training does', () => {
    const normal = normals(3);
    const stream = lossStream();
    const begins: number[] = [];
    for (let i = 0; i < 30_000; i++) {
      const level = i >= 12_000 && i < 12_050 ? 4 : i >= 25_000 ? 4 : 1;
      if (stream.add(level * Math.exp(0.05 * normal()))?.begins === true) begins.push(i);
    }
    expect(begins).toEqual([12_000, 25_000]);
    // From the first loss at or below zero on, values are judged: −0.5 is no jump, and 6 is one.
    expect(stream.add(-0.5)?.begins ?? false).toBe(false);
    for (let i = 0; i < 200; i++) expect(stream.add(Math.exp(0.05 * normal()))?.begins ?? false).toBe(false);
    expect(stream.add(60)?.begins).toBe(true);
  });
});

describe('the twin', () => {
  const python = pythonWith();
  it.skipIf(python === undefined)(
    'Python says the same, with the same settings (skipped where there is no Python)',
    () => {
      const script = join(projectRoot, 'test/incidents/judge_cases.py');
      const text = execFileSync(python!, ['-B', script, join(projectRoot, 'python/src'), CASES_FILE], {
        encoding: 'utf8',
        maxBuffer: 1e8,
      });
      const copy = JSON.parse(text) as { settings: Record<string, number>; said: Record<string, Judged> };
      for (const { name } of CASES) expect(copy.said[name], name).toEqual(said[name]);
      // What it leaves out: notes on spikes, and signs that are no losses.
      const without = [
        'spikeScales',
        'zeros',
        'abruptShare',
        'missingPoints',
        'together',
        'chance',
        'chancePoints',
        'learnt',
      ];
      const mine = Object.entries(DEFAULT_VERDICT_SETTINGS).filter(([name]) => !without.includes(name));
      expect(copy.settings).toEqual(Object.fromEntries(mine));
    },
  );
});
