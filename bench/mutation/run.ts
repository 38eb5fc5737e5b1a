/**
 * Mutation run: changes the source a little, one change at a time, and looks whether a test notices.
 *
 *     npm run mutation                     every scope below; results.json and results.md are written
 *     npm run mutation -- src/rules        one scope
 *     npm run mutation -- src/rules/agc.ts a part of one: printed only
 *
 * `--workers N` runs N mutants at a time (default: one for each processor). A survivor is listed with its `why` in
 * results.json: write there why no test can or need kill it. A later run keeps the reasons of survivors that remain.
 * Exits with 1 where a scope kills less than 90 %, or a survivor has no reason.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Mutant, mutantsOf } from './mutants.ts';
import { type Answer, type Task, TIMED_OUT } from './worker.ts';

/** What is mutated, and the tests that must notice: those beside it, which take seconds, not those of the whole tool. */
const SCOPES: Readonly<Record<string, readonly string[]>> = {
  'src/incidents': [
    'test/incidents/*.test.ts',
    'test/detectors/*.test.ts',
    'test/contracts/detectors.test.ts',
  ],
  'src/gate': ['test/gate/{config,thresholds,faults}.test.ts'],
  'src/rules': ['test/rules/*.test.ts', 'test/contracts/rules.test.ts', 'test/replay/parity.test.ts'],
  'src/optimizers': [
    'test/contracts/optimizers.test.ts',
    'test/optimizers/*.test.ts',
    'test/replay/parity.test.ts',
  ],
};
const LEAST_KILLED = 0.9;
/** Seconds of processor time for the tests without a mutant. */
const CLEAN_LIMIT = 600;

interface Survivor {
  readonly file: string;
  readonly line: number;
  readonly text: string;
  readonly change: string;
  /** `equivalent: …` (no test can see it) or `accepted: …` (no test needs to); null until someone looked. */
  readonly why: string | null;
}

interface ScopeResult {
  readonly tests: readonly string[];
  readonly node: string;
  readonly cpuSeconds: number;
  readonly files: Readonly<Record<string, { mutants: number; killed: number; timedOut: number }>>;
  readonly survivors: readonly Survivor[];
}

const RESULTS = fileURLToPath(new URL('results.json', import.meta.url));
const PAGE = fileURLToPath(new URL('results.md', import.meta.url));

const keyOf = ({ file, text, change }: Omit<Survivor, 'line' | 'why'>): string =>
  [file, text, change].join('\n');

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
    limit = 10 + 3 * clean.cpuSeconds;
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

async function runScope(
  tests: readonly string[],
  files: readonly string[],
  workers: number,
  reasons: ReadonlyMap<string, string | null>,
): Promise<ScopeResult> {
  const counts: Record<string, { mutants: number; killed: number; timedOut: number }> = {};
  const survivors: Survivor[] = [];
  const queue: { file: string; mutant: Mutant }[] = [];
  for (const file of files) {
    const mutants = mutantsOf(readFileSync(file, 'utf8'));
    if (mutants.length > 0) counts[file] = { mutants: mutants.length, killed: 0, timedOut: 0 };
    queue.push(...mutants.map((mutant) => ({ file, mutant })));
  }
  const all = queue.length;
  let cpuSeconds = 0;
  const work = async (): Promise<void> => {
    const runner = createRunner(tests);
    try {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { file, mutant } = next;
        const outcome = await runner.run(file, mutant);
        cpuSeconds += outcome.cpuSeconds;
        const count = counts[file]!;
        if (outcome.kind === 'survived') {
          const { line, text, change } = mutant;
          const survivor = { file, line, text, change };
          survivors.push({ ...survivor, why: reasons.get(keyOf(survivor)) ?? null });
        } else count.killed++;
        if (outcome.kind === 'timed out') count.timedOut++;
        const done = all - queue.length;
        if (outcome.kind !== 'killed')
          process.stderr.write(`${done}/${all} ${outcome.kind} ${file}:${mutant.line} ${mutant.change}\n`);
      }
    } finally {
      runner.stop();
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  survivors.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line);
  return { tests, node: process.version, cpuSeconds: Math.round(cpuSeconds), files: counts, survivors };
}

