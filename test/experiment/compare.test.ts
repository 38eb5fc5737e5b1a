/** Two runs compared: logs as a reviewer made them, ledgers of PyTorch with one change each, and the healthy twins. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { comparePaths } from '../../src/app/engine/compare-inputs.ts';
import { differenceOf, type Fact } from '../../src/experiment/compare/facts.ts';
import { EXACT, gapBetween, loggedUnit } from '../../src/experiment/compare/readings.ts';
import type { RunComparison } from '../../src/model/comparison.ts';
import { runOfCapture } from '../../src/read/captures/as-run.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { openLedger } from '../../src/read/ledger/read.ts';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-compare-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const compare = (
  a: string,
  b: string,
  more: { floor?: string[]; until?: number } = {},
): Promise<RunComparison> => comparePaths({ a: [a], b: [b], ...more }, {});

// ---- logs

/** Normal numbers from a seed (Park–Miller and Box–Muller). */
function gauss(seed: number): () => number {
  let state = seed * 7919 + 1;
  const next = (): number => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
}

interface Made {
  readonly seed?: number;
  /** Relative noise of the arithmetic, which grows over the first 50 steps. */
  readonly noise?: number;
  readonly noiseSeed?: number;
  readonly change?: (loss: number, step: number) => number;
  readonly rate?: (step: number) => number;
  readonly steps?: number;
}

function log(
  name: string,
  { seed = 1, noise = 0, noiseSeed = 999, change, rate, steps = 600 }: Made = {},
): string {
  const folder = join(scratch, name);
  mkdirSync(folder, { recursive: true });
  const [batches, kernels] = [gauss(seed), gauss(noiseSeed)];
  const lines = Array.from({ length: steps }, (_, step) => {
    let loss = 0.45 + 2.5 * Math.exp(-step / 60) + 0.02 * batches();
    if (noise > 0) loss *= 1 + noise * kernels() * Math.min(1, step / 50);
    loss = change?.(loss, step) ?? loss;
    return JSON.stringify({ step, loss: Number.isFinite(loss) ? loss : 'NaN', lr: rate?.(step) ?? 3e-3 });
  });
  writeFileSync(join(folder, 'log.jsonl'), `${lines.join('\n')}\n`);
  return folder;
}

const from = (at: number, then: (loss: number, step: number) => number) => (loss: number, step: number) =>
  step >= at ? then(loss, step) : loss;

