/**
 * Mutation run: changes the source a little, one change at a time, and looks whether a test notices.
 *
 *     npm run mutation                       every scope below
 *     npm run mutation -- src/step/rules          one scope
 *     npm run mutation -- src/step/rules/agc.ts   one file
 *     npm run mutation -- --survivors        those that survived once more, after tests were added
 *     npm run mutation -- --named            those of named.ts, each once found alive by hand
 *     npm run mutation -- --page             runs nothing: results.md from results.json
 *
 * `--workers N` runs N mutants at a time (default: one for each processor). `--every N` tries every N-th mutant of a
 * file only, for a share that takes a part of the time; `--from K` those of rest K, 0 to N − 1. What a run finds of a
 * file replaces what stood of it in results.json, or adds to it where that was another rest of the same N of the
 * same file: N such runs are a full one. Survivors have a `why` there: write in it why no test can kill them, or need. Later
 * runs keep it. Exits with 1 where a scope kills less than 90 %, or a survivor has no reason.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Mutant, mutantsOf } from './mutants.ts';
import { NAMED, toMutant } from './named.ts';
import { type Answer, type Task, TIMED_OUT } from './worker.ts';

/**
 * What is mutated, and the tests that must notice: those that state what the file does, not those of the whole tool. A file
 * that is named here has its own, by their paths below `test/`; the others of its folder have those of `rest`.
 */
const SCOPES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'src/judge/incidents': {
    'attempts.ts': ['incidents/attempts', 'incidents/verdict'],
    'bands.ts': ['incidents/bands', 'incidents/cases'],
    'judge.ts': ['incidents/judge', 'incidents/cases'],
    'losses.ts': ['incidents/losses'],
    'settings.ts': ['incidents/judge', 'incidents/verdict', 'findings/thresholds', 'contracts/findings'],
    'signs.ts': ['incidents/signs'],
    'stream.ts': ['incidents/stream', 'incidents/cases'],
    'unlike.ts': ['cause/parts'],
    'verdict.ts': ['incidents/verdict', 'incidents/attempts'],
    rest: ['incidents/verdict', 'incidents/attempts', 'detectors/*'],
  },
  'src/app/gate': {
    'baseline.ts': ['gate/baseline-values'],
    'contradictions.ts': ['gate/contradictions'],
    'ends-early.ts': ['gate/judge-series'],
    'config-line.ts': ['gate/config-line'],
    'evidence.ts': ['gate/paths', 'gate/settled', 'gate/evidence'],
    'for-run.ts': ['gate/judge'],
    'judge-findings.ts': ['gate/judge'],
    'judge-series.ts': ['gate/judge-series'],
    'judge.ts': ['gate/judge'],
    'judgement.ts': ['gate/judge-series', 'gate/judge'],
    'presets.ts': ['gate/faults'],
    'problems.ts': ['gate/problems'],
    'settled.ts': ['gate/settled'],
    'thresholds.ts': ['gate/thresholds'],
    rest: ['gate/config'],
  },
  'src/step/rules': {
    rest: ['rules/*', 'contracts/{rules,compositions}', 'replay/{parity,from-log,several-rules}'],
  },
  'src/step/optimizers': {
    rest: ['contracts/optimizers', 'optimizers/*', 'replay/parity'],
  },
};
const testsOf = (file: string): readonly string[] => {
  const scope = scopeOf(file);
  const tests = SCOPES[scope]![file.slice(scope.length + 1)] ?? SCOPES[scope]!.rest!;
  return tests.map((test) => `test/${test}.test.ts`);
};
function scopeOf(path: string): string {
  const scope = Object.keys(SCOPES).find((name) => path === name || path.startsWith(`${name}/`));
  if (scope === undefined) throw new Error(`${path} lies in none of ${Object.keys(SCOPES).join(', ')}`);
  return scope;
}
const LEAST_KILLED = 0.9;
/** Seconds of processor time for the tests without a mutant. */
const CLEAN_LIMIT = 600;

interface Survivor {
  readonly line: number;
  /** The line as it stands. */
  readonly text: string;
  readonly change: string;
  /** `equivalent: …` (no test can see it) or `accepted: …` (no test needs to); null until someone looked. */
  readonly why: string | null;
}

interface FileResult {
  /** The last commit that had changed the file. */
  readonly commit: string;
  /** Those that were tried. */
  readonly mutants: number;
  /** Of how many, where not all were. */
  readonly of?: number;
  /** Which, where not all were: those whose place in the file, from 0, leaves one of the rests when divided. */
  readonly tried?: { readonly every: number; readonly rests: readonly number[] };
  readonly killed: number;
  /** Of those killed, how many never ended. */
  readonly timedOut: number;
  readonly cpuSeconds: number;
  readonly survivors: readonly Survivor[];
  /** Those that ran: patterns of paths. */
  readonly tests: readonly string[];
}

