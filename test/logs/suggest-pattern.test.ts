/** What is refused gets a `--pattern` that reads it: over the layouts with their names and marks changed, one line of each left. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const read = (text: string, pattern?: string) =>
  readRawStream(once(text), 'x.txt', pattern === undefined ? {} : { pattern }).catch(
    (error: unknown) => error,
  );

/** Ways in which a script prints what no reader takes for a record. */
const CHANGES: Readonly<Record<string, (line: string) => string>> = {
  'one line among prose': (line) => line,
  'other marks': (line) => line.replace(/(loss\w*)[:=]? ?(?=[-\d.])/gi, '$1 => '),
  'another axis': (line) => line.replace(/\b(?:step|epoch|iter(?:ation)?|batch)\b/gi, 'tick'),
  'another name': (line) => line.replace(/\bloss\b/gi, 'my_loss_v2'),
};
/** A loss with its number, as a person sees it. */
const SEEN = /loss\w*["')]{0,2}\s{0,2}(?:=>|[:=])?\s{0,6}['"(]?(\d+\.\d+(?:e[-+]?\d+)?)/i;

const folder = join(projectRoot, 'fixtures/printed');
describe('the pattern for what is refused', () => {
  for (const [change, apply] of Object.entries(CHANGES))
    it(change, async () => {
      let refused = 0;
      for (const name of readdirSync(folder)) {
        const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
        const line = text
          .replace(/\u001b\[[\d;]*m/g, '')
          .split(/[\r\n]+/)
          .map(apply)
          .find((one) => SEEN.test(one));
        if (line === undefined) continue;
        const page = `Starting\n${line}\nDone\n`;
        const error = await read(page);
        if (!(error instanceof DiagError)) continue;
        refused++;
        expect({ name, line, code: error.code }).toEqual({ name, line, code: 'log-no-record' });
        expect(error.message).toContain(line.trim().slice(0, 100));
        const pattern = /--pattern '(.*)'/.exec(error.hint!)![1]!;
        const log = await read(page, pattern);
        expect(log, `${name}: ${pattern}`).not.toBeInstanceOf(Error);
        const series = log as Exclude<typeof log, DiagError> as Awaited<ReturnType<typeof readRawStream>>;
        const loss = series.runs[0]!.series.find((one) => one.name === 'loss');
        expect({ name, line, pattern, loss: loss?.value.at(0) }).toEqual({
          name,
          line,
          pattern,
          loss: Number(SEEN.exec(line)![1]),
        });
      }
      expect(refused).toBeGreaterThan(5);
    });
});

describe('numbers without the name of a loss', () => {
  it('six lines are too few to guess by: the error names the command that learns a layout', async () => {
    const losses = [3.29, 2.8, 2.47, 'nan', 1.98, 1.81];
    const error = await read(losses.map((loss, i) => `${i * 100}/ 200000: ${loss}\n`).join(''));
    expect(error).toMatchObject({ code: 'format-unknown' });
    expect((error as DiagError).hint).toContain('clippy-diag teach x.txt');
  });
  it('ten lines are read by guess', async () => {
    const losses = Array.from({ length: 10 }, (_, i) => 3.3 * Math.exp(-i / 3) + (i % 2) / 50);
    const log = await read(losses.map((loss, i) => `${i * 100}/ 200000: ${loss.toFixed(4)}\n`).join(''));
    expect(log).toMatchObject({ readBy: { how: 'guess' } });
  });
});

it.each(['Pixel_accuracy is ', 'Train-Acc=', 'Mean PSNR: ', 'correct: '])(
  'a number that is called something else is offered as no loss: %s',
  async (name) => {
    const rows = Array.from({ length: 12 }, (_, i) => `picture ${i}.png ${name}0.${90 - i}`);
    const error = (await read(`${rows.join('\n')}\n`)) as DiagError;
    expect(error).toBeInstanceOf(DiagError);
    expect(`${error.message} ${error.hint}`).not.toContain(name.trim().slice(0, -1));
  },
);

describe('what is no loss', () => {
  it.each([
    ['its weights', (i: number) => `Namespace(loss_weights=[1.0, 0.${i}], patch_size=16)`],
    ['the best measure so far', (i: number) => `Retrieved metric value! <val/acc_best=0.5${i}44>`],
  ])('gets no pattern: %s', async (_, line) => {
    const error = await read(Array.from({ length: 8 }, (_, i) => `${line(i)}\n`).join(''));
    expect(error).toBeInstanceOf(DiagError);
    expect((error as DiagError).hint).not.toMatch(/loss_weights|acc_best/);
    expect((error as DiagError).message).not.toContain('looks most like');
  });
});