describe('two logs', () => {
  const a = log('a');

  it('are the same where every digit is', async () => {
    const found = await compare(a, log('same'));
    expect(found).toMatchObject({
      verdict: 'same',
      paired: true,
      differsAt: null,
      partsAt: null,
      forGoodFrom: null,
    });
    expect(found.statement).toMatch(/^The runs are the same in every digit that was logged: 600 steps/);
  });

  it('are apart from the first step of a small, lasting rise that a paired record shows', async () => {
    const slow = log('slow', { change: from(237, (loss, step) => loss + 2e-4 * (step - 236)) });
    const found = await compare(a, slow);
    expect(found).toMatchObject({
      verdict: 'apart',
      paired: true,
      differsAt: { step: 237, link: 'loss' },
      partsAt: { step: 237 },
      forGoodFrom: 237,
    });
    expect(found.end!.relative).toBeGreaterThan(0.1);
    expect(found.statement).toMatch(/for 237 steps and differ from step 237 on/);
    expect(found.statement).not.toMatch(/do not part/i);
  });

  it('name an option that changed before the loss did', async () => {
    const rate = log('lr', {
      rate: (step) => (step >= 200 ? 6e-3 : 3e-3),
      change: from(237, (loss) => loss + 0.05),
    });
    const found = await compare(a, rate);
    expect(found).toMatchObject({
      verdict: 'apart',
      partsAt: { step: 200, link: 'options', tensor: 'lr', size: null },
    });
    expect(found.statement).toMatch(/the loss differs from step 237 by/);
  });

  it.each([
    ['one of a millionth from a step on', { change: from(237, (loss) => loss * (1 + 1e-6)) }, 'same'],
    ['float32 kernels', { noise: 1e-7 }, 'same'],
    ['bfloat16 kernels', { noise: 3e-3 }, 'cannot-tell'],
  ] as const)('%s are never called apart', async (name, made, verdict) => {
    const found = await compare(a, log(`rounded ${name}`, made));
    expect(found).toMatchObject({ verdict, paired: true, partsAt: null });
    expect(found.differsAt).not.toBeNull();
    expect(found.statement).toMatch(/differ from step \d+ on, first in the loss by/);
  });

  it('with three repeats tell bfloat16 kernels from a fault of the same size at its start', async () => {
    const repeats = [5, 6, 7].map((noiseSeed) => log(`repeat ${noiseSeed}`, { noise: 3e-3, noiseSeed }));
    const floor = { floor: repeats };
    const again = await compare(a, log('again', { noise: 3e-3, noiseSeed: 8 }), floor);
    expect(again).toMatchObject({ verdict: 'same', floor: { kind: 'measured' } });
    const fault = { noise: 3e-3, noiseSeed: 9, change: from(300, (loss: number) => loss * 1.1) };
    const found = await compare(a, log('fault', fault), floor);
    expect(found).toMatchObject({ verdict: 'apart', floor: { kind: 'measured' } });
    expect(found.partsAt!.step).toBeGreaterThanOrEqual(290);
    expect(found.partsAt!.step).toBeLessThanOrEqual(310);
  });

  it('of two seeds are the same where only the seed differs, and apart where one ends higher', async () => {
    const seeds = await compare(a, log('seed 2', { seed: 2 }));
    expect(seeds).toMatchObject({ paired: false, floor: { kind: 'seeds' } });
    expect(seeds.verdict).not.toBe('apart');
    const rising = { seed: 2, change: from(237, (loss: number, step: number) => loss + 4e-4 * (step - 236)) };
    const found = await compare(a, log('slow 2', rising));
    expect(found).toMatchObject({ verdict: 'apart', paired: false });
    expect(found.partsAt!.step).toBeGreaterThan(237);
  });

  it('that are two hundred times apart at the first step part there', async () => {
    const blown = log('blown', {
      seed: 3,
      change: (loss, step) => (step < 40 ? loss * 200 * 0.9 ** step : loss * 4),
    });
    const found = await compare(a, blown);
    expect(found).toMatchObject({
      verdict: 'apart',
      paired: false,
      partsAt: { step: 0 },
      forGoodFrom: expect.any(Number),
    });
  });

  it('of which one ends in NaN are apart from there', async () => {
    const found = await compare(a, log('nan', { change: from(400, () => Number.NaN) }));
    expect(found).toMatchObject({ verdict: 'apart', partsAt: { step: 400 }, forGoodFrom: 400 });
  });

  it('of unequal length are compared over what both have', async () => {
    const found = await compare(a, log('short', { steps: 100 }));
    expect(found).toMatchObject({ verdict: 'same', compared: { steps: 100, to: 99 } });
    const until = await compare(a, log('late', { change: from(300, (loss) => loss * 2) }), { until: 299 });
    expect(until.verdict).toBe('same');
  });

  it('of several seeds a side say how many seeds would tell', async () => {
    const side = (name: string, change?: Made['change']): string[] =>
      [11, 12, 13, 14].map((seed) =>
        log(`${name} ${seed}`, { seed, ...(change === undefined ? {} : { change }) }),
      );
    const first = side('first');
    const higher = await comparePaths({ a: first, b: side('higher', (loss) => loss * 1.2) }, {});
    expect(higher).toMatchObject({ verdict: 'apart', seeds: { pairs: 4 } });
    expect(higher.seeds!.difference).toBeCloseTo(0.2, 3);
    const others = [21, 22, 23, 24].map((seed) => log(`others ${seed}`, { seed }));
    const none = await comparePaths({ a: first, b: others }, {});
    expect(none.verdict).not.toBe('apart');
    expect(none.seeds!.seedsToTell.seeds).toBeGreaterThan(4);
  });
});

// ---- ledgers

const ledgers = join(projectRoot, 'fixtures/ledgers');
const ledger = (name: string): string => join(ledgers, name, 'ledger');

