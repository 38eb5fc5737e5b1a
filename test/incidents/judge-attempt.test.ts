/** The one entry to the judge of an attempt: all that was learnt is lost, and what comes again. */
import { describe, expect, it } from 'vitest';
import { KINDS, madeRuns } from '../../bench/detection/made.ts';
import { worstOf } from '../../src/judge/incidents/judge.ts';
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';

const ofWhole = (values: ArrayLike<number>, isWhole = true) =>
  judgeAttempt(Float64Array.from(values), DEFAULT_VERDICT_SETTINGS, { levelSays: true, isWhole });

const noise = (i: number): number => 0.02 * Math.sin(12.9898 * i * i);

/** Falls from ln 2 to 0.6, and is at `after` from point 400 on. */
const settling = (after: number, points = 600): number[] =>
  Array.from(
    { length: points },
    (_, i) => (i < 400 ? 0.6 + 0.093 * Math.exp(-i / 40) : after) * (1 + noise(i)),
  );

describe('all that was learnt is lost', () => {
  it.each(KINDS.map(({ name }, row) => [name, row] as const).filter(([name]) => name.startsWith('all lost')))(
    '%s is a full divergence where it was put',
    (_, row) => {
      const kind = KINDS[row]!;
      const right = [...madeRuns(kind, 600, 20, 900 + row)].filter((run) => {
        const { class: found, incidents } = ofWhole(run.values);
        return kind.right({ class: found, onset: worstOf(incidents)?.onset ?? null }, run);
      });
      expect(right.length).toBeGreaterThanOrEqual(19);
    },
  );

  it('not where a third of it is lost, nor in a part of a loss, nor where nothing was learnt before', () => {
    expect(ofWhole(settling(Math.LN2)).class).toBe('full-divergence');
    expect(ofWhole(settling(0.63)).class).not.toBe('full-divergence');
    expect(ofWhole(settling(Math.LN2), false).class).not.toBe('full-divergence');
    expect(ofWhole(Array.from({ length: 600 }, (_, i) => Math.LN2 * (1 + noise(i)))).class).toBe('healthy');
  });

  it('waits for the time to come back, and is over where it came back', () => {
    expect(ofWhole(settling(Math.LN2, 420)).class).not.toBe('full-divergence');
    const back = settling(0.6).map((value, i) => (i >= 400 && i < 440 ? value * 1.155 : value));
    expect(ofWhole(back).class).not.toBe('full-divergence');
  });
});

describe('one low point', () => {
  const flat = (at: number): number[] =>
    Array.from({ length: 60 }, (_, i) => (i === at ? 0.2 : 1) * (1 + 5 * noise(i)));

  it('is no level that the loss diverged from', () => {
    for (let at = 1; at < 30; at++) expect([at, ofWhole(flat(at)).class]).toEqual([at, 'healthy']);
  });

  it('is one where the loss fell to it, or began at it, and jumped at once', () => {
    const falls = flat(99).map((value, i) => (i < 12 ? value * 0.8 ** i : value));
    expect(ofWhole(falls)).toMatchObject({ class: 'full-divergence', incidents: [{ onset: 12 }] });
    expect(ofWhole(flat(0))).toMatchObject({ class: 'full-divergence', incidents: [{ onset: 1 }] });
  });
});

describe('what comes again is usual', () => {
  /** Six cycles of a warm restart, from 1.5 times the level down to it. */
  const cycles = (points: number, last: (at: number) => number = () => 1): number[] =>
    Array.from(
      { length: points },
      (_, i) =>
        (0.4 + 1.6 * Math.exp(-i / 60)) *
        (1 + (i < 100 ? 0 : 0.25 * (1 + Math.cos((Math.PI * (i % 100)) / 100)))) *
        (1 + noise(i)) *
        last(i),
    );

  it('wherever a log of warm restarts is cut', () => {
    for (const points of [420, 480, 510, 550, 600])
      expect([points, ofWhole(cycles(points)).class]).toEqual([points, 'healthy']);
    expect(ofWhole(cycles(510)).usual).toBeGreaterThan(0);
  });

  it('but not a rise that is higher or stays longer than those that came back, or is not finite', () => {
    const stays = cycles(900, (i) => (i >= 600 ? 4 : 1));
    expect(['drift', 'full-divergence']).toContain(ofWhole(stays).class);
    const ends = cycles(600).map((value, i) => (i >= 590 ? Number.NaN : value));
    expect(ofWhole(ends).class).toBe('non-finite');
  });
});

describe('a rise that ends in NaN', () => {
  it('begins where it left its best level', () => {
    const values = Array.from({ length: 600 }, (_, i) =>
      i >= 420 ? Number.NaN : 0.5 * (1 + noise(i)) * (i < 300 ? 1 : 5 ** ((i - 300) / 120)),
    );
    const { class: found, incidents } = ofWhole(values);
    expect(found).toBe('non-finite');
    expect(incidents.at(-1)!.onset).toBeGreaterThan(290);
    expect(incidents.at(-1)!.onset).toBeLessThan(320);
  });
});

it('a usual loss after one that is no number is too few to be back, and no divergence', () => {
  const values = settling(0.6);
  values[598] = Number.NaN;
  expect(ofWhole(values).class).toBe('inconclusive');
  values[599] = 1e6;
  expect(ofWhole(values).class).toBe('full-divergence');
  values[599] = Number.NaN;
  expect(ofWhole(values).class).toBe('non-finite');
  values[597] = Number.NaN;
  values[598] = values[599] = 0.6;
  expect(ofWhole(values).class).toBe('inconclusive');
});
