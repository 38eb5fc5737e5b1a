import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { readThresholds, resolveThresholds } from '../../src/judge/findings/thresholds.ts';
import type { SeriesIncident } from '../../src/judge/incidents/judge.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { explain } from '../../src/judge/incidents/verdict-words.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { fallingLoss, findingsOf, makeRun, type SeriesSpec } from '../detectors/runs.ts';
import { random } from '../support/random.ts';
import { projectRoot } from '../support/shared-data.ts';

const verdictOf = (values: readonly number[] | readonly (readonly number[])[], name = 'loss') =>
  judgeRun(makeRun([{ name, role: 'loss', values }])).verdict;
const flat = (points: number, level: number): number[] =>
  fallingLoss(points).map((value, i, all) => (level * value) / (all[i]! / (1 + 0.02 * Math.sin(7 * i))));

interface Expected {
  readonly expectedClass: readonly string[];
  readonly expectedOnset: { readonly step: number; readonly tolerance: number } | null;
  readonly expectedRecovery?: { readonly step: number; readonly tolerance: number };
  readonly tasks?: Readonly<Record<string, Omit<Expected, 'tasks'>>>;
  readonly firstTask?: string;
}

describe('fixtures: real training runs', () => {
  const folder = join(projectRoot, 'fixtures/logs');
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name, 'expected.json')));
  it.each(names)('%s', async (name) => {
    const expected = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
    const input = readdirSync(join(folder, name)).find((file) => file.startsWith('input.'))!;
    const { runs } = await readLogFile(join(folder, name, input));
    const { verdict, tasks } = judgeRun(runs[0]!);
    const holds = (
      found: { class: string; onsetStep: number | null },
      wanted: Omit<Expected, 'tasks'>,
    ): void => {
      expect(wanted.expectedClass).toContain(found.class);
      if (wanted.expectedOnset == null) return;
      expect(Math.abs(found.onsetStep! - wanted.expectedOnset.step)).toBeLessThanOrEqual(
        wanted.expectedOnset.tolerance,
      );
    };
    holds(verdict, expected);
    if (expected.expectedRecovery !== undefined)
      expect(Math.abs(verdict.recoveredStep! - expected.expectedRecovery.step)).toBeLessThanOrEqual(
        expected.expectedRecovery.tolerance,
      );
    for (const [task, wanted] of Object.entries(expected.tasks ?? {}))
      holds(tasks.find((one) => one.name === task)!, wanted);
    if (expected.firstTask !== undefined) expect(tasks[0]!.name).toBe(expected.firstTask);
  });
});

