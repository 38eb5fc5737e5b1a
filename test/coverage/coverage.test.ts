/** The second reader: what it counts, what fails the proof, and that it does not alarm on logs that are read whole. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { logAlone } from '../../src/app/engine/evidence.ts';
import { judgementOf } from '../../src/app/engine/judge-run.ts';
import { coverageOf } from '../../src/judge/coverage/coverage.ts';
import { arrayOf } from '../../src/model/column.ts';
import { type LossRecords, RECORD_FLAG, TAG_FLAGS } from '../../src/model/loss-records.ts';
import type { RunVerdict } from '../../src/model/report.ts';
import type { Run, TimeSeries } from '../../src/model/run.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { LossReader } from '../../src/read/seen/loss-records.ts';
import { normals } from '../detectors/runs.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('coverage');
const seenIn = (text: string, path = 'log'): LossRecords => {
  const reader = new LossReader();
  reader.push(Buffer.from(text));
  return reader.end(path);
};
const linesOf = (text: string): number[] => [...arrayOf(seenIn(text).line)];
const valuesOf = (text: string): number[] => [...arrayOf(seenIn(text).value)];

describe('the second reader sees a record in', () => {
  test.each([
    ['{"step": 1, "loss": 0.5}', 0.5],
    ['{"step": 1, "train/loss": NaN}', Number.NaN],
    ['{"loss": [147]}', 147],
    ['{"loss": {"v": 147}}', 147],
    ['iter 400: loss 0.4012, time 245.26ms', 0.4012],
    ['2026-01-01 00:00:00 [rank0]: step:4/9 train_loss:0.25 train_time:1ms', 0.25],
    ['s:4 trl:0.31 lr:0.0002', 0.31],
    ['Epoch 3, Loss = tensor(2.5, device=cuda)', 2.5],
    ['| total_loss | -1.5e-3 |', -0.0015],
    ['loss is inf', Number.POSITIVE_INFINITY],
    ['average loss: 1,234.5', 1234.5],
    ['cost: 0.25, 3 sec', 0.25],
    ['cost 0.25 sec/batch 0.1', 0.25],
  ])('%s', (line, value) => {
    expect(linesOf(`nothing here\n${line}\n`)).toEqual([2]);
    expect(valuesOf(line)).toEqual([value]);
  });

  test.each([
    'loss_scale: 65536',
    'the loss does not fall',
    'Time cost=132.10s',
    'avg_batch_cost: 0.00191 sec, avg_samples: 1024.0',
    'criterion: BCEWithLogitsLoss(reduction=mean)',
    'print(f"loss {loss:.4f}")',
    'a lossless codec: 3',
    '16.3ms inference, 0.0ms loss, 0.7ms postprocess per image',
    'null: 0.5',
  ])('%s: not', (line) => {
    expect(linesOf(line)).toEqual([]);
  });

  test('a file that is named for its metric, as MLflow names it', () => {
    const inFile = (path: string): number[] => {
      const reader = new LossReader(path);
      reader.push(Buffer.from('1700000000000 0.5 0\n1700000000001 NaN 1\nnot a point\n'));
      return [...arrayOf(reader.end(path).line)];
    };
    expect(inFile('mlruns/0/r/metrics/train/loss')).toEqual([1, 2]);
    expect(inFile('mlruns/0/r/metrics/nll')).toEqual([1, 2]);
    for (const path of ['mlruns/0/r/metrics/accuracy', 'mlruns/0/r/metrics/loss_scale', 'loss'])
      expect(inFile(path)).toEqual([]);
  });

  test('of a run of MLflow, and what the format misses fails the proof', async () => {
    const folder = join(newFolder(), 'mlruns/0/r/metrics');
    mkdirSync(folder, { recursive: true });
    const points = (time: number): string[] =>
      Array.from({ length: 3000 }, (_, k) => `${time + k} ${0.5 + 2 * Math.exp(-k / 60)} ${k}`);
    const proofOf = async (lines: readonly string[]) => {
      writeFileSync(join(folder, 'loss'), `${lines.join('\n')}\n`);
      writeFileSync(join(folder, 'accuracy'), `${lines.join('\n')}\n`);
      const { runs } = await analyze([folder], { toolVersion: '0', now: () => new Date(0) });
      return runs[0]!.verdict.provenBy?.judged;
    };
    expect(await proofOf(points(1_700_000_000_000))).toMatchObject({ holds: true });
    // Beyond the head, by which the format is recognised; it knows no times before 2001.
    const early = points(1_700_000_000_000).map((line, k) => (k >= 2500 && k < 2600 ? line.slice(5) : line));
    expect(await proofOf(early)).toMatchObject({ holds: false });
  });

  test('the rows of a table whose header names a loss, and in none of its headers', () => {
    const csv = 'step,loss,lr\n1,0.5,0.1\n2,nan,0.1\n3,,0.1\n4,true,0.1\nstep,loss,lr\n1,0.7,0.1\n';
    expect(linesOf(csv)).toEqual([2, 3, 5, 7]);
    expect(valuesOf(csv)).toEqual([0.5, Number.NaN, Number.NaN, 0.7]);
    expect(linesOf('epoch  train_loss  time\n0  2.1  00:12\n1  1.9  00:12\nend  of  training\n')).toEqual([
      2, 3,
    ]);
  });

  test('a name with text in place of its number once it is known', () => {
    const known = Array.from({ length: 3 }, (_, k) => `{"loss": 0.${k}}`).join('\n');
    expect(linesOf(`{"loss": true}\n`)).toEqual([]);
    expect(linesOf(`${known}\n{"loss": true}\n{"loss": null}\n`)).toEqual([1, 2, 3, 4]);
  });
});

test('where the text is cut into pieces changes nothing', () => {
  const lines = [
    '{"step": 9, "loss": 0.5}',
    'step,loss',
    '1,0.5',
    '',
    'x\r',
    'bar loss=1\rbar loss=2',
    'val_loss: 3',
  ];
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...lines), { maxLength: 12 }),
      fc.array(fc.nat(200), { maxLength: 6 }),
      (chosen, cuts) => {
        const bytes = Buffer.from(chosen.join('\n'));
        const places = [
          0,
          ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b),
          bytes.length,
        ];
        const reader = new LossReader();
        for (let k = 1; k < places.length; k++) reader.push(bytes.subarray(places[k - 1], places[k]));
        const [cut, whole] = [reader.end('log'), seenIn(bytes.toString())];
        for (const column of ['line', 'value', 'tag'] as const)
          expect([...arrayOf(cut[column])]).toEqual([...arrayOf(whole[column])]);
      },
    ),
  );
});

test('numbers of any length, with and without an exponent, in lines that repeat and in rows', () => {
  const numbers = [0.1 + 0.2, 1 / 3, 1e22 / 3, 2.5e-7, 1e-310, 4, 0.25, -1 / 7];
  const spelled = [...numbers.map(String), '1E+05', '12345678901234567890', '0.30000000000000004441'];
  const lines = spelled.map((text) => `{"loss": ${text}, "lr": 1e-3}`).join('\n');
  const rows = `step,loss,lr\n${spelled.map((text, k) => `${k},${text},1e-3`).join('\n')}`;
  for (const text of [`${lines}\n`, lines, `${rows}\n`, rows])
    expect(valuesOf(text)).toEqual(spelled.map(Number));
});

test('states of a bar share a line and are told as drawn over', () => {
  const { line, tag } = seenIn('\rloss=3\rloss=2\nepoch 1 loss=2\n');
  expect([...line]).toEqual([1, 1, 2]);
  expect([...tag].map((one) => one % TAG_FLAGS)).toEqual([RECORD_FLAG.redrawn, RECORD_FLAG.redrawn, 0]);
});

/** A run of one loss, and its log with a line a point. */
function runOf(losses: readonly number[]): { run: Run; series: TimeSeries } {
  const series = makeSeries('loss', 'loss', losses);
  const text = losses.map((loss, k) => `step ${k + 1} loss ${loss}\n`).join('');
  const run = { ...makeRun('log', [series]), lossRecords: [seenIn(text)] };
  return { run, series };
}

