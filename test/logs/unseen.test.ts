/** What real logs that nobody had looked at taught, each in a few lines of the same kind. */
import { describe, expect, it } from 'vitest';
import type { Run } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
async function runOf(lines: readonly string[]): Promise<Run> {
  const log = await readRawStream(once(`${lines.join('\n')}\n`), 'train.log');
  return (await finishLog(log, { sidecars: false })).runs[0]!;
}
const told = (run: Run, name: string): { steps: number[]; values: number[]; role: string } => {
  const one = run.series.find((series) => series.name === name)!;
  return { steps: [...one.step], values: [...one.value], role: one.role };
};
const upTo = (count: number): number[] => Array.from({ length: count }, (_, k) => k + 1);
const lossAt = (k: number): number => Number((2 / k).toFixed(4));

describe('a printed log', () => {
  it('tells a loss behind a progress bar that has no end of line', async () => {
    const bar = '  6%|▋         | 187/2889 [03:55<56:38,  1.26s/it]';
    const lines = upTo(12).map((k) => `${k % 3 === 0 ? bar : ''}step ${k}, Batch Loss: ${lossAt(k)}`);
    expect(told(await runOf(lines), 'Batch Loss')).toEqual({
      steps: upTo(12),
      values: upTo(12).map(lossAt),
      role: 'loss',
    });
  });

  it('tells the values of a bar that draws nothing between its marks', async () => {
    const lines = upTo(5).map((k) => `Epoch ${k}: 100%|| 10/10 [00:01<00:00,  9.1it/s, loss=${lossAt(k)}]`);
    expect(told(await runOf(lines), 'loss').values).toEqual(upTo(5).map(lossAt));
  });

  it('has the losses of bars that say that they validate apart from those of training', async () => {
    const lines = upTo(3).flatMap((epoch) => [
      ...upTo(9).map(
        (k) => `Epoch ${epoch}:  48%|████ | ${k}/9 [00:01<00:01, 2.1it/s, loss:${lossAt(9 * epoch + k)}]`,
      ),
      ...upTo(4).map((k) => `validating...:  48%|████ | ${k}/4 [00:01<00:01, 2.1it/s, loss:7.${k}]`),
    ]);
    const run = await runOf(lines);
    expect(told(run, 'loss')).toEqual({
      steps: upTo(27),
      values: upTo(27).map((k) => lossAt(9 + k)),
      role: 'loss',
    });
    expect(told(run, 'validating loss')).toMatchObject({ steps: [9, 18, 27], role: 'eval_loss' });
  });

  it('is told in lines that begin as those of a list do, by a counter with its total', async () => {
    const lines = upTo(5).map((k) => `- Train | Epoch 1 | ${143 * k}/800 | LR: 1.0e-03 | Loss: ${lossAt(k)}`);
    expect(told(await runOf(lines), 'Loss')).toEqual({
      steps: upTo(5).map((k) => 143 * k),
      values: upTo(5).map(lossAt),
      role: 'loss',
    });
  });

  it.each([
    ['as it is', '0.62'],
    ['with a number missing in its first line', '-'],
  ])('has an evaluation behind its heading, %s', async (_, first) => {
    const more = ' - AUROC_Pneumonia: 0.5117'.repeat(20);
    const lines = upTo(3).flatMap((epoch) => [
      `Epoch ${epoch}/3`,
      ...[10, 20, 30].map((k) => `    step ${k}/30 - loss: ${epoch}.${k}0${more}`),
      '    Eval begin...',
      `    step  4/8 - loss: 7.25 - acc: ${epoch === 2 ? first : '0.62'}${more}`,
      `    step  8/8 - loss: 7.75 - acc: 0.62${more}`,
      '    Eval samples: 512',
    ]);
    const run = await runOf(lines);
    expect(told(run, 'loss').steps).toEqual(upTo(9).map((k) => 10 * k));
    expect(told(run, 'eval loss').values).toEqual([7.5, 7.5, 7.5]);
  });

  it('has the losses of batches that say their epoch, and that of the epoch beside them', async () => {
    const batches = (epoch: number): string[] =>
      upTo(9).map((k) => `09:00:0${k} - INFO - Epoch ${epoch} - Batch loss: ${lossAt(9 * epoch + k)}`);
    const lines = upTo(12).flatMap((epoch) => [
      ...batches(epoch),
      `09:00:10 - INFO - Epoch ${epoch} - Average Train Loss: ${lossAt(9 * epoch + 5)}`,
    ]);
    const run = await runOf(lines);
    expect(told(run, 'Batch loss').values).toEqual(upTo(108).map((k) => lossAt(9 + k)));
    expect(told(run, 'Batch loss').role).toBe('loss');
    expect(told(run, 'Average Train Loss').values).toEqual(upTo(12).map((epoch) => lossAt(9 * epoch + 5)));
  });

  it('has a training without a rate that comes before one with a rate', async () => {
    const lines = [
      ...upTo(20).map((k) => `step ${k}, loss: ${lossAt(k)}, norm: 0.5`),
      ...upTo(20).map((k) => `step 00${k}, loss: ${lossAt(k + 20)}, norm: 0.5, lr: 1.0e-03`),
    ];
    expect(told(await runOf(lines), 'loss').values).toEqual(upTo(40).map(lossAt));
  });

  it('has rows whose words are a file with a number of its own', async () => {
    const file = (k: number): string =>
      `[2018-01-11 17:52:${10 + k}] iter train/ADE_${10_000_000 + 7919 * k}.jpg`;
    const lines = upTo(20).map((k) => `${file(k)}, loss: ${lossAt(k)}, accuracy: 0.${70 + k}`);
    expect(told(await runOf(lines), 'loss').values).toEqual(upTo(20).map(lossAt));
  });

  it('tells an evaluation where an Estimator saves its values', async () => {
    const lines = [
      ...upTo(9).map((k) => `INFO:tensorflow:loss = ${lossAt(k)}, step = ${k * 100} (14.1 sec)`),
      'INFO:tensorflow:Saving dict for global step 950: eval_auc = 0.68, eval_loss = 0.72, global_step = 950, loss = 0.73',
    ];
    expect(told(await runOf(lines), 'loss').values).toEqual(upTo(9).map(lossAt));
  });

  it('begins behind the zero bytes of a file that was emptied while it was written', async () => {
    const lines = upTo(9).map((k) => `step ${k} | loss ${lossAt(k)} | lr 1e-4`);
    const run = await runOf([`${'\0'.repeat(500)}${lines[0]}`, ...lines.slice(1)]);
    expect(told(run, 'loss').steps).toEqual(upTo(9));
  });

  it.each([3, 4, 9])('names its epochs behind their losses and stops early, %i epochs', async (count) => {
    const lines = upTo(count).flatMap((k) => [
      ...(k === 1 ? ['INFO *** Epoch=1 start ***'] : []),
      `INFO [Metrics] AUC: 0.73${k} - logloss: 0.40${k}`,
      `INFO Train loss: ${lossAt(k)}`,
      ...(k < count ? [`INFO *** Epoch=${k} end ***`] : ['INFO Training finished.']),
    ]);
    const run = await runOf(lines);
    expect(told(run, 'Train loss')).toEqual({
      steps: upTo(count),
      values: upTo(count).map(lossAt),
      role: 'loss',
    });
    expect(told(run, 'eval logloss').role).toBe('eval_loss');
  });

  it('keeps the epochs of its loss where more rows of another loss follow', async () => {
    const lines = [
      ...upTo(20).flatMap((k) => [
        `Epoch: ${k} | Epoch Time: 28.09 s`,
        `Train: loss = ${lossAt(k)} | f1 = 0.7`,
      ]),
      ...upTo(100).map((k) => `cutloss: ${5 + 1 / k} | rerankloss: ${1 / k} | classify_loss: ${2 / k}`),
    ];
    const run = await runOf(lines);
    expect(run.stepUnit).toBe('epoch');
    expect(told(run, 'loss')).toEqual({ steps: upTo(20), values: upTo(20).map(lossAt), role: 'loss' });
  });

  it('counts rows among the text of a model, whose steps begin again in every answer', async () => {
    const lines = upTo(24).flatMap((k) => [
      ...[1, 2, 3].slice(0, k % 3).map((step) => `**Step ${step}: add the numbers**`),
      `grpo_loss is ${lossAt(k)} and kl is ${-lossAt(k)}`,
      `[timing] sample processed in 6${k}.5s`,
    ]);
    expect(told(await runOf(lines), 'grpo_loss').values).toEqual(upTo(24).map(lossAt));
  });

  it('tells a metric between number signs', async () => {
    const stamp = '23-05-05 21:26:52.413 - INFO: ';
    const lines = upTo(9).flatMap((k) => [
      `${stamp}[epoch:  0, iter:   1,${k}00, lr:(2.000e-04,)] l_pix: ${lossAt(k)}`,
      ...(k % 3 === 0 ? [`${stamp}# Validation # PSNR: 3${k}.5`] : []),
    ]);
    expect((await runOf(lines)).series.find(({ name }) => /PSNR/.test(name))?.value).toHaveLength(3);
  });

  it.each([
    'max GPU_mem cost is 3806.5 MB',
    'batch_cost: 1.25 sec',
    'tyre loss 0.21',
    '1.25ms loss, of an image',
  ])('has no loss in "%s"', async (text) => {
    const lines = upTo(30).map((k) =>
      text.replace(/[\d.]+/, (number) => (Number(number) + 1 / k).toFixed(4)),
    );
    await expect(runOf(lines)).rejects.toMatchObject({
      code: expect.stringMatching(/^(?:format-unknown|log-no-record)$/),
    });
  });

  it('has no losses in rows of another table, below the header of the one before', async () => {
    const header = '      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size';
    const rows = upTo(12).flatMap((k) => [
      header,
      `       ${k}/12      2.06G      ${lossAt(k)}      2.655      0.975         52        768: 100%|██| 5/5`,
    ]);
    const summary = [
      '                   from  n    params  module                                   arguments',
      ...upTo(9).map(
        (k) =>
          `  ${k}                  -1  1     ${1856 * k}  ultralytics.nn.modules.conv.Conv         [3, 32, 3, 2]`,
      ),
    ];
    const { series } = await runOf([...rows, ...summary, ...rows.slice(0, 4)]);
    expect(series.find(({ name }) => name === 'box_loss')?.value).toHaveLength(14);
  });

  it('has a total beside the parts of a loss, and no time that is called a cost', async () => {
    const parts = await runOf(
      upTo(12).map((k) => `Epoch 1, Step ${k}: Rec=${lossAt(k)}, KL=9.5, Total=${9 + k}.5`),
    );
    expect(told(parts, 'Total').role).toBe('loss');
    const timed = await runOf(
      upTo(12).map((k) => `Epoch ${k} Train, mae:${lossAt(k)}, Cost: 71${k % 7}.5 sec `),
    );
    expect(told(timed, 'mae').role).toBe('loss');
  });

  it('has an evaluation that tells its epoch as training does, and one before training', async () => {
    const tells = (epoch: number, loss: number): string => `epoch: ${epoch},  loss is: ${loss}, acc is: 0.5`;
    const lines = upTo(6).flatMap((k) => [tells(k, lossAt(k)), 'testing in eval mode……', tells(k, 7.25)]);
    const run = await runOf(['testing in eval mode……', tells(1, 8.5), ...lines]);
    expect(told(run, 'loss')).toEqual({ steps: upTo(6), values: upTo(6).map(lossAt), role: 'loss' });
    expect(told(run, 'eval loss').values).toEqual([8.5, ...upTo(6).map(() => 7.25)]);
  });

  it('has once what two handlers of a logger print', async () => {
    const lines = upTo(9).flatMap((k) => [
      `INFO:tensorflow:[ ${k}000] | gnorm  2.45 | loss  ${lossAt(k)}`,
      `I1216 18:03:4${k}.202104 133272504153920 train.py:298] [ ${k}000] | gnorm  2.45 | loss  ${lossAt(k)}`,
    ]);
    const wanted = { steps: upTo(9).map((k) => 1000 * k), values: upTo(9).map(lossAt) };
    expect(told(await runOf(lines), 'loss')).toMatchObject(wanted);
  });

  it('has the epochs of Keras, and not what its bars draw on the way', async () => {
    const bars = (k: number): string[] => [
      `Epoch ${k}/6`,
      ...upTo(9).map(
        (at) => `  ${at}/10 [${'='.repeat(at)}>${'.'.repeat(9 - at)}] - ETA: 1s - loss: 3.${at}`,
      ),
      `10/10 [==========] - 6s 22ms/step - loss: ${lossAt(k)} - val_loss: 1.5`,
    ];
    expect(told(await runOf(upTo(6).flatMap(bars)), 'loss').values).toEqual(upTo(6).map(lossAt));
  });

  it('may be bare numbers in a file that is named after a loss', async () => {
    const text = `${upTo(12).map(lossAt).join('\n')}\n`;
    const read = async (path: string): Promise<readonly Run[]> =>
      (await finishLog(await readRawStream(once(text), path), { sidecars: false })).runs;
    expect(told((await read('train_loss.txt'))[0]!, 'train_loss').values).toEqual(upTo(12).map(lossAt));
    await expect(read('prices.txt')).rejects.toThrow();
  });

  it('names its losses in a list before their numbers', async () => {
    const run = await runOf(upTo(8).map((k) => `loss_a,loss_b ${lossAt(k)} ${1 + lossAt(k)}`));
    expect(told(run, 'loss_a').values).toEqual(upTo(8).map(lossAt));
    expect(told(run, 'loss_b').values).toEqual(upTo(8).map((k) => 1 + lossAt(k)));
  });
});