describe('classes', () => {
  it('calls a falling loss healthy, also one with 30 % noise', () => {
    expect(verdictOf(fallingLoss(1000)).class).toBe('healthy');
    expect(verdictOf(fallingLoss(1000, 2, 0.3)).class).toBe('healthy');
  });

  it('calls ten points healthy and seven inconclusive', () => {
    expect(verdictOf(fallingLoss(10)).class).toBe('healthy');
    expect(verdictOf(fallingLoss(7)).class).toBe('inconclusive');
    expect(verdictOf([]).class).toBe('inconclusive');
  });

  it('a zero that was printed before the first batch is no loss', () => {
    const values = [0, ...fallingLoss(300)];
    expect(verdictOf(values).class).toBe('healthy');
    for (let i = 200; i < values.length; i++) values[i]! *= 5;
    expect(verdictOf(values)).toMatchObject({ class: 'full-divergence', onsetStep: 200 });
  });

  it('a jump that comes back is a micro-divergence with onset, last good and recovered step', () => {
    const values = fallingLoss(1000);
    for (let i = 600; i < 630; i++) values[i]! *= 3;
    expect(verdictOf(values)).toMatchObject({
      class: 'micro-divergence',
      onsetStep: 600,
      lastGoodStep: 599,
      recoveredStep: 630,
    });
  });

  it('a jump that stays above twice the median is a full divergence', () => {
    const values = fallingLoss(1000);
    for (let i = 600; i < 1000; i++) values[i]! *= 3;
    expect(verdictOf(values)).toMatchObject({
      class: 'full-divergence',
      onsetStep: 600,
      recoveredStep: null,
    });
  });

  it('a log that ends inside the window is inconclusive, or lost above ten times the median', () => {
    const values = fallingLoss(1000);
    const end = (factor: number): number[] => values.map((value, i) => (i >= 950 ? value * factor : value));
    expect(verdictOf(end(3))).toMatchObject({ class: 'inconclusive', onsetStep: 950 });
    expect(verdictOf(end(30))).toMatchObject({ class: 'full-divergence', onsetStep: 950 });
  });

  it('a spike near the end has come back after a quarter of the usual points', () => {
    const values = fallingLoss(1000);
    values[990]! *= 3;
    expect(verdictOf(values)).toMatchObject({
      class: 'micro-divergence',
      onsetStep: 990,
      recoveredStep: 991,
    });
    expect(verdictOf(values.slice(0, 991)).class).toBe('inconclusive');
  });

  it('a jump that settles between its band and twice its level is one incident, and the new level is the normal', () => {
    const values = fallingLoss(2000, 3, 0.02).map((value, i) => (i >= 1500 ? value * 1.4 : value));
    const { incidents, class: verdict } = verdictOf(values);
    expect(verdict).toBe('micro-divergence');
    expect(incidents).toHaveLength(1);
    expect(incidents[0]).toMatchObject({ onsetStep: 1500, recoveredStep: null });
  });

  it('NaN to the end has the onset of the jump that led there, if it did not recover', () => {
    const values = fallingLoss(1000);
    for (let i = 600; i < 605; i++) values[i]! *= 100;
    for (let i = 605; i < 1000; i++) values[i] = Number.NaN;
    expect(verdictOf(values)).toMatchObject({ class: 'non-finite', onsetStep: 600 });
    for (let i = 605; i < 700; i++) values[i] = 0.5;
    expect(verdictOf(values)).toMatchObject({ class: 'non-finite', onsetStep: 700 });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    '%s that passes is a micro-divergence',
    (bad) => {
      const values = fallingLoss(1000);
      values[500] = bad;
      expect(verdictOf(values)).toMatchObject({
        class: 'micro-divergence',
        onsetStep: 500,
        recoveredStep: 501,
      });
    },
  );

  it('-Infinity to the end after a jump is the worst point', () => {
    const values = fallingLoss(300);
    values.fill(90, 200).fill(Number.NEGATIVE_INFINITY, 210);
    const verdict = verdictOf(values);
    expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 200 });
    expect(verdict.incidents[0]!.peak).toBe(Number.NEGATIVE_INFINITY);
    expect(verdict.why).toContain('not finite from step 210');
  });

  it('what comes back after the decision window is lost all the same', () => {
    const values = fallingLoss(2000).map((value, i) => (i >= 600 && i < 1200 ? 10 * value : value));
    const verdict = verdictOf(values);
    expect(verdict).toMatchObject({ class: 'full-divergence', onsetStep: 600, recoveredStep: 1200 });
    expect(verdict.why).toContain('too late');
  });

  it('non-finite values count in the first steps too', () => {
    expect(verdictOf([Number.NaN, ...fallingLoss(100)])).toMatchObject({ onsetStep: 0, lastGoodStep: null });
    expect(verdictOf([Number.NaN, Number.NaN])).toMatchObject({ class: 'non-finite', onsetStep: 0 });
  });

  it('a climb is a drift, also one that ends below its start: the best level counts', () => {
    const values = Array.from({ length: 1000 }, (_, i) =>
      i < 500 ? 3 - (2.5 * i) / 500 : 0.5 + (1.5 * (i - 500)) / 500,
    );
    const { class: verdict, onsetStep } = verdictOf(values);
    expect(verdict).toBe('drift');
    expect(onsetStep).toBeGreaterThan(490);
    expect(onsetStep).toBeLessThan(560);
  });

  it('a loss that explodes in its first steps is found', () => {
    const values = [
      2.3,
      2.31,
      2.29,
      2.4,
      9,
      1e3,
      ...Array.from({ length: 994 }, (_, i) => 1e5 * (1 + 0.1 * Math.sin(i))),
    ];
    const { class: verdict, onsetStep } = verdictOf(values);
    expect(verdict).toBe('full-divergence');
    expect(Math.abs(onsetStep! - 4)).toBeLessThanOrEqual(1);
  });

  it('judges losses that can be negative by their value', () => {
    const values = fallingLoss(1000).map((value) => value - 5);
    expect(verdictOf(values).class).toBe('healthy');
    for (let i = 700; i < 1000; i++) values[i]! += 12;
    expect(verdictOf(values)).toMatchObject({ class: 'full-divergence', onsetStep: 700 });
  });

  it('survives a constant loss and jumps off one', () => {
    expect(verdictOf(flat(200, 1).fill(0.7)).class).toBe('healthy');
    const values = new Array<number>(400).fill(0.7);
    values[300] = 0.71;
    expect(verdictOf(values).class).toBe('healthy');
    values.fill(5, 300);
    expect(verdictOf(values)).toMatchObject({ class: 'full-divergence', onsetStep: 300 });
  });

  it('takes the logarithm of a perplexity', () => {
    // exp(3) to exp(4): 2.7 times the perplexity is 1.3 times the loss, no full divergence.
    const values = fallingLoss(600, 1, 0.01).map((_, i) => Math.exp(i < 400 ? 3 : 4));
    expect(verdictOf(values, 'ppl').class).toBe('micro-divergence');
    expect(verdictOf(values, 'loss').class).toBe('full-divergence');
  });
});

