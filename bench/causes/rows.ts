/**
 * Incidents that one to eight bad rows made: how many of the rows are named, how many others, and how the run ends without them.
 *
 *     CLIPPY_DIAG_PYTHON=$(.ci/venv torch) npx tsx bench/causes/rows.ts [--count 40] [--from 0] [--loops FRAMEWORK] [--folder FOLDER]
 *
 * make.py records the runs of family `data-rows`, `analyze` looks at each with batches and a model, and rows.py trains in
 * float64 without the rows that the first remedy of skipped rows names. With `--loops torch`, `jax` or `keras` loops.py records
 * runs of that framework and runs their closed loops, `analyze` has no model, and the truth is a training in that framework.
 * What is there already stays; `--again` asks anew.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { analyze } from '../../src/app/engine/analyze.ts';
import type { Remedy } from '../../src/model/cause.ts';
import type { Made } from './answers.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '40' },
    from: { type: 'string', default: '0' },
    folder: { type: 'string', default: join(tmpdir(), 'clippy-diag-rows') },
    again: { type: 'boolean', default: false },
    loops: { type: 'string' },
  },
});
const { folder } = values;
const { loops } = values;
const FIRST = (loops === undefined ? 200_000 : 0) + Number(values.from);
/** Times the end of a run that never had a bad row, up to which a run is as good. */
const AS_GOOD = 1.05;

function python(...[script, ...args]: readonly [string, ...string[]]): void {
  const [interpreter = 'python3'] = (process.env.CLIPPY_DIAG_PYTHON ?? '').split(':').filter(Boolean);
  const own = join(import.meta.dirname, script);
  const { status } = spawnSync(interpreter, [own, ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${script} ended with ${status}`);
}

const read = <T>(...path: string[]): T => JSON.parse(readFileSync(join(folder, ...path), 'utf8')) as T;

interface Named {
  readonly onsetStep: number | null;
  readonly trigger: string;
  readonly first: string;
  readonly holds: boolean | null;
  /** Of the rows that have ids those that the line to paste names. */
  readonly pasted: number | null;
  readonly skipRows: readonly { readonly step: number; readonly rows: readonly number[] }[];
}

interface Truth {
  /** Of each batch. */
  readonly rows: number;
  readonly bad: Readonly<Record<string, readonly number[]>>;
  /** Losses on clean rows at the end: without a bad row, with them, and without those that were named; null where it is no number. */
  readonly clean: number;
  readonly asItWas: number | null;
  readonly without: number | null;
}

/** How many ids of the rows that a remedy names are in its line to paste; null where the rows have none. */
function pastedOf(remedy: Remedy | undefined): number | null {
  const ids = remedy?.skipRows?.flatMap((one) => one.ids ?? []) ?? [];
  return ids.length === 0 ? null : ids.filter((id) => remedy?.paste?.includes(JSON.stringify(id))).length;
}

async function ask(name: string): Promise<void> {
  const path = (file: string): string => join(folder, name, file);
  const { runs } = await analyze([path('train.jsonl'), path('capture')], {
    toolVersion: '0',
    now: () => new Date(0),
    budget: 600,
  });
  const { verdict, cause, remedies = [] } = runs[0]!;
  const remedy = remedies.find(({ action }) => action === 'skip-rows');
  const named: Named = {
    onsetStep: verdict.onsetStep,
    trigger: cause!.trigger,
    first: remedies[0]?.action ?? 'none',
    holds: remedy?.holds ?? null,
    pasted: pastedOf(remedy),
    skipRows: remedy?.skipRows ?? [],
  };
  writeFileSync(path('named.json'), JSON.stringify(named));
}

const made: string[] = [];
for (let index = FIRST; index < FIRST + Number(values.count); index++) {
  if (loops === undefined) python('make.py', folder, String(index), '1');
  else python('loops.py', 'make', loops, folder, String(index));
  const name = loops === undefined ? String(index).padStart(4, '0') : String(index);
  if (!read<Made>(name, 'run.json').made) continue;
  made.push(name);
  if (values.again || !existsSync(join(folder, name, 'named.json'))) await ask(name);
}
if (loops === undefined) python('rows.py', folder);
else python('loops.py', 'truth', loops, folder);

const sums = {
  bad: 0,
  found: 0,
  good: 0,
  others: 0,
  named: 0,
  asGood: 0,
  first: 0,
  held: 0,
  pasted: 0,
  ids: 0,
};
for (const name of made) {
  const named = read<Named>(name, 'named.json');
  const { rows, bad, clean, asItWas, without } = read<Truth>(name, 'rows.json');
  const told = named.skipRows.flatMap((one) => one.rows.map((row) => `${one.step} ${row}`));
  const truth = new Set(Object.entries(bad).flatMap(([step, own]) => own.map((row) => `${step} ${row}`)));
  const found = told.filter((one) => truth.has(one)).length;
  const isAsGood = without !== null && without <= AS_GOOD * clean;
  sums.bad += truth.size;
  sums.found += found;
  sums.good += rows * Object.keys(bad).length - truth.size;
  sums.others += told.length - found;
  sums.named += Number(told.length > 0);
  sums.asGood += Number(isAsGood);
  sums.first += Number(named.first === 'skip-rows');
  sums.held += Number(named.holds === true);
  sums.pasted += named.pasted ?? 0;
  sums.ids += named.pasted === null ? 0 : told.length;
  const times = (end: number | null): string => (end === null ? '-' : (end / clean).toFixed(2));
  console.log(
    `${name} ${found} of ${truth.size} in ${Object.keys(bad).length} × ${rows}, ${told.length - found} others; ends at ${times(asItWas)} times the clean run, without them at ${times(without)}; onset ${named.onsetStep}, ${named.trigger}, first ${named.first}`,
  );
}
console.log(`${made.length} incidents of ${values.count}: rows named ${sums.found} of ${sums.bad}, others ${sums.others} of ${sums.good} in the same batches
rows named in ${sums.named} incidents, the first remedy in ${sums.first}, held by the report in ${sums.held}; without them as good as clean (${AS_GOOD} times) in ${sums.asGood}; ${sums.pasted} of ${sums.ids} rows with ids are in the line to paste`);
