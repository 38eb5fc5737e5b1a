/**
 * Holds functions to 80 lines and a cognitive complexity of 30 (Biome's rules). Functions that were larger when the rules came
 * are listed in build/complexity-debt.json, each with its size, by file: they may shrink and not grow, and no function may join them.
 * `npm run complexity` checks, as `npm run lint` does; `npm run complexity -- --shrink` lowers the list to what is left.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './stamp.ts';

/** What is counted of a function. */
const KINDS = ['complexity', 'lines'] as const;
type Kind = (typeof KINDS)[number];

/** Sizes of the functions of a file that are over a limit, the largest first. */
export type Oversized = Readonly<Record<Kind, readonly number[]>>;

/** By file, with forward slashes. */
export type Debt = ReadonlyMap<string, Oversized>;

const RULES: Readonly<Record<string, Kind>> = {
  'lint/complexity/noExcessiveCognitiveComplexity': 'complexity',
  'lint/complexity/noExcessiveLinesPerFunction': 'lines',
};

const DEBT = 'build/complexity-debt.json';
const RULES_OF_BIOME = 'build/complexity-rules.json';
const EDITOR_RULES = 'build/complexity-biome.json';

/** Folders whose functions are held to the limits. A suite of tests is one function with as many lines as it has tests. */
const CHECKED = ['src', 'build', 'bench', 'docs', 'schema'];

const NONE: Oversized = { complexity: [], lines: [] };

/** A part of what `biome lint --reporter=json` prints. */
interface Diagnostic {
  readonly category: string;
  readonly message: string;
  readonly location: { readonly path: string };
}

/** Functions over the limits, from what Biome printed. @throws Error where a message has no number */
export function oversizedOf(diagnostics: readonly Diagnostic[]): Debt {
  const debt = new Map<string, Record<Kind, number[]>>();
  for (const { category, message, location } of diagnostics) {
    const kind = RULES[category];
    if (kind === undefined) continue;
    const size = Number(/\d+/.exec(message)?.[0]);
    if (!Number.isInteger(size)) throw new Error(`no size in "${message}" of ${location.path}`);
    const path = location.path.split('\\').join('/');
    const file = debt.get(path) ?? { complexity: [], lines: [] };
    file[kind].push(size);
    debt.set(path, file);
  }
  for (const file of debt.values()) for (const kind of KINDS) file[kind].sort((a, b) => b - a);
  return debt;
}

/** What differs between the list and what is there: functions that joined or grew, and entries that are too large by now. */
export function compareDebt(allowed: Debt, found: Debt): { grown: string[]; paid: string[] } {
  const grown: string[] = [];
  const paid: string[] = [];
  for (const path of new Set([...allowed.keys(), ...found.keys()])) {
    for (const kind of KINDS) {
      const may = (allowed.get(path) ?? NONE)[kind];
      const are = (found.get(path) ?? NONE)[kind];
      const places = Array.from({ length: Math.max(may.length, are.length) }, (_, i) => i);
      const line = `${path}: ${kind} ${are.join(', ') || 'within the limit'}, listed ${may.join(', ') || 'none'}`;
      if (places.some((i) => (are[i] ?? 0) > (may[i] ?? 0))) grown.push(line);
      else if (places.some((i) => (are[i] ?? 0) < (may[i] ?? 0))) paid.push(line);
    }
  }
  return { grown, paid };
}

/** Asks Biome about every function, those in listed files too. */
function found(): Debt {
  const manifest = createRequire(import.meta.url).resolve('@biomejs/biome/package.json');
  const { bin } = createRequire(import.meta.url)(manifest) as { bin: { biome: string } };
  const rules = Object.keys(RULES).map((rule) => `--only=${rule.replace('lint/', '')}`);
  const args = [
    'lint',
    `--config-path=${RULES_OF_BIOME}`,
    ...rules,
    '--reporter=json',
    '--max-diagnostics=none',
  ];
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [join(manifest, '..', bin.biome), ...args, ...CHECKED],
    { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  try {
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: Diagnostic[] };
    return oversizedOf(diagnostics);
  } catch (error) {
    throw new Error(`Biome did not answer: ${stderr.slice(0, 1000)}`, { cause: error });
  }
}

/** The list of build/complexity-debt.json. */
export function listed(): Debt {
  return new Map(
    Object.entries(JSON.parse(readFileSync(join(root, DEBT), 'utf8')) as Record<string, Oversized>),
  );
}

function write(debt: Debt): void {
  const sorted = [...debt].sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = sorted.map(([path, file]) => `  ${JSON.stringify(path)}: ${JSON.stringify(file)}`);
  writeFileSync(join(root, DEBT), `{\n${lines.join(',\n')}\n}\n`);
  writeFileSync(join(root, EDITOR_RULES), editorRules(sorted.map(([path]) => path)));
}

/** The configuration of Biome that reports the rules everywhere but in listed files: for editors and `biome check`. */
export function editorRules(paths: readonly string[]): string {
  const { linter } = JSON.parse(readFileSync(join(root, RULES_OF_BIOME), 'utf8')) as {
    linter: { rules: { complexity: unknown } };
  };
  const off = { noExcessiveCognitiveComplexity: 'off', noExcessiveLinesPerFunction: 'off' };
  const overrides = [
    {
      includes: CHECKED.map((folder) => `${folder}/**`),
      linter: { rules: { complexity: linter.rules.complexity } },
    },
    { includes: paths, linter: { rules: { complexity: off } } },
  ];
  return `${JSON.stringify({ overrides }, null, 2)}\n`;
}

/** The list without what was paid: each entry is the smaller of what is listed and what is there. */
export function shrunk(allowed: Debt, now: Debt): Debt {
  const left = new Map<string, Oversized>();
  for (const [path, may] of allowed) {
    const are = now.get(path) ?? NONE;
    const smaller = (kind: Kind): number[] =>
      may[kind].flatMap((size, i) => (are[kind][i] === undefined ? [] : [Math.min(size, are[kind][i])]));
    const file = { complexity: smaller('complexity'), lines: smaller('lines') };
    if (file.complexity.length + file.lines.length > 0) left.set(path, file);
  }
  return left;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const now = found();
  if (process.argv.includes('--shrink')) write(shrunk(listed(), now));
  const { grown, paid } = compareDebt(listed(), now);
  for (const line of grown) console.error(`too large: ${line}`);
  for (const line of paid) console.error(`shrink the list (npm run complexity -- --shrink): ${line}`);
  const left = [...listed().values()].flatMap(({ complexity, lines }) => [...complexity, ...lines]).length;
  console.log(
    `functions over 80 lines or a cognitive complexity of 30: ${left} left of those that were there`,
  );
  process.exitCode = grown.length + paid.length > 0 ? 1 : 0;
}