/** By path from the root of the project. */
type Results = Readonly<Record<string, FileResult>>;

const RESULTS = fileURLToPath(new URL('results.json', import.meta.url));
const PAGE = fileURLToPath(new URL('results.md', import.meta.url));

const keyOf = ({ text, change }: Pick<Survivor, 'text' | 'change'>): string => `${text}\n${change}`;

type Outcome = { readonly kind: 'survived' | 'killed' | 'timed out'; readonly cpuSeconds: number };

/** A process that runs the tests; a new one takes its place after a mutant that never ends. */
function createRunner(tests: readonly string[]) {
  let child: ChildProcess | undefined;
  let limit = 0;

  /** The next message, or the exit code of a process that ended without one. */
  const answer = <T>(from: ChildProcess): Promise<T | number> =>
    new Promise((settle) => {
      const onMessage = (message: unknown): void => {
        from.off('exit', onExit);
        settle(message as T);
      };
      const onExit = (code: number | null): void => {
        from.off('message', onMessage);
        settle(code ?? 1);
      };
      from.once('message', onMessage);
      from.once('exit', onExit);
    });
  const ask = (whom: ChildProcess, task: Task): Promise<Answer | number> => {
    whom.send(task);
    return answer<Answer>(whom);
  };
  /** The tests must pass unchanged; how long they take decides what is too long. */
  const start = async (): Promise<ChildProcess> => {
    const started = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), tests, {
      env: { ...process.env, CI: '1', CLIPPY_DIAG_FUZZ_SEED: '1' },
    });
    const found = await answer<readonly string[]>(started);
    if (typeof found === 'number' || found.length === 0) throw new Error(`no tests: ${tests.join(' ')}`);
    const clean = await ask(started, { limit: CLEAN_LIMIT });
    if (typeof clean === 'number') throw new Error(`the tests ended with code ${clean}`);
    if (clean.failed.length > 0) throw new Error(`fails without a mutant: ${clean.failed.join(' ')}`);
    limit = 4 + 3 * clean.cpuSeconds;
    return started;
  };

  return {
    run: async (file: string, mutant: Mutant): Promise<Outcome> => {
      child ??= await start();
      const said = await ask(child, { file, mutant, limit });
      if (typeof said !== 'number')
        return { kind: said.failed.length > 0 ? 'killed' : 'survived', cpuSeconds: said.cpuSeconds };
      child = undefined;
      return said === TIMED_OUT
        ? { kind: 'timed out', cpuSeconds: limit }
        : { kind: 'killed', cpuSeconds: 0 };
    },
    stop: (): void => {
      if (child?.connected) child.disconnect();
    },
  };
}

type Runner = ReturnType<typeof createRunner>;

/** The mutants of a file whose place, from 0, leaves the rest `from` when divided by `every`. */
interface Sample {
  readonly every: number;
  readonly from: number;
}

/** Tries some mutants of a file: those that survive, with the reasons that are known, and what it took. */
async function tryMutants(
  file: string,
  mutants: readonly Mutant[],
  runners: readonly Runner[],
  known: readonly Survivor[],
): Promise<{ survivors: Survivor[]; timedOut: number; cpuSeconds: number }> {
  const reasons = new Map(known.map((survivor) => [keyOf(survivor), survivor.why]));
  const queue = [...mutants];
  const survivors: Survivor[] = [];
  let timedOut = 0;
  let cpuSeconds = 0;
  const work = async (runner: Runner): Promise<void> => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const outcome = await runner.run(file, mutant);
      cpuSeconds += outcome.cpuSeconds;
      if (outcome.kind === 'timed out') timedOut++;
      if (outcome.kind !== 'survived') continue;
      const { line, text, change } = mutant;
      survivors.push({ line, text, change, why: reasons.get(keyOf(mutant)) ?? null });
      process.stderr.write(
        `${mutants.length - queue.length}/${mutants.length} survived ${file}:${line} ${change}\n`,
      );
    }
  };
  await Promise.all(runners.map(work));
  return { survivors, timedOut, cpuSeconds };
}

const commitOf = (file: string): string =>
  execFileSync('git', ['log', '-1', '--format=%h', '--', file], { encoding: 'utf8' }).trim();