const totalOf = ({ files }: ScopeResult): { mutants: number; killed: number; timedOut: number } =>
  Object.values(files).reduce((sum, { mutants, killed, timedOut }) => ({
    mutants: sum.mutants + mutants,
    killed: sum.killed + killed,
    timedOut: sum.timedOut + timedOut,
  }));

const percent = (share: number): string => `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;

/** The Markdown page of all results. */
function pageOf(results: Readonly<Record<string, ScopeResult>>): string {
  const cell = (text: string): string => `\`${text.replaceAll('|', '\\|').replaceAll('`', 'ˋ')}\``;
  const sections = Object.entries(results).map(([scope, { tests, survivors }]) => {
    const rows = survivors.map(
      ({ file, line, change, why }) =>
        `| ${file}:${line} | ${cell(change)} | ${why ?? 'not looked at yet'} |`,
    );
    return [
      `## ${scope}`,
      '',
      `Tests: ${tests.map(cell).join(', ')}`,
      '',
      ...(rows.length > 0 ? ['| where | survived | why |', '|---|---|---|', ...rows] : ['No survivors.']),
      '',
    ].join('\n');
  });
  const summary = Object.entries(results).map(([scope, result]) => {
    const { mutants, killed, timedOut } = totalOf(result);
    const equivalent = result.survivors.filter(({ why }) => why?.startsWith('equivalent:')).length;
    return `| ${scope} | ${mutants} | ${killed} | ${percent(killed / mutants)} | ${timedOut} | ${equivalent} | ${result.survivors.length - equivalent} | ${result.cpuSeconds} |`;
  });
  return [
    '<!-- Written by `npm run mutation`; the reasons stand in results.json. -->',
    '# Mutation run',
    '',
    '| scope | mutants | killed | share | of these, by time-out | equivalent | other survivors | CPU seconds |',
    '|---|---|---|---|---|---|---|---|',
    ...summary,
    '',
    ...sections,
  ].join('\n');
}

const filesUnder = (path: string): readonly string[] =>
  statSync(path).isDirectory()
    ? readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .map((name) => join(path, name))
        .sort()
    : [path];

const { values, positionals } = parseArgs({
  options: { workers: { type: 'string', default: String(availableParallelism()) } },
  allowPositionals: true,
});
const results = (existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {}) as Record<
  string,
  ScopeResult
>;
for (const path of positionals.length > 0 ? positionals : Object.keys(SCOPES)) {
  const scope = Object.keys(SCOPES).find((name) => path === name || path.startsWith(`${name}/`));
  if (scope === undefined) throw new Error(`${path} lies in none of ${Object.keys(SCOPES).join(', ')}`);
  const reasons = new Map(results[scope]?.survivors.map((survivor) => [keyOf(survivor), survivor.why]));
  const result = await runScope(SCOPES[scope]!, filesUnder(path), Number(values.workers), reasons);
  const { mutants, killed } = totalOf(result);
  const open = result.survivors.filter(({ why }) => why === null).length;
  console.log(
    `${path}: ${killed} of ${mutants} killed (${percent(killed / mutants)}); ${open} survivors without a reason`,
  );
  if (killed / mutants < LEAST_KILLED || open > 0) process.exitCode = 1;
  if (path !== scope) continue;
  results[scope] = result;
  const ordered = Object.fromEntries(
    Object.keys(SCOPES).flatMap((name) => (results[name] ? [[name, results[name]]] : [])),
  );
  writeFileSync(RESULTS, `${JSON.stringify(ordered, null, 2)}\n`);
  writeFileSync(PAGE, pageOf(ordered));
}