describe('attempts, tasks and which series', () => {
  it('judges the longest of several losses, and of several eval losses', () => {
    const long = fallingLoss(400);
    const short = fallingLoss(100, 2).map((loss, i) => (i < 60 ? loss : 40));
    for (const role of ['loss', 'eval_loss'] as const)
      for (const [first, second] of [
        [long, short],
        [short, long],
      ]) {
        const { verdict } = judgeRun(
          makeRun([
            { name: 'a', role, values: first! },
            { name: 'b', role, values: second! },
          ]),
        );
        expect(verdict).toMatchObject({ class: 'healthy', series: first === long ? 'a' : 'b' });
      }
  });

  it('judges attempts one by one: a restart is no spike', () => {
    const verdict = verdictOf([fallingLoss(200), fallingLoss(200, 2), fallingLoss(200, 3)]);
    expect(verdict).toMatchObject({ class: 'healthy', incidents: [] });
  });

  it('a stub of an attempt does not make the run inconclusive', () => {
    expect(verdictOf([fallingLoss(3), fallingLoss(200)]).class).toBe('healthy');
  });

  it('names the attempt of an incident', () => {
    const broken = fallingLoss(400);
    broken.fill(50, 300);
    expect(verdictOf([fallingLoss(400, 2), broken]).incidents).toMatchObject([
      { attempt: 1, onsetStep: 300 },
    ]);
  });

  it('orders tasks by onset, and a lost task makes the run lost though the total hides it', () => {
    const task = (from: number, seed: number): number[] => {
      const values = fallingLoss(600, seed);
      values.fill(40, from);
      return values;
    };
    const { verdict, tasks } = judgeRun(
      makeRun([
        { name: 'loss', values: fallingLoss(600) },
        { name: 'task/b/loss', role: 'task_loss', task: 'b', values: task(402, 2) },
        { name: 'task/a/loss', role: 'task_loss', task: 'a', values: task(400, 3) },
        { name: 'task/c/loss', role: 'task_loss', task: 'c', values: fallingLoss(600, 4) },
      ]),
    );
    expect(tasks).toEqual([
      { name: 'a', class: 'full-divergence', onsetStep: 400 },
      { name: 'b', class: 'full-divergence', onsetStep: 402 },
      { name: 'c', class: 'healthy', onsetStep: null },
    ]);
    expect(verdict).toMatchObject({ class: 'full-divergence', series: 'task/a/loss', onsetStep: 400 });
    expect(verdict.why).toContain('total loss "loss" alone is healthy');
  });

  it('where the total is lost as well, it decides, however early a task was', () => {
    const lost = (from: number, seed: number): number[] => [
      ...fallingLoss(from, seed),
      ...Array.from({ length: 600 - from }, () => 300),
    ];
    const { verdict } = judgeRun(
      makeRun([
        { name: 'loss', values: lost(410, 1) },
        { name: 'task/a/loss', role: 'task_loss', task: 'a', values: lost(400, 3) },
      ]),
    );
    expect(verdict).toMatchObject({ class: 'full-divergence', series: 'loss', onsetStep: 410 });
    expect(verdict.why).not.toContain('alone is');
  });
  it('a task of a few points leaves nothing open that the others answer', () => {
    const { verdict } = judgeRun(
      makeRun([
        { name: 'a', role: 'task_loss', task: 'a', values: fallingLoss(100) },
        { name: 'b', role: 'task_loss', task: 'b', values: [0, 0.006], steps: [10, 90] },
      ]),
    );
    expect(verdict).toMatchObject({ class: 'healthy', series: 'a' });
  });

  it('falls back to task losses, then to the eval loss, and says so', () => {
    const tasksOnly = judgeRun(
      makeRun([{ name: 't', role: 'task_loss', task: 't', values: fallingLoss(100) }]),
    );
    expect(tasksOnly.verdict).toMatchObject({ class: 'healthy', series: 't' });
    expect(tasksOnly.verdict.why).toContain('no total loss');
    const evalOnly = judgeRun(makeRun([{ name: 'val_loss', values: fallingLoss(100) }]));
    expect(evalOnly.verdict.why).toContain('no training loss');
    expect(judgeRun(makeRun([{ name: 'x', values: [1, 2] }])).verdict).toMatchObject({
      class: 'inconclusive',
      series: null,
    });
  });

  it('zeros with a NaN gradient norm are a dead run, a loss learnt down to zero is not', () => {
    const loss = fallingLoss(300).fill(0, 200);
    const norm = fallingLoss(300).fill(Number.NaN, 200);
    const dead = makeRun([
      { name: 'loss', values: loss },
      { name: 'grad_norm', values: norm },
    ]);
    expect(judgeRun(dead).verdict).toMatchObject({ class: 'non-finite', onsetStep: 200, lastGoodStep: 199 });
    expect(findingsOf(DETECTORS['dead-run'], dead)).toMatchObject([{ severity: 'error', steps: [200, 299] }]);
    const learnt = Array.from({ length: 300 }, (_, i) => Math.round(1e4 * Math.exp(-i / 15)) / 1e4);
    expect(judgeRun(makeRun([{ name: 'loss', values: learnt }])).verdict.class).toBe('healthy');
  });

  it('a loss that is no longer logged beside its columns is not healthy', () => {
    const run = makeRun([
      { name: 'loss', values: fallingLoss(74) },
      { name: 'learning_rate', values: fallingLoss(100) },
    ]);
    expect(judgeRun(run).verdict.class).toBe('inconclusive');
    const stopped = (values: readonly number[]) =>
      judgeRun(
        makeRun([
          { name: 'loss', values },
          { name: 'learning_rate', values: fallingLoss(400) },
        ]),
      ).verdict;
    const from = (change: (loss: number, i: number) => number) => fallingLoss(300).map(change);
    // What is known outranks what is not.
    expect(stopped(from((loss, i) => (i === 150 ? 9 * loss : loss)))).toMatchObject({
      class: 'micro-divergence',
      onsetStep: 150,
    });
    expect(stopped(from((loss, i) => (i < 150 ? loss : 9 * loss))).class).toBe('full-divergence');
    expect(findingsOf(DETECTORS['loss-column-stops'], run)).toMatchObject([
      { severity: 'warning', steps: [73, 73] },
    ]);
  });
});

