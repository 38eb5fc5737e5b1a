/** Replay of the recorded incidents that ship as fixtures. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import { judgeClosedLoop } from '../../src/experiment/replay/verdict.ts';
import { toJson } from '../../src/model/json.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { renderReplay, replaySummary } from '../../src/report/replay-text.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { readCapture } from '../recorders/read-capture.ts';
import { projectRoot } from '../support/shared-data.ts';

const INCIDENTS = [
  'incident',
  'captures/embedding',
  'captures/micro-divergence',
  'captures/nan',
  'captures/seed-2',
];
const folderOf = (name: string): string =>
  join(projectRoot, 'fixtures', name, name === 'incident' ? 'capture' : '.');

interface Oracle {
  readonly steps: readonly number[];
  readonly rules: readonly {
    readonly rule: string;
    readonly float32: {
      readonly verdict: string;
      readonly loss: readonly (number | string)[];
      readonly minClipFactor: readonly (number | string)[];
    };
  }[];
}
const oracleOf = (name: string): Oracle =>
  JSON.parse(
    readFileSync(
      join(
        projectRoot,
        'fixtures',
        name === 'incident' ? 'oracles/incident-closed-loop.json' : `${name}/closed-loop.json`,
      ),
      'utf8',
    ),
  ) as Oracle;

describe.each(INCIDENTS)('%s', (name) => {
  const oracle = oracleOf(name);
  const rules = oracle.rules.flatMap(({ rule }) => parseRule(rule));

  it('is rebuilt from its gradients: every snapshot is met', async () => {
    const capture = await openCapture(folderOf(name));
    const { findings, snapshots, notes } = await replayCapture(capture, { mode: 'as-recorded', rules: [] });
    expect([capture.errors, findings, notes]).toEqual([[], [], []]);
    expect(snapshots).toBeGreaterThan(0);
  });

  it.each(['as-recorded', 'open-loop'] as const)(
    '%s: the factor of the first step is that of PyTorch’s own run, and no estimate contradicts its verdict',
    async (mode) => {
      const capture = await openCapture(folderOf(name));
      const { entries } = await replayCapture(capture, { mode, rules });
      entries.forEach((entry, k) => {
        const { float32 } = oracle.rules[k]!;
        expect(entry.minClipFactor[0]! / Number(float32.minClipFactor[0])).toBeCloseTo(1, 4);
        if (entry.verdict !== 'cannot-tell')
          expect([entry.label, entry.verdict]).toEqual([entry.label, float32.verdict]);
        if (entry.rule === 'none')
          expect([entry.verdict, entry.confidence]).toEqual(['not-prevented', 'exact']);
      });
    },
  );

  it('losses of PyTorch’s closed loops get the verdicts of the oracle', () => {
    const losses = oracle.rules.map(({ float32 }) => float32.loss.map(Number));
    const history = JSON.parse(readFileSync(join(folderOf(name), 'capture.json'), 'utf8')).history.loss.map(
      Number,
    );
    oracle.rules.forEach(({ rule, float32 }, k) => {
      const { verdict } = judgeClosedLoop(losses[k]!, losses[0]!, oracle.steps, history);
      if (name === 'captures/nan') expect(['not-prevented', 'cannot-tell']).toContain(verdict);
      else expect([rule, verdict]).toEqual([rule, float32.verdict]);
    });
  });
});

describe('the incident', () => {
  const open = () => openCapture(folderOf('incident'));

  it('open loop without clipping follows the recorded run', async () => {
    const { entries, unclippedNorm } = await replayCapture(await open(), {
      mode: 'open-loop',
      rules: parseRule('none'),
    });
    expect(entries[0]!.updateNorm).toEqual(unclippedNorm);
    expect(entries[0]!.loss).toBeNull();
  });

  it('recorded under clipping: the same rule changes nothing, another does', async () => {
    const recorded = await open();
    const rules = ['clippy:paper', 'none'].flatMap(parseRule);
    const clipping = [{ rule: 'clippy', options: {} }];
    const capture = { ...recorded, manifest: { ...recorded.manifest, clipping } };
    const { entries } = await replayCapture(capture, { mode: 'as-recorded', rules });
    expect(entries.map(({ firstChangedStep }) => firstChangedStep)).toEqual([null, 380]);
    expect(entries[0]!.engagedFraction).toBeGreaterThan(0);
  });

  it('gradient norm and largest |r| of the recorded run are those of a second computation from the files', async () => {
    const { entries } = await replayCapture(await open(), { mode: 'as-recorded', rules: parseRule('none') });
    const { initial, manifest, steps } = readCapture(folderOf('incident'));
    const sums = new Map(
      manifest.parameters.map(({ name }) => [name, [...initial.get(`state/accumulator/${name}`)!.values]]),
    );
    steps.forEach(({ tensors }, i) => {
      let squares = 0;
      let largest = 0;
      for (const [name, sum] of sums)
        tensors.get(`grad/${name}`)!.values.forEach((g, k) => {
          squares += g * g;
          sum[k]! += g * g;
          largest = Math.max(largest, Math.abs(g) / Math.sqrt(sum[k]!));
        });
      expect(entries[0]!.gradientNorm![i]! / Math.sqrt(squares)).toBeCloseTo(1, 9);
      expect(entries[0]!.directionMax![i]! / largest).toBeCloseTo(1, 5);
    });
  });

  it('text: the recorded run at the onset, and the factors of each tensor in the order of the model', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['none', 'clippy:paper', 'agc:0.01'].flatMap(parseRule),
    });
    const text = renderReplay(entries, {}, { width: 80, colour: false, ascii: true });
    expect(text).toMatch(/^without a rule +usual +step 400 +times$/m);
    expect(text).toMatch(/^gradient norm +0\.9593 +11\.08 +11\.55$/m);
    expect(text).toMatch(/^factors at step 400 +clippy:paper +agc:0\.01$/m);
    const rows = entries[1]!.tensors!.map(({ tensor }) => text.indexOf(`\n${tensor} `));
    expect(rows).toEqual([...rows].sort((a, b) => a - b));
    expect(text).toMatch(/^task\/watch\/0\/kernel +0\.0485 +######## +0\.004219$/m);
  });

  it('factors of each tensor at every step: their smallest is the one told, and what a rule leaves alone has none', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['none', 'global-norm:1', 'clippy:paper'].flatMap(parseRule),
    });
    const [none, global, clippy] = entries.map(({ tensors }) => tensors!);
    expect(none!.filter(({ factors }) => factors !== undefined)).toEqual([]);
    for (const { factor, step, factors } of [...global!, ...clippy!]) {
      if (factors === undefined) {
        expect(factor).toBe(1);
        continue;
      }
      expect(factors).toHaveLength(entries[0]!.steps.length);
      const smallest = Math.min(...factors.filter(Number.isFinite));
      expect(smallest / factor).toBeCloseTo(1, 3);
      expect(factors[entries[0]!.steps.indexOf(step)]).toBe(smallest);
    }
    // One norm, one factor; Clippy has one for each tensor.
    expect(new Set(global!.map(({ factors }) => String(factors))).size).toBe(1);
    expect(new Set(clippy!.map(({ factors }) => String(factors))).size).toBeGreaterThan(10);
  });

  it('float64 and float32 agree', async () => {
    const [a, b] = await Promise.all(
      (['float32', 'float64'] as const).map(async (precision) => {
        const { entries } = await replayCapture(await open(), {
          mode: 'as-recorded',
          rules: parseRule('clippy'),
          precision,
        });
        return entries[0]!;
      }),
    );
    a!.minClipFactor.forEach((factor, i) => {
      expect(factor / b!.minClipFactor[i]!).toBeCloseTo(1, 3);
    });
  });

  it('clippy: its factor at the bottleneck is its threshold over the update, and a looser threshold frees frozen tensors', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['clippy:paper', 'clippy:tfrs'].flatMap(parseRule),
    });
    const [paper, tfrs] = entries;
    const { parameter, update, dominatedBy } = paper!.clippy!;
    expect(dominatedBy).toBe('absoluteThreshold');
    expect((0.5 * Math.abs(parameter!) + 0.01) / Math.abs(update!)).toBeCloseTo(
      Math.min(...paper!.minClipFactor),
      6,
    );
    const frozen = tfrs!.clippy!.frozen;
    expect(frozen.length).toBeGreaterThan(0);
    const free = Math.max(...frozen.map(({ absoluteThreshold }) => absoluteThreshold));
    const { entries: looser } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: parseRule(`clippy:tfrs,absoluteThreshold=${free * (1 + 1e-6)}`),
    });
    expect(looser[0]!.minClipFactor.every((factor) => factor === 1)).toBe(true);
  });

  it('the sweep’s largest threshold holds the update, the next does not', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: parseRule('global-norm:1'),
    });
    const { sweep } = entries[0]!;
    expect(sweep!.largest).toBe(2);
    const { entries: ends } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: parseRule('global-norm:{2,5}'),
    });
    expect(ends.map(({ verdict }) => verdict)).toEqual(['prevented', 'cannot-tell']);
  });

  it('multipliers give one entry each and promise nothing', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['none', 'clippy'].flatMap(parseRule),
      learningRateMultipliers: [0.5, 1],
    });
    expect(entries.map(({ rule, learningRateMultiplier }) => [rule, learningRateMultiplier])).toEqual([
      ['none', 0.5],
      ['none', 1],
      ['clippy', 0.5],
      ['clippy', 1],
    ]);
    expect(entries[0]!.verdict).toBe('cannot-tell');
    expect(entries[0]!.updateNorm[0]! / entries[1]!.updateNorm[0]!).toBeCloseTo(0.5, 6);
    expect(entries[2]!.minClipFactor[20]! / entries[3]!.minClipFactor[20]!).toBeCloseTo(2, 5);
  });

  it('text: what a closed loop decides is not told as unknown above it', async () => {
    const { entries: estimated } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['none', 'global-norm:1', 'clippy'].flatMap(parseRule),
    });
    // As a report has them that holds closed loops beside them.
    const entries = estimated.map(
      (entry): ReplayEntry => (entry.confidence === 'exact' ? entry : { ...entry, verdict: 'cannot-tell' }),
    );
    const [none, clipped] = entries;
    const loops = [none!, clipped!].map(
      (entry): ReplayEntry => ({ ...entry, mode: 'closed-loop', verdict: 'prevented', confidence: 'exact' }),
    );
    const given = { width: 200, colour: false, ascii: true, stepUnit: 'step' } as const;
    const text = replaySummary([...entries, ...loops], given).join('\n');
    expect(text).toMatch(/global-norm:1 +see closed loop +380 /);
    expect(text).toMatch(/clippy:paper +cannot-tell \(est\.\) /);
    expect(text).toContain('; cannot tell for clippy:paper.');
    // What is known without it stays.
    expect(text).toMatch(/none +not-prevented +never/);
    expect(replaySummary(entries, given).join('\n')).toMatch(/global-norm:1 +cannot-tell \(est\.\) +380 /);
  });
  it('text: a matrix, a chart, one conclusion; narrow and without colours too', async () => {
    const { entries } = await replayCapture(await open(), {
      mode: 'as-recorded',
      rules: ['none', 'global-norm:1', 'clippy'].flatMap(parseRule),
    });
    const text = renderReplay(entries, {}, { width: 80, colour: false, ascii: true });
    expect(text).toContain('clippy:paper   cannot-tell (est.)  380    55 %   0.0485    0.02169   0.167');
    expect(text.replace(/\n +/g, ' ')).toContain(
      'The loss leaves its band at step 400; clippy:paper first acts at step 380, 20 steps before',
    );
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(JSON.parse(toJson(entries))).toHaveLength(3);
  });
});
