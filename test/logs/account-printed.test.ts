/** Whatever is done to a printed log, every byte of it is told, and a loss that is no number is never just not there. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { isLossLike, type TimeSeries } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { checkDamagedLogs, damaged, type WholeLog } from '../support/damaged-logs.ts';
import { projectRoot } from '../support/shared-data.ts';

/** Mutants: 2,000, and 200,000 at full length. */
/** Damaged logs: five times CLIPPY_DIAG_FUZZ where that is set. */
const MUTANTS = process.env.CLIPPY_DIAG_FUZZ === undefined ? 2_000 : 5 * Number(process.env.CLIPPY_DIAG_FUZZ);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);
/** A mutant of a long log takes long, and is damaged in no more places. */
const HEAD_BYTES = 900;

const fixtures = join(projectRoot, 'fixtures');
const layouts = readdirSync(join(fixtures, 'printed'));
const layout = (name: string): string => readFileSync(join(fixtures, 'printed', name, 'input.log'), 'utf8');
const dialects = readdirSync(join(fixtures, 'formats')).filter((name) =>
  /^(stdout|keras-progress)/.test(name),
);
const dialect = (name: string): string => {
  const at = join(fixtures, 'formats', name);
  return readFileSync(join(at, readdirSync(at).find((file) => file.startsWith('input'))!), 'utf8');
};

const logs: WholeLog[] = [
  ...layouts.map((name) => [name, layout(name)]),
  ...dialects.map((name) => [name, dialect(name)]),
].map(([name, text]) => ({
  name: name!,
  // Some whole, so that the middle and the end of a log are damaged too.
  bytes: Buffer.from(
    text!.length % 4 === 0 ? text! : text!.slice(0, text!.indexOf('\n', HEAD_BYTES) + 1 || undefined),
  ),
}));

describe('the account of a printed log closes', () => {
  it('in all layouts and dialects', async () => {
    await checkDamagedLogs(logs, MUTANTS, SEED);
  });
  it('where a line is lost that is known for one by the role of its series (detectron2, mutant 5)', async () => {
    const whole = { name: 'detectron2', bytes: Buffer.from(layout('detectron2')) };
    await checkDamagedLogs([whole], 20, 20_261_126);
  });
});

/** Spellings of no number, and what they are; a number beside them is left as it is. */
const SAID: readonly [string, 'missing' | 'refused'][] = [
  ['', 'missing'], ['-', 'missing'], ['--', 'missing'], ['null', 'missing'], ['None', 'missing'], ['N/A', 'missing'], ['NA', 'missing'],
  ['overflow', 'refused'], ['***', 'refused'], ['???', 'refused'], ['$0.4', 'refused'], ['<unk>', 'refused'], ['#', 'refused'],
  ['812/s', 'refused'], ['0.5abc', 'refused'], ['0.5.5', 'refused'], ['0x12', 'refused'],
]; // biome-ignore format: a table

const ANY = SAID.map(([said]) => said);

