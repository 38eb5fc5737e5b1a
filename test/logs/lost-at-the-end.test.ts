/** Trainers that stop at a loss which is no number say so in a line of its own. */
import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

const open = async (lines: readonly string[]) => {
  const chunks = (async function* () {
    yield Buffer.from(`${lines.join('\n')}\n`);
  })();
  const log = await finishLog(await readRawStream(chunks, 'train.log'), { sidecars: false });
  const run = log.runs[0]!;
  return { log, run, verdict: judgeRun(run).verdict };
};
const estimator = Array.from(
  { length: 12 },
  (_, k) => `INFO:tensorflow:loss = ${(2 + 3 / (k + 1)).toFixed(4)}, step = ${1 + 100 * k} (18.2 sec)`,
);
const detr = Array.from(
  { length: 20 },
  (_, k) =>
    `Epoch: [${Math.floor(k / 10)}]  [${10 * (k % 10)}/100]  eta: 0:01:10  lr: 0.000100  loss: ${(2 + 3 / (k + 1)).toFixed(4)} (2.9000)  time: 0.5`,
);

describe('a log whose last lines say that the loss is no number', () => {
  it("of TensorFlow's Estimator is not finite after its last step", async () => {
    const { run, verdict, log } = await open([
      ...estimator,
      'INFO:tensorflow:Saving checkpoints for 1122 into model/model.ckpt.',
      'ERROR:tensorflow:Model diverged with loss = NaN.',
      'Traceback (most recent call last):',
    ]);
    expect(verdict).toMatchObject({
      class: 'non-finite',
      series: 'loss',
      onsetStep: 1102,
      lastGoodStep: 1101,
    });
    expect(run.notes.join('\n')).toContain(
      'line 14 says that the loss is not finite after step 1,101; it is shown at the next',
    );
    expect(log).toMatchObject({ errors: [], lost: 0 });
    const [loss] = run.series.filter(({ name }) => name === 'loss');
    expect([loss!.value.length, loss!.line!.at(-1)]).toEqual([13, 14]);
  });

  it.each([1, 4])('of DETR and MAE too, by %d ranks', async (ranks) => {
    const { verdict } = await open([
      ...detr,
      ...Array.from({ length: ranks }, () => 'Loss is nan, stopping training'),
      "{'class_error': 100.0}",
    ]);
    expect(verdict).toMatchObject({ class: 'non-finite', series: 'loss', onsetStep: 191, lastGoodStep: 190 });
  });
});

describe('a guard that raises', () => {
  it('may tell the step too', async () => {
    const { verdict } = await open([
      ...detr,
      'Traceback (most recent call last):',
      '    raise RuntimeError(f"Loss is NaN at step {step}")',
      'RuntimeError: Loss is NaN at step 194',
    ]);
    expect(verdict).toMatchObject({ class: 'non-finite', series: 'loss', onsetStep: 191, lastGoodStep: 190 });
  });
});

describe('GRU4Rec', () => {
  it('says in words alone that it stopped', async () => {
    const { verdict } = await open([
      ...Array.from(
        { length: 20 },
        (_, k) =>
          `Epoch${k + 1} --> loss: ${(5 + 3 / (k + 1)).toFixed(6)} \t(81.43s) \t[310.94 mb/s | 99123 e/s]`,
      ),
      '20: NaN error!',
    ]);
    expect(verdict).toMatchObject({ class: 'non-finite', series: 'loss', onsetStep: 21, lastGoodStep: 20 });
  });
});

describe('other lines about a loss', () => {
  it.each([
    [
      'one that comes before the last step',
      [...detr.slice(0, 10), 'Loss is nan, skipping', ...detr.slice(10)],
    ],
    ['a finite one', [...detr, 'Loss is 1.9, stopping training']],
    ['an evaluation', [...detr, 'Test loss is nan']],
  ])('%s says nothing of it', async (_, lines) => {
    const { run, verdict } = await open(lines);
    expect(verdict).toMatchObject({ class: 'healthy', series: 'loss' });
    expect(run.series.find(({ name }) => name === 'loss')!.value).toHaveLength(20);
  });
});

describe('a last line that is cut in a number', () => {
  const lines = Array.from(
    { length: 12 },
    (_, k) => `epoch ${k} loss ${(2 + 1 / (k + 1)).toFixed(4)} acc 0.5`,
  );
  it.each(['0.', '0.4e', '0.4e-', '-', '1.2e+'])('to %s tells no loss', async (cut) => {
    const bytes = Buffer.from(`${lines.join('\n')}\nepoch 12 loss ${cut}`);
    const chunks = (async function* () {
      yield bytes;
    })();
    const raw = await readRawStream(chunks, 'train.log');
    const loss = raw.runs[0]!.series.find(({ name }) => name === 'loss')!;
    expect(Array.from(loss.value)).toEqual(lines.map((_, k) => Number((2 + 1 / (k + 1)).toFixed(4))));
  });
});
