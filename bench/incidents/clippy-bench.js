#!/usr/bin/env node
/** `clippy-bench list | show | score | make`: the incident bench from the command line. README.md describes the commands. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ask } from './lib/ask.js';
import { casesOf, makeView, twinTruth } from './lib/cases.js';
import { keep } from './lib/results.js';
import { falls, score } from './lib/score.js';
import { show } from './lib/show.js';
import { scoreText } from './lib/table.js';
import { EVIDENCE } from './lib/words.js';

const HERE = dirname(fileURLToPath(import.meta.url));

const HELP = `clippy-bench list  [--cases FOLDER] [--half open|hidden] [--only TEXT,TEXT] [--json]
clippy-bench show  CASE [--cases FOLDER]
clippy-bench score --tool 'CMD {case}' [--cases FOLDER] [--half open|hidden] [--only TEXT,TEXT]
                   [--evidence ${EVIDENCE.join('|')}] [--no-twins] [--timeout SECONDS] [--jobs N] [--floor FILE] [--out FILE] [--json]
                   [--keep FILE --name NAME]
clippy-bench make  FOLDER [--only TEXT] [--half open|hidden] [--secret-file FILE] [--python PYTHON] (PyTorch 2.1 or newer)

--keep writes the counts into FILE under NAME, in place of those of before. FOLDER is \`cases\` beside where you are, unless it is named.
score ends with 1 where a measure fell below --floor, and with 2 where the command line is wrong.`;

const OPTIONS = {
  cases: { type: 'string', default: 'cases' },
  only: { type: 'string' },
  half: { type: 'string' },
  tool: { type: 'string' },
  evidence: { type: 'string', default: 'capture' },
  'no-twins': { type: 'boolean', default: false },
  timeout: { type: 'string', default: '120' },
  jobs: { type: 'string', default: '1' },
  floor: { type: 'string' },
  out: { type: 'string' },
  keep: { type: 'string' },
  name: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
};

class UsageError extends Error {}

function selected(options) {
  if (!existsSync(options.cases))
    throw new UsageError(`no folder ${options.cases}: make the cases first (clippy-bench make FOLDER)`);
  const parts = options.only?.split(',') ?? null;
  const cases = casesOf(options.cases).filter(
    ({ id, truth }) =>
      (options.half === undefined || truth.half === options.half) &&
      (parts === null || parts.some((part) => id.includes(part))),
  );
  if (cases.length === 0) throw new UsageError('no case is selected');
  return cases;
}

function list(options) {
  const cases = selected(options);
  if (options.json)
    console.log(
      JSON.stringify(
        cases.map(({ id, truth }) => ({ id, kind: truth.kind, half: truth.half, family: truth.family })),
      ),
    );
  else
    for (const { id, truth } of cases)
      console.log(`${id.padEnd(34)} ${truth.kind.padEnd(10)} ${truth.half.padEnd(7)} ${truth.classes[0]}`);
  return 0;
}

/** Every run that a tool is asked about: the cases, and the healthy twins of those that have an incident. */
function runsOf(cases, withTwins) {
  return cases.flatMap(({ path, truth, hasTwin }) => [
    { truth, evidence: join(path, 'evidence') },
    ...(withTwins && hasTwin ? [{ truth: twinTruth(truth), evidence: join(path, 'twin', 'evidence') }] : []),
  ]);
}

async function askAll(runs, options) {
  const results = [];
  const views = mkdtempSync(join(tmpdir(), 'bench-'));
  const waiting = runs.map((run, index) => ({ ...run, index }));
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const view = join(views, `run-${next.index}`);
      makeView(next.evidence, view, options.evidence);
      const { answer, seconds, error } = await ask(options.tool, view, Number(options.timeout));
      if (error !== null) process.stderr.write(`${next.truth.id}: ${error}\n`);
      rmSync(view, { recursive: true, force: true });
      results[next.index] = { truth: next.truth, answer, seconds };
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, Number(options.jobs)) }, worker));
  } finally {
    rmSync(views, { recursive: true, force: true });
  }
  return results;
}

async function scoreTool(options) {
  if (!options.tool?.includes('{case}'))
    throw new UsageError('score needs --tool with the word {case} in it');
  if (!EVIDENCE.includes(options.evidence))
    throw new UsageError(`--evidence is one of ${EVIDENCE.join(', ')}`);
  if (options.keep && !options.name) throw new UsageError('--keep needs --name');
  const cases = selected(options);
  const results = await askAll(runsOf(cases, !options['no-twins']), options);
  const scored = { tool: options.tool, ...score(results, options.evidence) };
  if (options.out) {
    const answers = results.map(({ truth, answer, seconds }) => ({ id: truth.id, seconds, answer }));
    writeFileSync(options.out, `${JSON.stringify({ ...scored, answers }, null, 1)}\n`);
  }
  if (options.keep)
    keep(options.keep, scored, {
      tool: options.name,
      half: [...new Set(cases.map(({ truth }) => truth.half))].join(' and '),
      cases: cases.length,
    });
  console.log(options.json ? JSON.stringify(scored) : scoreText(scored));
  if (options.floor === undefined) return 0;
  const fell = falls(scored.measures, JSON.parse(readFileSync(options.floor, 'utf8')).measures);
  for (const sentence of fell) console.error(`fell: ${sentence}`);
  return fell.length > 0 ? 1 : 0;
}

function make(rest) {
  const at = rest.indexOf('--python');
  const python = at >= 0 ? rest[at + 1] : (process.env.CLIPPY_BENCH_PYTHON ?? 'python3');
  const passed = at >= 0 ? [...rest.slice(0, at), ...rest.slice(at + 2)] : rest;
  const done = spawnSync(python, [join(HERE, 'make', 'make.py'), ...passed], { stdio: 'inherit' });
  if (done.error) throw new UsageError(`${python}: ${done.error.message}`);
  return done.status ?? 1;
}

async function main(argv) {
  const [command, ...rest] = argv;
  if (command === 'make') return make(rest);
  const { values: options, positionals } = parseArgs({
    args: rest,
    options: OPTIONS,
    allowPositionals: true,
  });
  options.cases = resolve(options.cases);
  if (command === undefined || command === '--help' || options.help) {
    console.log(HELP);
    return 0;
  }
  if (command === 'list') return list(options);
  if (command === 'score') return scoreTool(options);
  if (command === 'show') {
    const found = selected(options).find(({ id }) => id === positionals[0]);
    if (found === undefined) throw new UsageError(`no case ${positionals[0]}`);
    console.log(show(found));
    return 0;
  }
  throw new UsageError(`no command ${command}\n${HELP}`);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const wrongUse = error instanceof UsageError || error.code?.startsWith('ERR_PARSE_ARGS');
  console.error(wrongUse ? `clippy-bench: ${error.message}` : error);
  process.exitCode = wrongUse ? 2 : 70;
}
