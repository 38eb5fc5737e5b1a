/** What a baseline keeps of a run, and what the gate then asks of the next one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('baseline');

/** A loss that falls to 0.5 and goes on at 0.52, and an AUC that rises to 0.8 and ends at 0.79, each times a factor. */
function logOf(folder: string, name: string, lossTimes: number, aucTimes: number): string {
  const path = join(folder, name);
  const lines = Array.from({ length: 200 }, (_, step) => {
    const wobble = 1 + 0.01 * Math.sin(7 * step);
    const loss = lossTimes * (step === 150 ? 0.5 : (0.52 + Math.exp(-step / 20)) * wobble);
    const auc = aucTimes * (step === 150 ? 0.8 : 0.78 - 0.2 * Math.exp(-step / 20));
    return JSON.stringify({ step, loss, auc });
  });
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

test('a baseline keeps the last and the best value: the lowest loss, the highest AUC', async () => {
  const folder = scratch();
  const file = join(folder, 'b.json');
  const config = join(folder, 'c.yaml');
  writeFileSync(config, `version: 1\nextends: recommended\nbaseline: { file: ${JSON.stringify(file)} }\n`);
  const update = async (path: string) =>
    expect((await cli(['baseline', 'update', path, '--file', file, '--allow-outside'])).code).toBe(0);
  await update(logOf(folder, 'run.jsonl', 1, 1));
  const { runs } = JSON.parse(readFileSync(file, 'utf8')) as {
    runs: Record<string, { values: { series: string; statistic: string; better: string; value: number }[] }>;
  };
  const [base] = Object.values(runs);
  const kept = base!.values.map(({ series, statistic, better }) => `${series} ${statistic} ${better}`);
  expect(kept.sort()).toEqual(['auc last higher', 'auc max higher', 'loss last lower', 'loss min lower']);
  expect(base!.values.find(({ statistic }) => statistic === 'min')!.value).toBe(0.5);
  expect(base!.values.find(({ statistic }) => statistic === 'max')!.value).toBe(0.8);

  const rules = async (lossTimes: number, aucTimes: number) => {
    const path = logOf(folder, 'run.jsonl', lossTimes, aucTimes);
    const { out } = await cli(['gate', path, '--config', config, '--json']);
    const { gate } = JSON.parse(out) as {
      gate: { rules: { id: string; status: string; expected: string }[] };
    };
    return gate.rules.filter(({ id }) => id.startsWith('baseline'));
  };
  const failed = async (lossTimes: number, aucTimes: number) =>
    (await rules(lossTimes, aucTimes))
      .filter(({ status }) => status === 'fail')
      .map(({ expected }) => expected.split(' with ')[0]!.replace(/\d{4,}$/, ''));
  expect(await failed(1, 1)).toEqual([]);
  // Better is no failure, and worse is one of the best value and of the last.
  expect(await failed(0.5, 1.2)).toEqual([]);
  expect((await failed(1.5, 1)).every((rule) => rule.includes('(loss) <= '))).toBe(true);
  expect((await failed(1.5, 1)).length).toBe(2);
  expect((await failed(1, 0.5)).every((rule) => rule.includes('(auc) >= '))).toBe(true);
  expect((await failed(1, 0.5)).length).toBe(2);
});
