/** What the page notes of an evaluation that ends far above the training loss. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
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
