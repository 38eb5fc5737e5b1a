/**
 * Incidents that a few bad rows made, drawn at random: which rows are named, and whether the run without them holds. `npm run soak`
 * draws forty, and others each day.
 */
import { expect, it } from 'vitest';
import { random as seededRandom } from '../support/random.ts';
import { analyzed, CLEAN, SURGE } from './made-run.ts';

const RUNS = Math.min(40, Math.max(3, Math.round(Number(process.env.CLIPPY_DIAG_FUZZ) / 2000)));
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_130);
const ROWS = 128;
const batches = CLEAN.slice(0, 48);

/** One to eight rows of one to three batches, multiplied by 8 to 100. */
function drawn(random: () => number) {
  const at = 18 + Math.floor(6 * random());
  const count = 1 + Math.floor(3 * random());
  const each = 1 + Math.floor(8 * random());
  const rows = new Map<number, readonly number[]>();
  for (let k = 0; k < count; k++)
    rows.set(batches[at + k]!, [...new Set(Array.from({ length: each }, () => Math.floor(ROWS * random())))]);
  const times = 8 * 12.5 ** random();
  return { rows, tensor: 'dense', times };
}

it('names at least 70 % of them, at most one other row in 1,000, and the run without them holds', async () => {
  const random = seededRandom(SEED);
  let [bad, found, others, lookedAt, held, incidents] = [0, 0, 0, 0, 0, 0];
  for (let run = 0; run < RUNS; run++) {
    const spoiltRows = drawn(random);
    const { verdict, remedies } = await analyzed({ batches, spoiltRows });
    // Some rows are too weak to break anything.
    if (verdict.onsetStep === null) continue;
    incidents++;
    const remedy = remedies?.find(({ action }) => action === 'skip-rows');
    const named = new Map(remedy?.skipRows?.map(({ step, rows }) => [batches[step - 1000]!, rows]));
    for (const [batch, rows] of spoiltRows.rows) {
      bad += rows.length;
      found += rows.filter((row) => named.get(batch)?.includes(row)).length;
    }
    for (const [batch, rows] of named)
      others += rows.filter((row) => spoiltRows.rows.get(batch)?.includes(row) !== true).length;
    lookedAt += ROWS * batches.length;
    held += Number(remedy?.holds === true);
  }
  console.log(
    `${incidents} incidents of ${RUNS}: ${found} of ${bad} rows named, ${others} others of ${lookedAt}; without them ${held} hold`,
  );
  expect(incidents).toBeGreaterThan(0);
  expect(found / bad).toBeGreaterThanOrEqual(0.7);
  expect(others / lookedAt).toBeLessThanOrEqual(0.001);
  // A few draws say little of a share: most of them hold.
  expect(held).toBeGreaterThan(incidents / 2);
});

it('whole batches that are bad are no rows', async () => {
  const { remedies } = await analyzed({ batches: [...CLEAN.slice(0, 20), ...SURGE, ...CLEAN.slice(20)] });
  expect(remedies!.map(({ action }) => action)).toContain('skip-batches');
  expect(remedies!.map(({ action }) => action)).not.toContain('skip-rows');
});