describe('settings', () => {
  it('come from the thresholds that a user names, whichever detector bears them', () => {
    const values = fallingLoss(1000);
    for (let i = 600; i < 1000; i++) values[i]! *= 3;
    const run = makeRun([{ name: 'loss', values }]);
    const strict = resolveThresholds(
      readThresholds({ 'full-divergence': { fullRatio: 50, lostShare: 50 } }),
    ).settings;
    expect(judgeRun(run).verdict.class).toBe('full-divergence');
    expect(judgeRun(run, strict).verdict.class).toBe('drift');
  });
});

describe('a part that grows from the start', () => {
  const part = (values: readonly number[]) => ({
    name: 'code',
    role: 'task_loss' as const,
    task: 'code',
    values,
  });
  const whole = (values: readonly number[]) => ({ name: 'loss', role: 'loss' as const, values });
  const falling = fallingLoss(400);
  const grows = falling.map((_, i) => 0.02 + (0.6 * i) / (i + 60));
  const classOf = (total: readonly number[], own: readonly number[]) =>
    judgeRun(makeRun([whole(total), part(own)])).verdict.class;

  it('is a term that grows with what is learnt, where the total falls', () => {
    expect(classOf(falling, grows)).toBe('healthy');
  });

  it('is lost where it had learnt, where it is no number, and where the total rises', () => {
    const had = falling.map((loss, i) => (i < 200 ? loss : 30 * loss));
    expect(classOf(falling, had)).toBe('full-divergence');
    expect(
      classOf(
        falling,
        grows.map((value, i) => (i < 390 ? value : Number.NaN)),
      ),
    ).toBe('non-finite');
    expect(classOf(had, grows)).toBe('full-divergence');
  });
});

describe('which incident leads', () => {
  const spikes = (...at: readonly (readonly [number, number])[]): number[] => {
    const values = fallingLoss(1000);
    for (const [from, ratio] of at) for (let i = from; i < from + 5; i++) values[i]! *= ratio;
    return values;
  };

  it('the largest of a class, though a smaller one came first', () => {
    const { class: verdict, onsetStep, why } = verdictOf(spikes([300, 3], [600, 452], [800, 4]));
    expect({ verdict, onsetStep }).toEqual({ verdict: 'micro-divergence', onsetStep: 600 });
    expect(why).toContain('at step 600');
  });

  it('one that is open where the log ends, unless one that came back is larger: then that it is open is said', () => {
    const ends = (ratio: number) => spikes([300, 4]).map((loss, i) => (i < 960 ? loss : ratio * loss));
    const larger = verdictOf(ends(9));
    expect(larger).toMatchObject({ class: 'inconclusive', onsetStep: 960 });
    expect(larger.incidents.map(({ onsetStep }) => onsetStep)).toEqual([300, 960]);
    const { class: verdict, onsetStep, why } = verdictOf(ends(2));
    expect({ verdict, onsetStep }).toEqual({ verdict: 'micro-divergence', onsetStep: 300 });
    expect(why).toContain(
      'A further incident begins at step 960, and the log ends before it could come back.',
    );
  });

  it('of two tasks that came back the larger, of two that are lost the first', () => {
    const tasks = (a: readonly number[], b: readonly number[]) =>
      judgeRun(
        makeRun([
          { name: 'a', role: 'task_loss', task: 'a', values: a },
          { name: 'b', role: 'task_loss', task: 'b', values: b },
        ]),
      ).verdict;
    expect(tasks(spikes([300, 3]), spikes([600, 452])).series).toBe('b');
    const from = (at: number, ratio: number) =>
      fallingLoss(1000).map((loss, i) => (i < at ? loss : ratio * loss));
    expect(tasks(from(300, 3), from(600, 452)).series).toBe('a');
  });
});

