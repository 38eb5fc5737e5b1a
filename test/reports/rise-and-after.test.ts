/** What the page says of a loss that rises, by where it goes from there: written, read, judged and told as a user's log is. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('rise-and-after');
const RISE = 301;

/** What the page says of 700 points around a level of 1 with little noise. */
async function told(above: (i: number) => number) {
  const path = join(folder(), 'log.csv');
  const rows = Array.from({ length: 700 }, (_, i) => `${i},${(1 + above(i)) * (1 + 0.02 * Math.sin(7 * i))}`);
  writeFileSync(path, `step,loss\n${rows.join('\n')}\n`);
  const report = await analyze([path], { toolVersion: '0', now: () => new Date(0) });
  const [run] = report.runs;
  const answer = answerOf(run!, report);
  const part = (name: string): string => answer.parts.find(({ label }) => label === name)?.text ?? '';
  return { run: run!, answer, part };
}

it.each([
  {
    what: 'comes back',
    above: (i: number) => 1.6 * Math.exp(-i / 10),
    title: /^RECOVERED from a rise at step 301$/,
    change: /, back at step \d+, ends at/,
    fix: /^Nothing: the run came back/,
    advice: /^The run came back, /,
  },
  {
    what: 'stays 1.3 times as high',
    above: () => 0.3,
    title: /^SETTLED HIGHER since step 301$/,
    change: /: no recovery$/,
    fix: /^Keep a checkpoint at or before step \d+\. Evaluate weights from after step \d+ on batches from before it/,
    advice: /^The loss settled above its level before: /,
  },
  {
    what: 'stays so for long, learns on and ends as low as before',
    above: (i: number) => 0.3 * Math.exp(-((i / 250) ** 4)),
    title: /^RECOVERED from a rise at step 301$/,
    change: /, back at step 52\d, ends at (0|1)\.\d+$/,
    fix: /^Nothing: the run came back/,
    advice: /^The run came back, /,
  },
  {
    what: 'stays 1.8 times as high',
    above: () => 0.8,
    title: /^WENT UP from step 301$/,
    change: /: no recovery$/,
    fix: /^Keep a checkpoint at or before step \d+\. Evaluate weights from after step \d+ on batches from before it/,
    advice: null,
  },
])('a loss that rises and $what', async ({ above, title, change, fix, advice }) => {
  const { run, answer, part } = await told((i) => (i < RISE ? 0 : above(i - RISE)));
  expect(answer.title).toMatch(title);
  expect(answer.change).toMatch(change);
  expect(part('Fix')).toMatch(fix);
  const found = run.findings.find(({ id }) => id === 'micro-divergence');
  if (advice === null) expect(found).toBeUndefined();
  else expect(found!.advice).toMatch(advice);
});

it('a loss that ends in NaN, and is finite now and then before that, is not called NaN to the end', async () => {
  const { answer } = await told((i) => (i === 500 || i >= 650 ? Number.NaN : 0));
  expect(answer.change).toMatch(/no number to the end$/);
  const again = await told((i) => (i >= 600 && i % 2 === 1 ? Number.NaN : 0));
  expect(again.answer.title).toMatch(/^NOT A NUMBER from step 601$/);
  expect(again.answer.change).toMatch(/no number at the end, finite now and then$/);
});

it('a loss that rises from its first step on has no checkpoint from before, only the weights that it began with', async () => {
  const path = join(folder(), 'log.csv');
  const rows = Array.from(
    { length: 100 },
    (_, i) => `${i},${(1 + 0.005 * i) * (1 + 0.02 * Math.sin(7 * i))}`,
  );
  writeFileSync(path, `step,loss\n${rows.join('\n')}\n`);
  const report = await analyze([path], { toolVersion: '0', now: () => new Date(0) });
  const fix = answerOf(report.runs[0]!, report).parts.find(({ label }) => label === 'Fix')!.text;
  expect(fix).toMatch(/^Keep the weights that the run began with\. /);
});

it.each([
  [
    'every hundred steps',
    (i: number) => i % 100 === 0,
    /^Line \d+ of .*6 such rises, steps 100 to 600, one every 100\.$/,
  ],
  [
    'now and then',
    (i: number) => [150, 310, 350, 640].includes(i),
    /^Line \d+ of .*4 such rises, steps 150 to 640\.$/,
  ],
  ['once', (i: number) => i === 400, /^Line 402 of \S+log\.csv\.$/],
])(
  'a loss that rises %s for a step: how often, and the line of the one that is told',
  async (_, at, where) => {
    // A little higher each time, so that the last one is told.
    const { run, part } = await told((i) => (i > 0 && at(i) ? 1.5 + i / 1000 : 0));
    expect(part('Where')).toMatch(where);
    expect(part('Where')).toContain(`Line ${run.verdict.onsetStep! + 2} of `);
  },
);

it('a lone point of noise is no rise such as one a hundred times as high', async () => {
  const { run, part } = await told((i) => (i === 150 ? 1.5 : i === 400 ? 200 : 0));
  expect(run.verdict.incidents.map(({ onsetStep }) => onsetStep).sort()).toEqual([150, 400]);
  expect(part('Where')).toMatch(/^Line 402 of \S+log\.csv\.$/);
});

it('a higher rise before the one that did not come back hides it not', async () => {
  const { answer, part } = await told((i) => (i >= 200 && i < 205 ? 2 : i >= 450 ? 0.4 : 0));
  expect(answer.title).toBe('WENT UP from step 450');
  expect(answer.change).toMatch(/ → 1\.\d+: no recovery$/);
  expect(part('Where')).toMatch(/^Line 452 of /);
  expect(part('Fix')).toMatch(
    /^Keep a checkpoint at or before step 405\. Evaluate weights from after step 450 on batches from before it/,
  );
  expect(part('Also')).toMatch(/rose at step 200, back at 205\.$/);
});