/** The series as a reader that drops the points [from, to) would hand it over. */
function without(series: TimeSeries, from: number, to: number): TimeSeries {
  const kept = [...arrayOf(series.value).keys()].filter((k) => k < from || k >= to);
  const pick = (of: 'step' | 'value' | 'line'): Float64Array =>
    Float64Array.from(kept, (k) => series[of]!.at(k)!);
  return { ...series, step: pick('step'), value: pick('value'), line: pick('line') };
}

const falling = (points: number): number[] =>
  Array.from({ length: points }, (_, k) =>
    Number((0.4 + Math.exp(-k / 40) + 0.02 * Math.sin(7 * k)).toFixed(5)),
  );

describe('a line that is like one before it', () => {
  const printed = readdirSync(join(projectRoot, 'fixtures/printed'));
  test.each(printed)('%s: is read as it would be alone', (name) => {
    const text = readFileSync(join(projectRoot, 'fixtures/printed', name, 'input.log'), 'utf8');
    const next = random(1);
    const lines = text.split(/[\r\n]+/).slice(0, 200);
    // Digits change, and how many there are; now and then a number becomes another kind of number.
    const changed = (line: string): string =>
      line
        .replace(/\d/g, (digit) => (next() < 0.3 ? `${Math.floor(10 * next())}` : digit))
        .replace(/\d+/g, (digits) => (next() < 0.1 ? `${digits}0` : digits))
        .replace(/\d+\.\d+/g, (number) =>
          next() < 0.05 ? ['nan', 'inf', '-1.5', '2e-5', '1,234.5', '-'][Math.floor(6 * next())]! : number,
        );
    const all = [...lines, ...Array.from({ length: 9 }, () => lines.map(changed)).flat()];
    // What was before a line is not looked at where a text has carriage returns.
    const [fast, slow] = ['\n', '\r\n'].map((end) => seenIn(all.map((line) => line + end).join('')));
    const told = ({ line, value, tag }: LossRecords) => ({
      lines: [...arrayOf(line)],
      values: [...arrayOf(value)],
      flags: [...arrayOf(tag)].map((one) => one % TAG_FLAGS),
    });
    expect(told(fast!)).toEqual(told(slow!));
  });
});