describe('losses of both signs', () => {
  const policy = (level: number): number[] =>
    Array.from({ length: 600 }, (_, i) => 0.02 * Math.sin(i ** 2) - 0.013 + (i < 300 ? 0 : level));

  it('that wander about zero do not drift', () => {
    expect(verdictOf(policy(0.03))).toMatchObject({ class: 'healthy', incidents: [] });
  });

  it('that leave their noise are lost, and the finding gives values and no ratio', () => {
    const run = makeRun([{ name: 'loss', values: policy(4) }]);
    expect(judgeRun(run).verdict).toMatchObject({ class: 'full-divergence', onsetStep: 300 });
    const [finding] = findingsOf(DETECTORS['full-divergence'], run);
    expect(finding).toMatchObject({
      measured: { name: 'peak', unit: 'loss' },
      threshold: { name: 'upper edge of the band before', unit: 'loss' },
    });
    expect(finding!.measured!.value).toBeCloseTo(4, 1);
    expect(finding!.threshold!.value).toBeLessThan(0.3);
  });
});

describe('columns of one loss', () => {
  const long = (
    values: readonly number[],
    name = 'train/loss',
    lossLike: 'same' | 'part' = 'same',
  ): SeriesSpec => ({
    name,
    role: 'other',
    lossLike,
    values,
    steps: values.map((_, i) => 20 * i),
  });
  const early: SeriesSpec[] = [
    { name: 'loss', values: fallingLoss(100) },
    { name: 'grad_norm', values: fallingLoss(100, 4) },
    { name: 'score', values: fallingLoss(2000, 3) },
  ];
  const up = (from: number, ratio: number): number[] =>
    fallingLoss(100, 7).map((loss, i) => (i < from ? loss : ratio * loss));

  it('that ends by design is no stop where the loss goes on under another name, and that one decides', () => {
    const run = makeRun([...early, long(fallingLoss(100, 7))]);
    const { verdict } = judgeRun(run);
    expect(verdict).toMatchObject({ class: 'healthy', series: 'train/loss' });
    expect(verdict.why).toBe(
      '"train/loss" stays in its band over 100 points. "loss" is logged to step 99 only.',
    );
    const beside = makeRun([
      ...early,
      { name: 'lr', role: 'learning_rate', values: fallingLoss(400) },
      long(fallingLoss(100, 7)),
    ]);
    expect(judgeRun(beside).verdict.class).toBe('healthy');
  });

  it('never hide a lost run, in whichever it shows', () => {
    for (const name of ['part', 'same'] as const) {
      const { verdict } = judgeRun(makeRun([...early, long(up(50, 30), 'train/x_loss', name)]));
      expect(verdict).toMatchObject({ class: 'full-divergence', series: 'train/x_loss', onsetStep: 1000 });
    }
    // The other column ends too: nobody knows what became of the loss.
    const both = makeRun([
      { name: 'loss', values: fallingLoss(100) },
      { name: 'lr', role: 'learning_rate', values: fallingLoss(400) },
      long(fallingLoss(4, 7)),
    ]);
    expect(judgeRun(both).verdict.class).toBe('inconclusive');
    expect(findingsOf(DETECTORS['loss-column-stops'], both)).toMatchObject([{ severity: 'warning' }]);
  });

  it('show the end of an incident that a column which stops leaves open, or that it has none', () => {
    const evaluated = fallingLoss(2000, 7).filter((_, i) => i % 20 === 0);
    const verdict = (end: number, change: (loss: number, step: number) => number = (loss) => loss) =>
      judgeRun(
        makeRun([
          { name: 'loss', values: fallingLoss(100).fill(end, 50) },
          { name: 'grad_norm', values: fallingLoss(100, 4) },
          long(evaluated.map((loss, i) => change(loss, 20 * i))),
        ]),
      ).verdict;
    const back = verdict(40);
    expect(back).toMatchObject({ class: 'micro-divergence', onsetStep: 50 });
    expect(back.recoveredStep).toBeGreaterThanOrEqual(100);
    expect(back.incidents).toMatchObject([{ series: 'loss', recoveredIn: 'train/loss', after: 40 }]);
    expect(back.why).toMatch(/is at 40 where it ends; "train\/loss" goes on and is back at step \d+\.$/);
    // From the last point on at which it was not.
    expect(verdict(40, (loss, step) => (step === 1600 ? 40 : loss)).recoveredStep).toBe(1620);
    // Never, but at one point, the last; and not below its own level before, though it is lower by nature.
    for (const change of [
      (loss: number, step: number) => (step > 60 ? 40 : loss),
      (loss: number, step: number) => (step > 60 && step < 1980 ? 40 : loss),
      (loss: number, step: number) => (step < 60 ? 0.1 * loss : 0.9 * loss),
    ]) {
      const lost = verdict(40, change);
      expect([lost.class, lost.recoveredStep]).toEqual(['full-divergence', null]);
    }
    expect(verdict(Number.NaN)).toMatchObject({ class: 'non-finite', onsetStep: 50 });
  });

  it('too few points of what goes on are too few', () => {
    expect(
      judgeRun(makeRun([...early, { ...long([]), values: [3, 2, 1], steps: [0, 1000, 2000] }])).verdict.class,
    ).toBe('inconclusive');
  });

  it('an evaluated training loss counts beside a loss that reaches the end: a rise does, a jump that came back does not', () => {
    const loss: SeriesSpec = { name: 'loss', values: fallingLoss(2000) };
    const rises = fallingLoss(100, 7).map((one, i) => one * Math.exp(i < 40 ? 0 : (i - 40) / 30));
    expect(judgeRun(makeRun([loss, long(rises)])).verdict).toMatchObject({
      series: 'train/loss',
      class: 'drift',
    });
    const spiky = fallingLoss(100, 7).map((one, i) => (i === 50 ? 9 * one : one));
    expect(judgeRun(makeRun([loss, long(spiky)])).verdict).toMatchObject({
      series: 'loss',
      class: 'healthy',
    });
    // A part is no evaluation of the whole.
    expect(judgeRun(makeRun([loss, long(rises, 'kl_loss', 'part')])).verdict.class).toBe('healthy');
  });

  it('a lost task that is a small part of the total does not decide', () => {
    const task = (scale: number): SeriesSpec => ({
      name: 'aux_loss',
      role: 'task_loss',
      task: 'aux',
      values: fallingLoss(600, 2).map((loss, i) => scale * (i < 300 ? loss : 4 * loss)),
    });
    const verdict = (scale: number) =>
      judgeRun(makeRun([{ name: 'loss', values: fallingLoss(600) }, task(scale)]));
    expect(verdict(0.01).verdict).toMatchObject({ class: 'healthy', series: 'loss' });
    expect(verdict(0.01).tasks).toMatchObject([{ class: 'full-divergence', onsetStep: 300 }]);
    expect(verdict(1).verdict).toMatchObject({ class: 'full-divergence', series: 'aux_loss' });
  });
});