/** Tries those that survived before once more: what a test has been added for, of a file that is as it was. */
async function runSurvivors(
  file: string,
  runners: readonly Runner[],
  before: FileResult,
): Promise<FileResult> {
  const left = new Set(before.survivors.map(({ line, ...survivor }) => `${line} ${keyOf(survivor)}`));
  const again = mutantsOf(readFileSync(file, 'utf8')).filter((one) => left.has(`${one.line} ${keyOf(one)}`));
  if (again.length < left.size) throw new Error(`${file} has changed since ${before.commit}: run it anew`);
  const { survivors, timedOut, cpuSeconds } = await tryMutants(file, again, runners, before.survivors);
  return {
    ...before,
    killed: before.mutants - survivors.length,
    timedOut: before.timedOut + timedOut,
    cpuSeconds: Math.round(before.cpuSeconds + cpuSeconds),
    survivors: survivors.sort((a, b) => a.line - b.line),
    tests: testsOf(file),
  };
}

async function runFile(
  file: string,
  runners: readonly Runner[],
  { every, from }: Sample,
  before?: FileResult,
): Promise<FileResult> {
  const commit = commitOf(file);
  const all = mutantsOf(readFileSync(file, 'utf8'));
  const mutants = all.filter((_, i) => i % every === from);
  const { survivors, timedOut, cpuSeconds } = await tryMutants(
    file,
    mutants,
    runners,
    before?.survivors ?? [],
  );
  const adds =
    before?.commit === commit && before.tried?.every === every && !before.tried.rests.includes(from)
      ? before
      : undefined;
  const rests = [...(adds?.tried?.rests ?? []), from].sort((a, b) => a - b);
  const tried = mutants.length + (adds?.mutants ?? 0);
  const alive = [...survivors, ...(adds?.survivors ?? [])];
  return {
    commit,
    mutants: tried,
    ...(rests.length < every ? { of: all.length, tried: { every, rests } } : {}),
    killed: tried - alive.length,
    timedOut: timedOut + (adds?.timedOut ?? 0),
    cpuSeconds: Math.round(cpuSeconds + (adds?.cpuSeconds ?? 0)),
    survivors: alive.sort((a, b) => a.line - b.line),
    tests: testsOf(file),
  };
}

const sumOf = (
  files: readonly FileResult[],
  member: 'mutants' | 'killed' | 'timedOut' | 'cpuSeconds',
): number => files.reduce((sum, file) => sum + file[member], 0);

/** Wilson's score interval of a share, 95 %: what a sample of mutants says of all of them. */
function interval(killed: number, tried: number): readonly [number, number] {
  const z = 1.96;
  const share = killed / tried;
  const middle = (share + z ** 2 / (2 * tried)) / (1 + z ** 2 / tried);
  const half =
    (z / (1 + z ** 2 / tried)) * Math.sqrt((share * (1 - share)) / tried + z ** 2 / (4 * tried ** 2));
  return [middle - half, middle + half];
}

const percent = (share: number): string => `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;

const inScope = (scope: string, results: Results): readonly [string, FileResult][] =>
  Object.entries(results).filter(([file]) => file.startsWith(`${scope}/`));

/** The Markdown page of all results. */
function pageOf(results: Results): string {
  const cell = (text: string): string => `\`${text.replaceAll('|', '\\|').replaceAll('`', 'ˋ')}\``;
  const scopes = Object.keys(SCOPES).flatMap((scope) => {
    const files = inScope(scope, results);
    return files.length > 0 ? [{ scope, files }] : [];
  });
  const summary = scopes.map(({ scope, files }) => {
    const all = files.map(([, file]) => file);
    const [mutants, killed] = [sumOf(all, 'mutants'), sumOf(all, 'killed')];
    const equivalent = all.flatMap(({ survivors }) =>
      survivors.filter(({ why }) => why?.startsWith('equivalent:')),
    ).length;
    const other = mutants - killed - equivalent;
    const there = all.reduce((sum, file) => sum + (file.of ?? file.mutants), 0);
    const [least, most] = interval(killed, mutants);
    const whole = mutants === there;
    return `| ${scope} | ${whole ? mutants : `${mutants} of ${there}`} | ${killed} | ${percent(killed / mutants)}${whole ? '' : ` (${percent(least)} to ${percent(most)})`} | ${sumOf(all, 'timedOut')} | ${equivalent} | ${other} | ${sumOf(all, 'cpuSeconds')} |`;
  });
  const sections = scopes.map(({ scope, files }) => {
    const rows = files.flatMap(([file, { survivors }]) =>
      survivors.map(
        ({ line, change, why }) => `| ${file}:${line} | ${cell(change)} | ${why ?? 'not looked at yet'} |`,
      ),
    );
    const left = filesUnder(scope).filter(
      (file) => results[file] === undefined && mutantsOf(readFileSync(file, 'utf8')).length > 0,
    );
    const ran = ({ tests }: FileResult): string =>
      cell(tests.map((test) => test.replace(/^test\/|\.test\.ts$/g, '')).join(' '));
    return [
      `## ${scope}`,
      '',
      ...(left.length > 0 ? [`Not run, and in no number here: ${left.map(cell).join(', ')}`, ''] : []),
      '| file | as of | mutants | killed | tests, below `test/` |',
      '|---|---|---|---|---|',
      ...files.map(([file, one]) => {
        const { commit, mutants, of, tried, killed } = one;
        const some = `${mutants} of ${of}${tried === undefined ? '' : `, every ${tried.every}th from ${tried.rests.join(' and ')}`}`;
        return `| ${file} | ${commit} | ${of === undefined ? mutants : some} | ${killed} | ${ran(one)} |`;
      }),
      '',
      ...(rows.length > 0 ? ['| where | survived | why |', '|---|---|---|', ...rows] : ['No survivors.']),
      '',
    ].join('\n');
  });
  return [
    '<!-- Written by `npm run mutation`; the reasons stand in results.json. -->',
    '# Mutation run',
    '',
    '| scope | mutants | killed | share | of these, by time-out | equivalent | other survivors | CPU seconds |',
    '|---|---|---|---|---|---|---|---|',
    ...summary,
    '',
    'Of a scope with `m of n` mutants every k-th of each file was tried. In brackets stand the bounds of the share of all',
    'n: the 95 % score interval of Wilson, which takes the sample for a random one.',
    '',
    ...sections,
  ].join('\n');
}