describe('records that a reader drops', () => {
  test('fail the proof where three stand in a row or any after the last judged one, and nowhere without', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 60, max: 300 }),
        fc.nat(299),
        fc.integer({ min: 0, max: 80 }),
        (n, a, count) => {
          const from = Math.min(a, n - 1);
          const to = Math.min(n, from + count);
          fc.pre(to - from < n);
          const { run, series } = runOf(falling(n));
          const kept = without(series, from, to);
          const found = coverageOf({ ...run, series: [kept] }, [kept])!;
          const { seen, judged, explained, unexplained } = found.coverage;
          const { copies, ranks, runningMeans, evaluations } = explained;
          expect(seen).toBe(judged + copies + ranks + runningMeans + evaluations + unexplained);
          expect(seen).toBe(n);
          expect(judged).toBe(n - (to - from));
          if (to - from >= 3) expect(found.proof.holds).toBe(false);
          if (to === from)
            expect(found.proof).toEqual({ holds: true, statement: `${n} of ${n} loss records judged` });
        },
      ),
    );
  });

  test.each([Number.NaN, 147, Number.POSITIVE_INFINITY])('fail it alone where one of them is %s', (value) => {
    for (const at of [50, 99]) {
      const losses = falling(100);
      losses[at] = value;
      const { run, series } = runOf(losses);
      const kept = without(series, at, at + 1);
      expect(coverageOf({ ...run, series: [kept] }, [kept])!.proof.holds).toBe(false);
      expect(coverageOf(run, [series])!.proof.holds).toBe(true);
    }
  });
});

async function verdictsOf(path: string): Promise<RunVerdict[]> {
  const { runs } = await readLogFile(path);
  return runs.map((run) => judgementOf(logAlone(run), {}).judged.verdict);
}

test('no log of the fixtures has a record that was neither judged nor explained', async () => {
  let counted = 0;
  for (const folder of ['printed', 'formats', 'logs'])
    for (const name of readdirSync(join(projectRoot, 'fixtures', folder), {
      recursive: true,
      encoding: 'utf8',
    })) {
      if (name.endsWith('expected.json')) continue;
      let verdicts: RunVerdict[];
      try {
        verdicts = await verdictsOf(join(projectRoot, 'fixtures', folder, name));
      } catch {
        continue;
      }
      for (const { coverage, provenBy } of verdicts) {
        if (coverage === null || coverage === undefined) continue;
        counted++;
        expect([name, provenBy!.judged.holds, coverage.unexplained]).toEqual([name, true, 0]);
      }
    }
  expect(counted).toBeGreaterThan(150);
});

