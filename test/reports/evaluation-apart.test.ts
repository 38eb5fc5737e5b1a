/** What the page notes of an evaluation that ends far above the training loss. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('evaluation-apart');

/** The note on 300 points of a loss that falls to 0.5, with evaluations under a name. */
async function noted(name: string, evaluated: (loss: number) => number): Promise<string> {
  const path = join(folder(), 'log.jsonl');
  const rows = Array.from({ length: 300 }, (_, step) => {
    const loss = (0.5 + 2 * Math.exp(-step / 40)) * (1 + 0.02 * Math.sin(7 * step));
    return { step, loss, ...(step % 50 === 49 ? { [name]: evaluated(loss) } : {}) };
  });
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const report = await analyze([path], { toolVersion: '0', now: () => new Date(0) });
  return answerOf(report.runs[0]!, report).parts.find(({ label }) => label === 'Noted')?.text ?? '';
}

it('both causes, and the look that tells them apart', async () => {
  expect(await noted('eval_loss', (loss) => 2 * loss)).toMatch(
    /^`eval_loss` ends at .* 2(?:\.\d+)? times the training loss: over-fitting, or computed otherwise \(evaluate training rows the same way\)\.$/,
  );
});

it.each([
  ['eval_loss', (loss: number) => 1.1 * loss],
  ['eval_ppl', (loss: number) => Math.exp(loss)],
  ['valid perplexity', (loss: number) => Math.exp(loss)],
])('nothing of an evaluation `%s` that is as good', async (name, evaluated) => {
  expect(await noted(name, evaluated)).toBe('');
});

/** The page of a loss that falls, with what is evaluated every twenty steps. */
async function pageOf(evaluated: (step: number) => Record<string, number>, from = 0.5): Promise<string> {
  const path = join(folder(), 'log.jsonl');
  const rows = Array.from({ length: 300 }, (_, step) => {
    const loss = (from + 2 * Math.exp(-step / 40)) * (1 + 0.02 * Math.sin(7 * step));
    return { step, loss, ...(step % 20 === 19 ? evaluated(step) : {}) };
  });
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return (await cli(['analyze', path])).out;
}

it('a metric at chance under a loss that falls has the first line, with the look that tells why', async () => {
  const page = await pageOf((step) => ({ val_acc: 0.1 + 0.004 * Math.sin(step * step) }));
  expect(page).toMatch(/^! THE LOSS FALLS, but val_acc stays at chance {3}loss 2\.\d+ → 0\.5/);
  expect(page).toMatch(
    /Noted {3}"val_acc" is [\s\S]*chance for 10 classes\.\n {2}Try {5}Evaluate training rows/,
  );
  expect(await pageOf((step) => ({ val_acc: 0.1 + step / 500 }))).toMatch(/^✓ HEALTHY/);
});

it('an evaluation that is a guess names no checkpoint as the best', async () => {
  const rises = (step: number): Record<string, number> => ({ eval_loss: 2.3 + step / 100 });
  expect(await pageOf(rises)).toMatch(/EVALUATION GETS WORSE[\s\S]*Use the checkpoint of step 19/);
  const guess = await pageOf((step) => ({ ...rises(step), val_acc: 0.1 + 0.004 * Math.sin(step * step) }));
  expect(guess).toMatch(/EVALUATION GETS WORSE[\s\S]*Fix {5}Evaluate rows of the training set the same way/);
  expect(guess).not.toMatch(/Use the checkpoint|Try /);
});