describe('steps that a loss scaler skipped', () => {
  const nanAt = (...at: readonly number[]): number[] => {
    const values = fallingLoss(400);
    for (const i of at) values[i] = Number.NaN;
    return values;
  };
  /** Halves at each of the steps. */
  const scale = (...at: readonly number[]): SeriesSpec => ({
    name: 'loss_scale',
    values: Array.from({ length: 400 }, (_, i) => 65536 / 2 ** at.filter((step) => step <= i).length),
  });
  const severity = (id: 'non-finite-loss' | 'non-finite-gradient-norm', ...series: SeriesSpec[]) =>
    findingsOf(DETECTORS[id], makeRun(series)).map((finding) => finding.severity);

  it('are a note and no incident; NaN that came back without one is an error', () => {
    const loss: SeriesSpec = { name: 'loss', values: nanAt(200) };
    expect(severity('non-finite-loss', loss)).toEqual(['error']);
    expect(judgeRun(makeRun([loss])).verdict.class).toBe('micro-divergence');
    expect(severity('non-finite-loss', loss, scale(200))).toEqual(['note']);
    expect(judgeRun(makeRun([loss, scale(200)])).verdict).toMatchObject({ class: 'healthy', incidents: [] });
    // The scale did not fall there, or not at all of them.
    expect(severity('non-finite-loss', loss, scale(100))).toEqual(['error']);
    expect(severity('non-finite-loss', { name: 'loss', values: nanAt(100, 200) }, scale(100))).toEqual([
      'error',
    ]);
  });

  it('that go on to the end, or for more than five points, are a dead run', () => {
    const halves = Array.from({ length: 100 }, (_, i) => 300 + i);
    const dead: SeriesSpec = { name: 'loss', values: nanAt(...halves) };
    expect(judgeRun(makeRun([dead, scale(...halves)])).verdict).toMatchObject({
      class: 'non-finite',
      onsetStep: 300,
    });
    expect(severity('non-finite-loss', dead, scale(...halves))).toEqual(['error']);
    const six = [200, 201, 202, 203, 204, 205];
    expect(severity('non-finite-loss', { name: 'loss', values: nanAt(...six) }, scale(...six))).toEqual([
      'error',
    ]);
  });

  it('in gradient norms are a note, and a warning without a scale that falls', () => {
    const norm: SeriesSpec = {
      name: 'grad_norm',
      values: nanAt(50, 120).map((one) => (Number.isNaN(one) ? Infinity : one)),
    };
    expect(severity('non-finite-gradient-norm', norm)).toEqual(['warning']);
    expect(severity('non-finite-gradient-norm', norm, scale(50, 120))).toEqual(['note']);
    expect(severity('non-finite-gradient-norm', norm, scale(50))).toEqual(['warning']);
  });

  it('at the very beginning, where the scaler looks for its scale, are a note too', () => {
    const loss: SeriesSpec = { name: 'loss', values: nanAt(0, 1, 2) };
    expect(severity('non-finite-loss', loss, scale(0, 1, 2))).toEqual(['note']);
    expect(judgeRun(makeRun([loss, scale(0, 1, 2)])).verdict).toMatchObject({
      class: 'healthy',
      incidents: [],
    });
    expect(severity('non-finite-loss', loss, scale(50))).toEqual(['error']);
  });
});