const filesUnder = (path: string): readonly string[] =>
  statSync(path).isDirectory()
    ? readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .map((name) => join(path, name))
    : [path];

let results: Results = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {};
const save = (): void => {
  results = Object.fromEntries(
    Object.entries(results)
      .filter(([file, { mutants }]) => existsSync(file) && mutants > 0)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  writeFileSync(RESULTS, `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(PAGE, pageOf(results));
};

async function runPath(path: string, workers: number, sample: Sample | 'survivors'): Promise<void> {
  const scope = scopeOf(path);
  // Those with the same tests one after another: a runner starts by running them all.
  const groups = new Map<string, string[]>();
  for (const file of filesUnder(path)) {
    const tests = testsOf(file).join(' ');
    groups.set(tests, [...(groups.get(tests) ?? []), file]);
  }
  for (const same of groups.values()) {
    const runners = Array.from({ length: workers }, () => createRunner(testsOf(same[0]!)));
    try {
      for (const file of same) {
        const before = results[file];
        if (sample === 'survivors' && before === undefined) continue;
        const found =
          sample === 'survivors'
            ? await runSurvivors(file, runners, before!)
            : await runFile(file, runners, sample, before);
        results = { ...results, [file]: found };
        save();
      }
    } finally {
      for (const runner of runners) runner.stop();
    }
  }
  const found = inScope(scope, results).map(([, file]) => file);
  const share = sumOf(found, 'killed') / sumOf(found, 'mutants');
  const open = found.flatMap(({ survivors }) => survivors.filter(({ why }) => why === null)).length;
  console.log(`${scope}: ${percent(share)} killed, ${open} survivors without a reason`);
  if (share < LEAST_KILLED || open > 0) process.exitCode = 1;
}

/** Tries the mutants of named.ts: says of each whether its tests notice it. */
async function runNamed(): Promise<void> {
  let alive = 0;
  for (const tests of new Set(NAMED.map((one) => one.tests))) {
    const runner = createRunner([`test/${tests}.test.ts`]);
    for (const named of NAMED.filter((one) => one.tests === tests)) {
      const { kind } = await runner.run(named.file, toMutant(named));
      if (kind === 'survived') alive++;
      console.log(`${kind}  ${named.file}  ${toMutant(named).change}  (test/${tests}.test.ts)`);
    }
    runner.stop();
  }
  console.log(`${NAMED.length - alive} of ${NAMED.length} killed`);
  if (alive > 0) process.exitCode = 1;
}

const { values, positionals } = parseArgs({
  options: {
    named: { type: 'boolean', default: false },
    workers: { type: 'string', default: String(availableParallelism()) },
    every: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    page: { type: 'boolean', default: false },
    survivors: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
if (values.page) save();
else if (values.named) await runNamed();
else
  for (const path of positionals.length > 0 ? positionals : Object.keys(SCOPES))
    await runPath(
      path.replace(/\/$/, ''),
      Number(values.workers),
      values.survivors ? 'survivors' : { every: Number(values.every), from: Number(values.from) },
    );
