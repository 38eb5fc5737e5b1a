/** `who`: the rows of a step, the same batch at other steps, and what a resume gave again. */
import { appendFileSync, cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { StepBatch } from '../../src/model/step-batch.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const base = join(projectRoot, 'fixtures/ledgers/base/ledger');
const scratch = scratchFolders('who');

async function who(step: number, path: string): Promise<StepBatch> {
  return (JSON.parse((await cli(['who', `${step}`, path, '--json'])).out) as { batch: StepBatch }).batch;
}

/** A copy of the ledger to which a second process adds its lines; `batches` are steps whose batches it takes. */
function resumed(batches: readonly number[]): string {
  const at = join(scratch(), 'ledger');
  cpSync(base, at, { recursive: true });
  const lines = readFileSync(join(base, 'steps.jsonl'), 'utf8').trim().split('\n');
  const [session] = lines;
  const steps = lines.slice(1).map((line) => JSON.parse(line) as Record<string, unknown>);
  appendFileSync(join(at, 'steps.jsonl'), `${session!.replace(/"session":"\w+"/, '"session":"ffffffff"')}\n`);
  batches.forEach((from, k) => {
    const batch = from < 0 ? { batch: `${k}`.padStart(16, 'a') } : {};
    appendFileSync(
      join(at, 'steps.jsonl'),
      `${JSON.stringify({ ...steps[Math.max(from, 0)], step: 8 + k, ...batch })}\n`,
    );
  });
  return at;
}

test('names the rows of a step in ranges', async () => {
  const { code, out } = await cli(['who', '3', base]);
  expect([code, out]).toEqual([0, 'Step 3 was trained on 8 rows: 24 to 31.\n']);
  expect(await who(3, base)).toMatchObject({ rows: [{ from: 24, to: 31 }], sameBatch: [], resume: null });
});

test('finds the ledger of a run in its folder, and wants one of several named', async () => {
  expect((await who(0, join(base, '..'))).rows).toEqual([{ from: 0, to: 7 }]);
  expect((await cli(['who', '0', join(projectRoot, 'fixtures/ledgers')])).code).toBe(2);
});

test('says which steps had the same batch, and what a resume gave again; a resume that goes on gave nothing again', async () => {
  const again = await who(9, resumed([0, 1, 2]));
  expect(again).toMatchObject({ sameBatch: [1], resume: { step: 8, batches: 3, again: 3 } });
  expect(again.statement).toMatch(/resumed at step 8; 3 of its 3 batches had come before/);
  const goesOn = await who(9, resumed([-1, -1, -1]));
  expect(goesOn).toMatchObject({ sameBatch: [], resume: { again: 0 } });
  expect(goesOn.statement).not.toMatch(/before/);
});

test('a step whose ids are not kept has the nearest that are; one that was not recorded is said to be absent', async () => {
  const at = resumed([-1]);
  expect((await who(8, at)).nearest).toEqual({ before: 7, after: null });
  rmSync(join(at, 'ids'), { recursive: true });
  expect((await who(2, at)).statement).toMatch(/pass batch_id= to the recorder/);
  const { code, out } = await cli(['who', '99', base]);
  expect([code, out]).toEqual([4, 'The ledger has no step 99.\n']);
});
