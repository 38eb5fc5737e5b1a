/** A warm restart with a logged rate is no incident while the loss is what it was at that rate; what looks alike and is more still is. */
import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';

const POINTS = 800;
const RESTART = 400;
const noise = (i: number): number => {
  const x = Math.sin(i * 12.9898 + 78.233) * 43758.5453;
  return 1 + 0.04 * (x - Math.floor(x) - 0.5);
};
/** A cosine from 1e-3 to 0 in each half of the log. */
const rate = (i: number): number => 5e-4 * (1 + Math.cos((Math.PI * (i % RESTART)) / RESTART));
/** Falls to 0.36, and rises at the restart to 0.6, less than the 0.8 that it began with. */
const planned = (i: number): number =>
  i < RESTART ? 0.36 + 0.44 * Math.exp(-i / 80) : 0.33 + 0.27 * Math.exp(-(i - RESTART) / 40);

function verdictOf(loss: (i: number) => number, { rates = rate, points = POINTS } = {}) {
  const values = Array.from({ length: points }, (_, i) => loss(i) * noise(i));
  const logged = Array.from({ length: points }, (_, i) => rates(i));
  return judgeRun(
    makeRun('log.csv', [makeSeries('loss', 'loss', values), makeSeries('lr', 'learning_rate', logged)]),
  ).verdict;
}

describe('a restart of the schedule after which the loss is what it was at that rate', () => {
  it('is no incident, and the verdict says why', () => {
    const { class: found, incidents, why } = verdictOf(planned);
    expect(found).toBe('healthy');
    expect(incidents).toEqual([]);
    expect(why).toContain(`restart of the schedule at step ${RESTART + 1}`);
  });

  it('is none wherever the log is cut', () => {
    for (const points of [405, 420, 470, 560, 650])
      expect.soft([points, verdictOf(planned, { points }).class]).toEqual([points, 'healthy']);
  });
});

describe('is an incident all the same', () => {
  it.each([
    ['the loss stays up when the rate has come down', (i: number) => (i < RESTART ? planned(i) : 0.6)],
    [
      'the loss goes above what it was at that rate',
      (i: number) => (i < RESTART ? planned(i) : 0.33 + 1.2 * Math.exp(-(i - RESTART) / 40)),
    ],
    ['a single loss at the restart is far higher', (i: number) => (i === RESTART + 3 ? 9 : planned(i))],
    ['it is not finite', (i: number) => (i > RESTART + 20 ? Number.NaN : planned(i))],
    [
      'it comes long after the restart',
      (i: number) => (i < 600 ? planned(Math.min(i, RESTART - 1)) : planned(i - 200)),
    ],
  ])('%s', (_, loss) => {
    expect(verdictOf(loss).class).not.toBe('healthy');
  });

  it('the rate did not restart', () => {
    expect(verdictOf(planned, { rates: () => 1e-3 }).class).not.toBe('healthy');
    expect(verdictOf(planned, { rates: (i) => 1e-3 * (1 - i / POINTS) }).class).not.toBe('healthy');
  });
});