/** The line ends behind the words of the loss, and so does any line of other text ("Train loss:", and a table below). */
const ENDS_LINE = 'a line that ends with a name and nothing behind it is a heading as well';
/** Nothing stands between two words that are parted by blanks alone, so the words have become one name. */
const PARTED_BY_BLANKS = 'a cell without a character is no cell where blanks part them';
/** Where a cell cannot be told, and why: in a layout of one cell, or of fixed places. */
const UNTOLD: Readonly<Record<string, { readonly said: readonly string[]; readonly why: string }>> = {
  caffe: { said: [''], why: ENDS_LINE },
  'stdout-fairseq': { said: ANY, why: 'its only value: a note says that the column has none' },
  'stdout-llm-c': { said: ['', 'overflow'], why: PARTED_BY_BLANKS },
  'ranks-side-by-side': { said: [''], why: ENDS_LINE },
  darknet: { said: [''], why: 'commas part its cells, which have places and no names' },
  fastai: { said: [''], why: PARTED_BY_BLANKS },
  fuxictr: { said: [''], why: ENDS_LINE },
  'kaldi-nnet3': { said: [''], why: PARTED_BY_BLANKS },
  'llm-foundry': { said: [''], why: ENDS_LINE },
  'deepmd-lcurve': { said: [''], why: PARTED_BY_BLANKS },
  easylm: { said: [''], why: 'Python prints no dictionary that lacks a value' },
  'build-server': { said: [''], why: 'Python prints no dictionary that lacks a value' },
  'r-gbm': { said: [''], why: PARTED_BY_BLANKS },
  'ms-recommenders': {
    said: [''],
    why: 'a step that is told before the comma, and an epoch in the next line',
  },
  'line-after': { said: [''], why: 'a line without an axis that lacks a value is other text' },
  'lightgbm-rank': { said: ANY, why: 'the gain of a ranking is no loss, and its line has no other' },
  ranklib: { said: ANY, why: 'the gain of a ranking is no loss' },
  'epochs-of-several-lines': { said: [''], why: ENDS_LINE },
  'rsl-rl': { said: [''], why: ENDS_LINE },
  tensorpack: { said: [''], why: ENDS_LINE },
  djl: { said: [''], why: ENDS_LINE },
  'nemo-rl': { said: [''], why: ENDS_LINE },
  'tf-cnn-benchmarks': { said: [''], why: ENDS_LINE },
  mlperf: {
    said: ANY,
    why: 'an object with a bare word or nothing for its value is no JSON, and its line other text',
  },
  'ml-agents': { said: ANY, why: 'a reward is no loss, and its line has no other' },
  'reinforce-episodes': { said: ANY, why: 'a reward is no loss, and its line has no other' },
  nequip: { said: [''], why: PARTED_BY_BLANKS },
  olmo: { said: [''], why: ENDS_LINE },
  'julia-info': { said: [''], why: ENDS_LINE },
  nnunet: { said: ANY, why: 'a line of one name and its number, and no axis: words are a sentence' },
  'nnunet-v1': { said: [''], why: ENDS_LINE },
  orbit: { said: [''], why: ENDS_LINE },
  'ordinal-step': { said: [''], why: ENDS_LINE },
  'frustum-pointnets': { said: [''], why: ENDS_LINE },
  pointnet2: { said: [''], why: ENDS_LINE },
  'step-through-epochs': { said: [''], why: ENDS_LINE },
  spacy: { said: [''], why: PARTED_BY_BLANKS },
  'pandas-frame': { said: [''], why: PARTED_BY_BLANKS },
  sasrec: { said: [''], why: ENDS_LINE },
  parlai: { said: [''], why: PARTED_BY_BLANKS },
  'names-in-brackets': { said: [''], why: 'nothing stands before the name in brackets' },
  'ranks-mixed': { said: ANY, why: 'other ranks tell its step, and no rank stands before the line' },
  tacotron2: { said: [''], why: PARTED_BY_BLANKS },
  'tf2-object-detection': { said: [''], why: ENDS_LINE },
  'llama-cpp-finetune': { said: [''], why: 'the spread stands where the mean should' },
  tinygrad: { said: ANY, why: 'a name behind its number: another word there is part of the name' },
  torchtune: { said: [''], why: 'colons part its cells, and two of them are one' },
  'metric-logger': { said: [''], why: 'the average in brackets behind it is taken for the value' },
  'lightning-tqdm': { said: ANY, why: 'the end of a bar that tells nothing else: it is drawn again' },
  'torchrec-nvt': { said: ANY, why: 'a line of one name and its number, and no axis: words are a sentence' },
  'vowpal-wabbit': { said: [''], why: PARTED_BY_BLANKS },
  xlearn: { said: [''], why: PARTED_BY_BLANKS },
  ultralytics: { said: [''], why: PARTED_BY_BLANKS },
  yolov5: { said: [''], why: PARTED_BY_BLANKS },
  'yolo-results': { said: [''], why: PARTED_BY_BLANKS },
  'dlrm-v2': { said: ANY, why: 'a line of one name and its number, and no loss' },
};

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const cellsOf = ({ value, missing, refused }: TimeSeries): number => value.length + missing + refused;

