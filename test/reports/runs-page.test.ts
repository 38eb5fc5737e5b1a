/** The page of many runs says of which a healthy loss is not all. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('runs-page');

/** Losses of 60 epochs, of training rows and of others. */
const epochs = (evaluated: (epoch: number, loss: number) => number): string =>
  Array.from({ length: 60 }, (_, epoch) => {
    const loss = 0.05 + Math.exp(-epoch / 10) + 0.004 * Math.sin(37 * epoch);
    return `${JSON.stringify({ epoch, loss, val_loss: evaluated(epoch, loss) })}\n`;
  }).join('');

async function pageOf(runs: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const folder = scratch();
  for (const [name, text] of Object.entries(runs)) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'log.jsonl'), text);
  }
  const formats = ['html', 'markdown'].flatMap((one) => ['--report', `${one}:${join(folder, one)}`]);
  const { out } = await cli(['analyze', ...Object.keys(runs).map((name) => join(folder, name)), ...formats]);
  const written = (name: string): string => readFileSync(join(folder, name), 'utf8').replaceAll('\\', '');
  return { terminal: out.replaceAll(/\s+/g, ' '), html: written('html'), markdown: written('markdown') };
}

const well = epochs((_, loss) => 1.1 * loss);
const overFits = epochs((epoch, loss) => 1.1 * loss + (epoch > 15 ? 0.02 * (epoch - 15) : 0));

it('names a run whose evaluation is not well in every form of the page', async () => {
  const pages = await pageOf({ a: well, b: overFits, c: well });
  for (const [form, text] of Object.entries(pages)) {
    expect(text, form).toContain('not every run is well');
    expect(text, form).toMatch(/b\/log[._]jsonl: EVALUATION GETS WORSE since epoch 19/);
  }
});

it('says nothing of it where all are well', async () => {
  for (const text of Object.values(await pageOf({ a: well, b: well })))
    expect(text).not.toContain('not every run');
});