describe('names that differ in case alone', () => {
  const lines = (first: (k: number) => number): string[] =>
    upTo(8).flatMap((epoch) => [
      `loss: ${lossAt(12 * epoch)}`,
      `Train Epoch:${epoch} Percent:[0/6751 (0%)] Loss:${first(12 * epoch)}`,
      ...upTo(11).map((k) => `loss: ${lossAt(12 * epoch + k)}`),
    ]);
  it('one that repeats some numbers of the other is a part of it', async () => {
    const run = await runOf(lines(lossAt));
    expect(told(run, 'loss')).toMatchObject({ values: upTo(96).map((k) => lossAt(11 + k)), role: 'loss' });
  });
  it('one with numbers of its own, at epochs, is the loss', async () => {
    const run = await runOf(lines((k) => 3 + lossAt(k)));
    expect(told(run, 'Loss')).toMatchObject({ steps: upTo(8), role: 'loss' });
  });
});

it('a curve that W&B draws of a loss at the end is no record that is lost', async () => {
  const printed = upTo(12).map((k) => `wandb: train_loss ${lossAt(k)}`);
  for (const [last, refused] of [
    ['wandb:    train_loss █▇▅▃▂▁▁', 0],
    ['wandb: train_loss overflow', 1],
  ] as const) {
    const run = await runOf([...printed, last]);
    expect(run.series.find(({ name }) => /loss/.test(name))).toMatchObject({ refused });
  }
});

describe('ranks that print side by side', () => {
  const lines = (lost: readonly number[]): string[] =>
    upTo(12).flatMap((k) =>
      [0, 1, 2, 3].map(
        (rank) => `[rank${rank}]: step ${k} loss ${k >= 9 && lost.includes(rank) ? 'nan' : lossAt(k)}`,
      ),
    );
  const notesOn = async (lost: readonly number[]): Promise<string[]> =>
    ((await runOf(lines(lost))).notes ?? []).filter((note) => note.includes('not finite'));

  it('are named where the loss of some is not finite', async () => {
    expect(await notesOn([2])).toEqual([
      'at step 9 the loss of rank 2 is not finite (line 35); on 3 other ranks it is finite there',
    ]);
    expect(await notesOn([1, 3])).toEqual([
      'at step 9 the loss of ranks 1, 3 is not finite (line 34); on 2 other ranks it is finite there',
    ]);
  });
  it('are not named where all are finite, and where none is', async () => {
    expect(await notesOn([])).toEqual([]);
    expect(await notesOn([0, 1, 2, 3])).toEqual([]);
  });
});