describe('a loss that is no number', () => {
  const check = async (
    text: string,
    changed: (said: string) => string,
    name: string,
    series?: string,
  ): Promise<void> => {
    const open = async (content: string) =>
      finishLog(await readRawStream(once(content), name), { sidecars: false });
    const of = (log: Awaited<ReturnType<typeof open>>): TimeSeries[] =>
      log.runs[0]!.series.filter((one) =>
        series === undefined ? isLossLike(one.role) : one.name === series,
      );
    const sum = (all: readonly TimeSeries[], count: (one: TimeSeries) => number): number =>
      all.reduce((total, one) => total + count(one), 0);
    const whole = of(await open(text));
    for (const [said, what] of SAID) {
      if (UNTOLD[name]?.said.includes(said)) continue;
      const log = await open(changed(said)).catch((error: unknown) => {
        expect(error, `${name}: ${said}`).toBeInstanceOf(DiagError);
      });
      // One that is told as an error of the file needs no row.
      if (log === undefined || log.errors.length > 0) continue;
      const found = of(log);
      // Of a name that is no loss by its role it is counted.
      if (sum(found, ({ refused }) => refused) > 0)
        expect(found.some(({ role }) => isLossLike(role))).toBe(false);
      if (what === 'refused') expect([said, sum(found, ({ refused }) => refused)]).toEqual([said, 1]);
      else
        expect([said, sum(found, ({ missing }) => missing)]).toEqual([
          said,
          sum(whole, ({ missing }) => missing) + 1,
        ]);
      // Ranks that print side by side are one point, of which a cell that is none is no part.
      expect(sum(found, cellsOf), said).toBeGreaterThanOrEqual(sum(whole, cellsOf));
    }
  };
  it.each(layouts)('of the layout %s', async (name) => {
    const text = layout(name);
    const { nan } = JSON.parse(readFileSync(join(fixtures, 'printed', name, 'expected.json'), 'utf8')) as {
      nan: { replace: string; with: string; series: string };
    };
    await check(
      text,
      (said) => text.replace(nan.replace, () => nan.with.replace(/-?nan(?:32)?/i, () => said)),
      name,
      nan.series,
    );
  });
  it.each(dialects)('of the dialect %s', async (name) => {
    const text = dialect(name);
    // The last of several losses: those before it make the layout known.
    const places = [...text.matchAll(/(?<=\b(?:loss|trl)['"]?[ :=]{1,3}['"]?)\d+\.\d+/g)];
    const at = places.at(-1);
    expect(places.length, name).toBeGreaterThan(name === 'stdout-deepspeed' ? -1 : 2);
    if (at === undefined) return;
    await check(text, (said) => text.slice(0, at.index) + said + text.slice(at.index + at[0].length), name);
  });
  it('is none where a line tells the place of another one: no line of the log', async () => {
    const text = Array.from(
      { length: 20 },
      (_, k) => `Epoch ${k}: loss ${(2 / (k + 1)).toFixed(4)} lr 0.1\nEpoch ${k}: loss improved lr 0.1\n`,
    );
    const log = await finishLog(await readRawStream(once(text.join('')), 'log'), { sidecars: false });
    expect(log.errors).toEqual([]);
    expect(log.runs[0]!.series.find(({ name }) => name === 'loss')).toMatchObject({ missing: 0, refused: 0 });
  });
});

it('no number is told as a value that is none', async () => {
  const whole = { name: 'espnet', bytes: Buffer.from(layout('espnet')) };
  const { bytes } = damaged(whole, 7, 8222);
  const text = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes;
  };
  const espnet = await finishLog(await readRawStream(text(), 'log'), { sidecars: false });
  // `loss_ctc` of the first part is gone, and that of the second is a number.
  expect(espnet.errors.map(({ message }) => message).join()).not.toMatch(/says "[\d.…]*"/);
});