describe('an AUC that falls to chance and stays there', () => {
  const auc = (fallsAt: number, points = 40): SeriesSpec => ({
    name: 'auc',
    values: Array.from({ length: points }, (_, i) => (i < fallsAt ? 0.7 + 0.002 * i : 0.5)),
    steps: Array.from({ length: points }, (_, i) => 10 * i),
  });
  const judged = (loss: readonly number[], ...more: readonly SeriesSpec[]) =>
    judgeRun(makeRun([{ name: 'loss', values: loss }, ...more])).verdict;

  it('makes a run lost whose loss is healthy, from there on; one that stays learnt does not', () => {
    const verdict = judged(fallingLoss(400), auc(24));
    expect(verdict).toMatchObject({
      class: 'full-divergence',
      series: 'auc',
      onsetStep: 240,
      lastGoodStep: 230,
      recoveredStep: null,
    });
    expect(verdict.incidents).toMatchObject([{ series: 'auc', onsetStep: 240, peakStep: 240, peak: 0.5 }]);
    expect(verdict.why).toContain('"auc" is at chance from step 240 to the end, after 0.744.');
    expect(judged(fallingLoss(400), auc(40))).toMatchObject({ class: 'healthy', incidents: [] });
  });

  it('began where the loss left its band for good before it, and not where the loss came back', () => {
    const open = fallingLoss(400).map((loss, i) => (i < 395 ? loss : 1.9 * loss));
    expect(judged(open)).toMatchObject({ class: 'inconclusive', onsetStep: 395 });
    expect(judged(open, auc(24))).toMatchObject({ series: 'auc', onsetStep: 240, lastGoodStep: 230 });
    const later = { ...auc(24), steps: Array.from({ length: 40 }, (_, i) => 376 + i) };
    expect(judged(open, later)).toMatchObject({ series: 'auc', onsetStep: 395, lastGoodStep: 394 });
    const back = fallingLoss(400).map((loss, i) => (i >= 100 && i < 110 ? 9 * loss : loss));
    expect(judged(back, auc(24))).toMatchObject({ series: 'auc', onsetStep: 240 });
    expect(judged(back, auc(24)).incidents.map(({ onsetStep }) => onsetStep)).toEqual([100, 240]);
  });

  it('adds nothing to a loss that is lost by itself', () => {
    const lost = fallingLoss(400).fill(40, 300);
    expect(judged(lost, auc(24))).toEqual(judged(lost));
  });
});

describe('several incidents of one series', () => {
  it('come in the order of their onsets; a jump within a climb is a part of it', () => {
    const values = Array.from({ length: 800 }, (_, i) => {
      const level = (0.4 + Math.exp(-i / 40)) * (i < 400 ? 1 : 4 ** ((i - 400) / 400));
      const jumps = (i >= 200 && i < 208) || (i >= 600 && i < 608);
      return level * (1 + 0.03 * Math.sin(7 * i)) * (jumps ? 12 : 1);
    });
    const { incidents } = verdictOf(values);
    expect(incidents.length).toBe(2);
    expect(incidents[0]).toMatchObject({ onsetStep: 200, recoveredStep: 208, lastGoodStep: 199 });
    expect(incidents[1]!.onsetStep).toBeGreaterThan(395);
    expect(incidents[1]!.onsetStep).toBeLessThan(500);
  });
});