describe('two ledgers', () => {
  it('of the same code are the same to the bit', async () => {
    const found = await compare(ledger('base'), ledger('again'));
    expect(found).toMatchObject({ verdict: 'same', differsAt: null });
    expect(found.compared.links).toEqual([
      'batch',
      'rng',
      'options',
      'weights',
      'loss',
      'gradient',
      'clip',
      'state',
      'update',
    ]);
    expect(found.statement).toMatch(/^The runs are the same to the bit: 8 steps/);
  });

  it.each([
    ['batch', 'batch', null],
    ['rate', 'options', '0.lr'],
    ['weights', 'weights', '2.bias'],
    ['state', 'state', '0.weight'],
    ['gradient', 'gradient', '2.weight'],
    ['clip', 'clip', null],
    ['update', 'update', '0.weight'],
  ])('with another %s from step 5 on name the link and the tensor', async (name, link, tensor) => {
    const found = await compare(ledger('base'), ledger(name));
    expect(found).toMatchObject({ verdict: 'apart', paired: true, differsAt: { step: 5, link, tensor } });
    expect(found.partsAt).toEqual(found.differsAt);
    if (link === 'gradient') expect(found.differsAt!.size).toBeCloseTo(0.01, 2);
  });

  it('of two seeds have different starts', async () => {
    const found = await compare(ledger('base'), ledger('seed'));
    expect(found).toMatchObject({ paired: false, differsAt: { step: 0, link: 'batch' } });
  });

  it('are read with their batch ids, whole up to what is damaged', async () => {
    const opened = await openLedger(ledger('base'));
    expect(await opened.ids(3)).toEqual([24, 25, 26, 27, 28, 29, 30, 31]);
    expect(opened.taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(opened.sessions[0]!.tensors.map(({ name }) => name)).toEqual([
      '0.weight',
      '0.bias',
      '2.weight',
      '2.bias',
    ]);
  });
});

describe('captures and checkpoints', () => {
  const of = (path: string): string => join(projectRoot, 'fixtures', path);

  it('of one run are the same to the bit; of two seeds the losses before the recorded steps differ', async () => {
    const same = await compare(of('captures/seed-2'), of('captures/seed-2'));
    expect(same).toMatchObject({ verdict: 'same', differsAt: null });
    const found = await compare(of('incident/capture'), of('captures/seed-2'));
    expect(found.differsAt).toMatchObject({ step: 0, link: 'loss' });
  });

  it('two checkpoints name the first tensor and its size, whatever their steps', async () => {
    const [a, b] = ['incident/capture/initial.safetensors', 'captures/seed-2/initial.safetensors'].map(of);
    expect(await compare(a!, a!)).toMatchObject({ verdict: 'same', differsAt: null });
    const found = await compare(a!, b!);
    expect(found).toMatchObject({
      verdict: 'apart',
      differsAt: { link: 'weights', tensor: expect.any(String) },
    });
    expect(found.statement).toMatch(/^The checkpoints differ, first in the weights of \S+ by/);
  });
});

// ---- unlike records of one run

describe('a log, a capture and a ledger of one run', () => {
  const capturePath = join(projectRoot, 'fixtures/captures/seed-2');
  const losses = async (): Promise<(readonly [number, number])[]> => {
    const [series] = runOfCapture(await openCapture(capturePath)).series;
    return Array.from(series!.step, (step, k) => [step, series!.value.at(k)!] as const);
  };
  /** A folder with a log of some losses and, unless it is left out, the capture. */
  function folder(name: string, lines: readonly string[], withCapture = false): string {
    const made = join(scratch, name);
    mkdirSync(made, { recursive: true });
    writeFileSync(join(made, 'train.log'), `${lines.join('\n')}\n`);
    if (withCapture) cpSync(capturePath, join(made, 'capture'), { recursive: true });
    return made;
  }
  const printed = (points: readonly (readonly [number, number])[], digits: number): string[] =>
    points.map(([step, loss]) => `step ${step} loss ${loss.toFixed(digits)}`);
  const SAME = { verdict: 'same', differsAt: null, partsAt: null };

  it.each([
    [4, 'a capture'],
    [6, 'a capture'],
    [2, 'a log of six digits'],
  ])('a log of %i digits has no difference from %s', async (digits, other) => {
    const points = await losses();
    const coarse = folder(`digits ${digits} ${other}`, printed(points, digits));
    const fine = other === 'a capture' ? capturePath : folder('six', printed(points, 6));
    for (const [a, b] of [
      [coarse, fine],
      [fine, coarse],
    ] as const) {
      const found = await compare(a, b);
      expect(found).toMatchObject(SAME);
      expect(found.statement).toMatch(/^The runs are the same in every digit that was logged: \d+ steps/);
    }
  });

  it('a difference that the digits show is found at its step, and one that they hide is not claimed', async () => {
    const points = await losses();
    const changed = points.map(([step, loss], k) => [step, k < 25 ? loss : loss + 0.004] as const);
    const found = await compare(folder('changed', printed(changed, 4)), capturePath);
    expect(found).toMatchObject({ verdict: 'apart', differsAt: { step: points[25]![0], link: 'loss' } });
    const hidden = points.map(([step, loss], k) => [step, k < 25 ? loss : loss * (1 + 1e-6)] as const);
    expect((await compare(folder('hidden', printed(hidden, 2)), capturePath)).differsAt).toBeNull();
    // One unit of the last digit may be a rounded bit: it is reported, and not judged.
    const unit = points.map(([step, loss], k) => [step, k < 25 ? loss : loss + 0.01] as const);
    const last = await compare(folder('unit', printed(unit, 2)), folder('two', printed(points, 2)));
    expect(last).toMatchObject({ verdict: 'cannot-tell', differsAt: { link: 'loss' } });
    expect(last.statement).not.toMatch(/× what its arithmetic makes/);
  });

  it('logs of means are compared with each other, wherever one run has a capture beside', async () => {
    const points = await losses();
    const means = printed(
      points.map(([step, loss]) => [step, loss * 1.2] as const),
      6,
    );
    const [a, b] = [folder('means a', means, true), folder('means b', means)];
    expect(await compare(a, b)).toMatchObject(SAME);
    expect(await compare(b, a)).toMatchObject(SAME);
    const changed = means.map((line, k) => (k < 12 ? line : `${line.slice(0, -4)}9999`));
    const found = await compare(a, folder('means c', changed));
    expect(found.differsAt).toMatchObject({ step: points[12]![0], link: 'loss' });
  });

  it.each([
    ['the step of the line', 0],
    ['the step before', 1],
  ])('a log of means over intervals that end with %s is that of single steps', async (name, late) => {
    const points = await losses();
    const of = (from: number, wrong: (loss: number) => number = (loss) => loss): string[] => {
      const means: [number, number][] = [];
      for (let k = late; k + 5 <= points.length - 1; k += 5) {
        const own = points.slice(k, k + 5).map(([, loss], i) => (k + i < from ? loss : wrong(loss)));
        means.push([points[k + 4]![0] + late, own.reduce((sum, loss) => sum + loss, 0) / 5]);
      }
      return printed(means, 6);
    };
    const whole = folder(`means of five ${name}`, of(0));
    expect(await compare(whole, capturePath)).toMatchObject(SAME);
    expect(await compare(capturePath, whole)).toMatchObject(SAME);
    const half = Math.floor(points.length / 2);
    const changed = folder(
      `means that part ${name}`,
      of(half, (loss) => 1.3 * loss),
    );
    const found = await compare(changed, capturePath);
    expect(found).toMatchObject({ verdict: 'apart', differsAt: { link: 'loss' } });
    const at = found.differsAt!.step - points[half]![0];
    expect(at).toBeGreaterThanOrEqual(0);
    expect(at).toBeLessThan(6);
    // A log of every fifth step has no means.
    const every = points.filter((_, k) => k % 5 === 0);
    expect(await compare(folder(`every fifth ${name}`, printed(every, 6)), capturePath)).toMatchObject(SAME);
  });

  it('a ledger and a log, or a ledger and a capture, differ in nothing that both have', async () => {
    const { steps } = await openLedger(ledger('base'));
    const lines = [...steps.values()].map(({ step, loss }) => `step ${step} loss ${loss.toFixed(4)}`);
    expect(await compare(ledger('base'), folder('of a ledger', lines))).toMatchObject(SAME);
    const options = (record: 'ledger' | 'capture', cells: [string, number][]): readonly Fact[] => [
      { record, kind: 'cells', cells: new Map(cells) },
    ];
    const [both, one] = [
      options('ledger', [
        ['0.lr', 0.1],
        ['0.momentum', 0.9],
      ]),
      options('capture', [['0.lr', 0.1]]),
    ];
    expect(await differenceOf(both, one)).toBeNull();
    expect(await differenceOf(both, options('ledger', [['0.lr', 0.1]]))).toMatchObject({
      tensor: '0.momentum',
    });
    expect(await differenceOf(both, one, true)).toBeUndefined();
  });
});

describe('the unit of logged numbers', () => {
  const numbers = [0.45213, 1.30021, 12.44207, 0.09914, 3.2];
  it.each([
    ['decimals', numbers, 1e-5, 1e-5],
    ['digits', numbers.map((x) => Number(x.toPrecision(4))), 1e-3, 1e-5],
    ['single precision', numbers.map(Math.fround), 2 ** -23, 2 ** -28],
  ])('is that of their %s', (_, values, atOne, small) => {
    const unit = loggedUnit(Float64Array.from(values));
    expect(unit(1.3)).toBeCloseTo(atOne, 12);
    expect(unit(0.05)).toBeCloseTo(small, 12);
  });

  it('is zero where too few are there, or rates are short because they were chosen', () => {
    expect(loggedUnit(Float64Array.of(0.5, 0.5, 0.25))).toBe(EXACT);
    expect(loggedUnit(new Float64Array(0))).toBe(EXACT);
    expect(loggedUnit(Float64Array.of(1e-4, 2e-4, 3e-4, 1e-3), 3)).toBe(EXACT);
    expect(loggedUnit(Float64Array.of(1e-4, 2e-4, 3e-4, 1e-3))).not.toBe(EXACT);
  });

  it('hides what the coarser of two numbers hides, and nothing of two alike', () => {
    const [fine, coarse] = [
      { value: 0.45213, unit: 0 },
      { value: 0.452, unit: 1e-3 },
    ];
    expect(gapBetween(fine, coarse).size).toBe(0);
    expect(gapBetween(coarse, { value: 0.453, unit: 1e-3 })).toMatchObject({ certain: expect.closeTo(0, 6) });
    expect(gapBetween(coarse, { value: 0.453, unit: 1e-3 }).size).toBeCloseTo(0.0022, 4);
    expect(gapBetween(fine, { value: Number.NaN, unit: 0 }).certain).toBe(Number.POSITIVE_INFINITY);
  });
});

// ---- the command

describe('clippy-diag compare', () => {
  it('exits with 0, 1 and 4, and prints the document', async () => {
    const [base, again, rate] = [ledger('base'), ledger('again'), ledger('rate')];
    expect((await cli(['compare', base, again])).code).toBe(0);
    const apart = await cli(['compare', base, rate, '--json']);
    expect(apart.code).toBe(1);
    expect(JSON.parse(apart.out).comparison).toMatchObject({
      verdict: 'apart',
      runs: { a: [base], b: [rate] },
    });
    const nothing = await cli([
      'compare',
      log('early', { steps: 3 }),
      log('other seed', { seed: 9, steps: 3 }),
    ]);
    expect(nothing.code).toBe(4);
  });

  it('says what is wrong with a command line', async () => {
    expect((await cli(['compare', ledger('base')])).code).toBe(2);
    const sweep = join(scratch, 'sweep');
    log('sweep/one');
    log('sweep/two', { seed: 2 });
    const several = await cli(['compare', sweep, ledger('base')]);
    expect(several.code).toBe(2);
    expect(several.err).toMatch(/holds 2 runs/);
  });

  it('is what analyze --compare says', async () => {
    const [a, b] = [log('x'), log('y', { change: from(100, (loss) => loss * 1.5) })];
    const own = JSON.parse((await cli(['compare', a, b, '--json'])).out).comparison;
    const report = JSON.parse((await cli(['analyze', a, b, '--compare', '--json'])).out);
    // A report is drawn, so that it has the points of the page too.
    const { picture, ...comparison } = report.comparison;
    expect(comparison).toEqual(own);
    expect(picture.losses.steps.length).toBeGreaterThan(0);
    expect((await cli(['analyze', a, b, '--compare'])).out).toMatch(/differ\s+from step 100 on/);
  });
});

it('hashes of batches say nothing between different numbers of ranks', async () => {
  const hash = (text: string, ranks: number) =>
    [{ record: 'ledger', kind: 'hash', hash: text, ranks }] as const;
  expect(await differenceOf(hash('a', 1), hash('b', 2))).toBeUndefined();
  expect(await differenceOf(hash('a', 2), hash('a', 2))).toBeNull();
  expect(await differenceOf(hash('a', 2), hash('b', 2))).toEqual({ tensor: null, size: null });
});