test('means of epochs that are read under a name of their own are no records of other ranks', async () => {
  const path = join(newFolder(), 'train.log');
  const lossAt = (k: number): string => (0.2 + 1 / (k + 1)).toFixed(4);
  const lines = Array.from({ length: 12 }, (_, epoch) => [
    ...[0, 500, 1000].map((batch, k) => `epoch: ${epoch}, batch_id: ${batch}, loss:${lossAt(3 * epoch + k)}`),
    `epoch: ${epoch} done, loss:${lossAt(3 * epoch + 1.5)}, epoch time: 1105.5 s`,
  ]);
  writeFileSync(path, `${lines.flat().join('\n')}\n`);
  const [verdict] = await verdictsOf(path);
  expect(verdict!.provenBy!.judged.statement).toBe('36 of 36 loss records judged');
});

test('what eight ranks print in changing order lies about their means as far as single losses do', async () => {
  const path = join(newFolder(), 'train.log');
  const normal = normals(5);
  const lines = Array.from({ length: 1200 }, (_, k) => {
    const [step, rank] = [Math.floor(k / 8), ((k % 8) + 3 * (k >> 3)) % 8];
    const loss = (0.4 + 2.2 * Math.exp(-step / 40)) * (1 + 0.3 * normal());
    return `[rank${rank}] step ${step} loss ${loss.toFixed(4)}`;
  });
  writeFileSync(path, `${lines.join('\n')}\n`);
  const [verdict] = await verdictsOf(path);
  expect(verdict!.coverage).toMatchObject({ seen: 1200, judged: 150, unexplained: 0 });
  expect(verdict!.class).toBe('healthy');
  // A loss that no rank had before or after is none of theirs.
  writeFileSync(
    path,
    `${lines.map((line, k) => (k === 803 ? '[rank5] step 100 loss 40.1' : line)).join('\n')}\n`,
  );
  expect((await verdictsOf(path))[0]!.class).not.toBe('healthy');
});

describe('the batches of an evaluation, with the parts of their loss', () => {
  const pass = (epoch: number, lossOf: (batch: number) => string): string[] =>
    [0, 10, 20, 30].flatMap((batch) => [
      `Test: [${batch}/40]\tTime 0.6 (0.6)\tLoss ${lossOf(batch)} (5.1)`,
      `center_loss  0.3${epoch} (0.311)`,
    ]);
  const log = (
    passes: readonly number[],
    lossOf = (batch: number): string => (7.5 - batch / 100).toFixed(4),
  ) =>
    Array.from({ length: 8 }, (_, epoch) => [
      ...Array.from({ length: 10 }, (_, k) => {
        const loss = (0.4 + 2 * Math.exp(-(10 * epoch + k) / 15)).toFixed(4);
        return `Epoch: [${epoch}][${10 * k}/100]\tTime 0.6 (0.6)\tLoss ${loss} (1.0)`;
      }),
      ...(passes.includes(epoch) ? pass(epoch, lossOf) : []),
    ]).flat();
  const judged = async (lines: readonly string[]): Promise<RunVerdict> => {
    const path = join(newFolder(), 'train.log');
    writeFileSync(path, `${lines.join('\n')}\n`);
    return (await verdictsOf(path))[0]!;
  };
  const all = [0, 1, 2, 3, 4, 5, 6, 7];

  test('are evaluations, though they lie far from the training', async () => {
    const { coverage, class: found } = await judged(log(all));
    expect(coverage).toMatchObject({ judged: 80, unexplained: 0 });
    expect(found).toBe('healthy');
  });
  test('are not where they are not finite', async () => {
    const { coverage } = await judged(log(all, (batch) => (batch === 20 ? 'nan' : '7.4')));
    expect(coverage!.unexplained).toBeGreaterThan(0);
  });
});

test('the shipped incident: all of its records are judged', async () => {
  const path = join(projectRoot, 'fixtures/incident/log.jsonl');
  const [verdict] = await verdictsOf(path);
  const records = readFileSync(path, 'utf8').trim().split('\n').length;
  expect(verdict!.coverage).toEqual({
    seen: records,
    judged: records,
    explained: { copies: 0, ranks: 0, runningMeans: 0, evaluations: 0 },
    unexplained: 0,
    firstUnexplained: null,
  });
});