describe('the sentence about an incident', () => {
  const say = (found: Partial<SeriesIncident>, incident: object): string =>
    explain(
      'loss',
      { form: 'jump', before: 0.5, after: 3, ...found } as SeriesIncident,
      {
        class: 'full-divergence',
        onsetStep: 10,
        peakStep: 12,
        peak: 9,
        recoveredStep: null,
        ...incident,
      } as never,
      'step',
    );

  it.each<[string, Partial<SeriesIncident>, object]>([
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5, peaks at 9 at step 12 and does not come back: its last level is 3.',
      {},
      {},
    ],
    [
      '"loss" leaves its usual range at step 10, peaks at 9 at step 12 and does not come back: its last level is 3.',
      { before: Number.NaN },
      {},
    ],
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5, peaks at 9 at step 12 and is back too late, at step 20.',
      {},
      { recoveredStep: 20 },
    ],
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5, peaks at 9 at step 12 and is back at step 20.',
      {},
      { class: 'micro-divergence', recoveredStep: 20 },
    ],
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5, peaks at 9 at step 12 and is at 3 where the log ends, before it could come back.',
      {},
      { class: 'inconclusive' },
    ],
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5 and is not finite from step 12 to the end.',
      {},
      { class: 'non-finite', peak: Number.NaN },
    ],
    [
      '"loss" leaves its usual range at step 10 from a median of 0.5 and is exactly 0 from step 12 to the end: a dead run.',
      {},
      { class: 'non-finite', peak: 0 },
    ],
    [
      '"loss" climbs from step 10 on, from its best level of 0.5, and ends at 3.',
      { form: 'climb' },
      { class: 'drift' },
    ],
  ])('%s', (sentence, found, incident) => {
    expect(say(found, incident)).toBe(sentence);
  });

  it('of none says why nothing could be judged: too few points, or an end that is unknown', () => {
    const whyOf = (points: number): string =>
      judgeRun(
        makeRun([
          { name: 'loss', values: fallingLoss(points) },
          { name: 'learning_rate', values: fallingLoss(60) },
        ]),
      ).verdict.why;
    expect(whyOf(40)).toBe('"loss" stops while other columns go on, so its end is unknown.');
    expect(verdictOf(fallingLoss(5)).why).toBe('"loss" has 5 points, too few to judge.');
    expect(whyOf(60)).toBe('"loss" stays in its band over 60 points.');
  });

  it('says the epoch of the onset where the log tells how many batches one has', () => {
    const values = fallingLoss(300).map((value, i) => (i >= 200 ? 20 * value : value));
    const whyOf = (losses: readonly number[], first: number, batches: number): string =>
      judgeRun({ ...makeRun([{ name: 'loss', values: losses }]), epochs: { first, batches } }).verdict.why;
    expect(whyOf(values, 5, 60)).toMatch(/ That step is batch 20 of epoch 3\.$/);
    // Batches are counted from the number of the very first.
    expect(whyOf(values, 0, 200)).toMatch(/ That step is batch 0 of epoch 1\.$/);
    expect(whyOf(values, 1, 200)).toMatch(/ That step is batch 200 of epoch 0\.$/);
    expect(whyOf(values, 1, 199)).toMatch(/ That step is batch 1 of epoch 1\.$/);
    expect(whyOf(fallingLoss(300), 5, 60)).not.toContain('epoch');
    expect(verdictOf(values).why).not.toContain('epoch');
  });
});
describe('a loss that grows from zero, as that of GRPO does, without a reward beside it', () => {
  const judged = (size: (i: number) => number) => {
    const next = random(5);
    const values = Array.from({ length: 500 }, (_, i) =>
      i === 0 ? 0 : 0.004 * (1 - Math.exp(-i / 120)) * (0.8 + 0.4 * next()) * size(i),
    );
    return judgeRun(makeRun([{ name: 'loss', values }])).verdict;
  };
  it('cannot be told by its growth, and says so', () => {
    const verdict = judged(() => 1);
    expect(verdict.class).toBe('inconclusive');
    expect(verdict.why).toContain('begins at zero and grows');
    expect(verdict.incidents).toEqual([]);
  });
  it('is lost where it jumps from its level for good, or is no number', () => {
    expect(judged((i) => (i < 300 ? 1 : 400))).toMatchObject({
      class: 'full-divergence',
      onsetStep: 300,
    });
    expect(judged((i) => (i < 400 ? 1 : Number.NaN))).toMatchObject({ class: 'non-finite', onsetStep: 400 });
  });
  it('is another where the first value alone is zero', () => {
    const values = Array.from({ length: 300 }, (_, i) => (i === 0 ? 0 : 2 * Math.exp(-i / 100) + 0.3));
    expect(judgeRun(makeRun([{ name: 'loss', values }])).verdict.class).toBe('healthy');
  });
});

describe('a value loss without a reward beside it', () => {
  const judged = (level: (i: number) => number) => {
    const next = random(7);
    const values = Array.from({ length: 300 }, (_, i) => 0.2 * level(i) * (0.9 + 0.2 * next()));
    return judgeRun(makeRun([{ name: 'value_loss', role: 'task_loss', values }])).verdict;
  };
  it('cannot be told by its growth, and says so', () => {
    const verdict = judged((i) => 1 + (i / 60) ** 2);
    expect(verdict).toMatchObject({ class: 'inconclusive', onsetStep: null, incidents: [] });
    expect(verdict.why).toContain('no reward shows how the run goes over 300 points.');
  });
  it('is well where it falls, and lost where it is no number', () => {
    expect(judged((i) => 0.2 + Math.exp(-i / 40)).class).toBe('healthy');
    expect(judged((i) => (i < 200 ? 1 + i / 60 : Number.NaN))).toMatchObject({
      class: 'non-finite',
      onsetStep: 200,
    });
  });
});
