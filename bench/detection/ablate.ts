/**
 * What each rule of the judge is worth: it is switched off in a copy of the source, and the copy is scored on the made runs, on the
 * shared cases, and on the public logs whose class readers wrote down, where they are present.
 *
 *     npx tsx bench/detection/ablate.ts [--seeds 1,20908] [--count 30] [--points 60,600,6000] [--only TEXT]
 *
 * One line a rule, the judge in use first: wrong answers for each seed, healthy and hurt apart; kinds that differ by two and more;
 * cases whose truth is not found; logs whose class is not accepted. A rule whose line is no worse than the first may go.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { worstOf } from '../../src/judge/incidents/judge.ts';
import type { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import type { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Run } from '../../src/model/run.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { incidentCases } from '../../test/incidents/cases.ts';
import { manifestFiles, projectRoot, sharedData } from '../../test/support/shared-data.ts';
import { KINDS, type MadeRun, madeRuns } from './made.ts';
import { RULES, type Rule } from './rules.ts';

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1,20908' },
    count: { type: 'string', default: '30' },
    points: { type: 'string', default: '60,600,6000' },
    only: { type: 'string', default: '' },
  },
});

/** A copy of the judge without a rule; an edit that finds nothing, or more than one place, is stale. */
async function judgeWithout(rule: Rule | null) {
  const folder = mkdtempSync(join(tmpdir(), 'ablate-'));
  for (const part of ['model', 'judge/incidents'])
    cpSync(join(projectRoot, 'src', part), join(folder, 'src', part), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const incidents = join(folder, 'src/judge/incidents');
  for (const [file, find, replacement] of rule?.edits ?? []) {
    const text = readFileSync(join(incidents, file), 'utf8');
    if (text.split(find).length !== 2) throw new Error(`${rule!.name}: "${find}" is not once in ${file}`);
    writeFileSync(
      join(incidents, file),
      text.replace(find, () => replacement),
    );
  }
  const load = (file: string) => import(pathToFileURL(join(incidents, file)).href);
  const loaded = {
    ...((await load('judge-attempt.ts')) as { judgeAttempt: typeof judgeAttempt }),
    ...((await load('verdict.ts')) as { judgeRun: typeof judgeRun }),
  };
  rmSync(folder, { recursive: true });
  return loaded;
}

const seeds = options.seeds.split(',').map(Number);
const lengths = options.points.split(',').map(Number);
/** The made runs, once for all rules. */
const made = seeds.map((seed) =>
  KINDS.map((kind, row) => ({
    kind,
    runs: lengths.flatMap((n): MadeRun[] => [
      ...madeRuns(kind, n, Math.ceil(Number(options.count) * Math.min(1, 600 / n)), seed * 1000 + row),
    ]),
  })),
);
const cases = incidentCases();
const logs: { readonly run: Run; readonly accepted: readonly string[] }[] = [];
for (const { kind, dest, expectedClass } of manifestFiles)
  if (kind.startsWith('log/') && expectedClass !== undefined)
    for (const run of (await readLogFile(join(sharedData!, dest))).runs)
      logs.push({ run, accepted: expectedClass });

/** Wrong answers of a judge. */
function scored(judge: Awaited<ReturnType<typeof judgeWithout>>) {
  const ask = (values: Float64Array) =>
    judge.judgeAttempt(values, DEFAULT_VERDICT_SETTINGS, { levelSays: true, isWhole: true });
  const wrong = made.map((rows) =>
    rows.map(
      ({ kind, runs }) =>
        runs.filter((run) => {
          const { class: found, incidents } = ask(run.values);
          return !kind.right({ class: found, onset: worstOf(incidents)?.onset ?? null }, run);
        }).length,
    ),
  );
  const missed = cases.filter(({ truth, losses }) => {
    const { incidents } = ask(Float64Array.from(losses));
    return truth === null
      ? incidents.length > 0
      : !incidents.some(({ onset }) => Math.abs(onset - truth.at) <= 4);
  }).length;
  const refused = logs.filter(
    ({ run, accepted }) => !accepted.includes(judge.judgeRun(run).verdict.class),
  ).length;
  return { wrong, missed, refused };
}

const sumOf = (wrong: readonly number[], group: string): number =>
  wrong.reduce((sum, count, row) => sum + (KINDS[row]!.group === group ? count : 0), 0);

const inUse = scored(await judgeWithout(null));
for (const rule of [null, ...RULES.filter(({ name }) => name.includes(options.only))]) {
  const { wrong, missed, refused } = rule === null ? inUse : scored(await judgeWithout(rule));
  const cells = wrong.map((of) => `${sumOf(of, 'healthy')} ${sumOf(of, 'hurt')}`);
  const differ = KINDS.flatMap(({ name }, row) => {
    const by = wrong.reduce((sum, of, k) => sum + of[row]! - inUse.wrong[k]![row]!, 0);
    return Math.abs(by) >= 2 ? [`${name} ${by > 0 ? '+' : ''}${by}`] : [];
  });
  const name = rule?.name ?? 'the judge in use';
  console.log(`| ${name} | ${cells.join(' | ')} | ${missed} | ${refused} | ${differ.join('; ')} |`);
}
