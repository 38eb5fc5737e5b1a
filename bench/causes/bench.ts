/**
 * Causes, remedies and verdicts of rules against the truth, over runs of which the cause is known because it was put in.
 *
 *     CLIPPY_DIAG_PYTHON=$(.ci/venv torch) npx tsx bench/causes/bench.ts [--turns 8] [--from 0] [--half tune] [--folder FOLDER]
 *
 * make.py records the runs, `analyze` looks at each with the log alone, with a capture, and with batches and a model in it, and
 * truth.py trains in float64 what the answers name. `--from` leaves out the turns before it: those that were looked at already. `--later` takes the families that came later, `--wider` the nets and causes of wider.py, `--shift` data that change. What is there already stays; `--again` asks `analyze` anew. Unless --half is tune it writes results.json, and results.md, which docs/cause.md holds.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { analyze } from '../../src/app/engine/analyze.ts';
import type { RunReport } from '../../src/model/report.ts';
import { type Answer, LEVELS, type Level, type Made, type Truth } from './answers.ts';
import { scores, tablesOf } from './score.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '8' },
    from: { type: 'string', default: '0' },
    half: { type: 'string' },
    folder: { type: 'string', default: join(tmpdir(), 'clippy-diag-causes') },
    again: { type: 'boolean', default: false },
    misses: { type: 'string' },
    later: { type: 'boolean', default: false },
    wider: { type: 'boolean', default: false },
    shift: { type: 'boolean', default: false },
  },
});
const { folder } = values;

function python(script: string, ...args: string[]): void {
  const [interpreter = 'python3'] = (process.env.CLIPPY_DIAG_PYTHON ?? '').split(':').filter(Boolean);
  const { status } = spawnSync(interpreter, [join(here, script), folder, ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${script} ended with ${status}`);
}

const read = <T>(...path: string[]): T => JSON.parse(readFileSync(join(folder, ...path), 'utf8')) as T;

/** What of a report the truth is asked for. */
function answerOf({ verdict, cause, remedies = [], replay }: RunReport): Answer {
  return {
    onsetStep: verdict.onsetStep,
    trigger: cause!.trigger,
    confidence: cause!.confidence,
    mechanism: cause!.mechanism,
    statement: cause!.statement,
    changedAt: cause!.evidence[0]?.at.step ?? null,
    remedies: remedies.map(
      ({
        action,
        rule,
        learningRate,
        learningRateFactor,
        from,
        tried,
        holds,
        statement,
        skipRows = null,
      }) => ({
        action,
        rule,
        learningRate,
        learningRateFactor,
        from: from?.step ?? null,
        tried,
        holds,
        statement,
        rows: skipRows,
        skip:
          action === 'skip-batches'
            ? (replay.find(({ arm }) => arm?.kind === 'skip-batches')?.arm?.steps ?? null)
            : null,
      }),
    ),
    verdicts: replay
      .filter(({ arm }) => arm === undefined)
      .map(({ mode, label, rule, verdict: own, confidence, why }) => ({
        mode,
        rule: label ?? rule,
        verdict: own,
        confidence,
        why,
      })),
  };
}

async function ask(name: string): Promise<void> {
  const path = (file: string): string => join(folder, name, file);
  const inputs: Record<Level, string[]> = {
    log: [path('train.jsonl')],
    capture: [path('train.jsonl'), path('plain')],
    model: [path('train.jsonl'), path('capture')],
  };
  const answers: Partial<Record<Level, Answer>> = {};
  for (const level of LEVELS) {
    const report = await analyze(inputs[level], {
      toolVersion: '0',
      now: () => new Date(0),
      budget: 600,
    });
    if (report.runs.length !== 1) throw new Error(`${name}: ${report.runs.length} runs`);
    answers[level] = answerOf(report.runs[0]!);
  }
  writeFileSync(path('answers.json'), JSON.stringify(answers));
}

/** Runs of a turn, one of each entry of `TURN` in families.py, of `LATER`, `SHIFT` or `CAUSES`, and the index of the first. */
const [TURN, FIRST] = values.later
  ? [10, 100_000]
  : values.wider
    ? [16, 300_000]
    : values.shift
      ? [10, 400_000]
      : [28, 0];
const turns = Array.from({ length: Number(values.turns) }, (_, turn) => turn).filter(
  (turn) =>
    turn >= Number(values.from) &&
    (values.half === undefined || (turn % 2 === 0 ? 'tune' : 'report') === values.half),
);
for (const turn of turns) python('make.py', String(FIRST + turn * TURN), String(TURN));
const made = readdirSync(folder)
  .filter((name) => turns.includes(Math.floor((Number(name) - FIRST) / TURN)))
  .sort()
  .map((name) => read<Made>(name, 'run.json'))
  .filter((run) => run.made);
const nameOf = ({ index }: Made): string => String(index).padStart(4, '0');
for (const [k, run] of made.entries()) {
  if (existsSync(join(folder, nameOf(run), 'answers.json')) && !values.again) continue;
  await ask(nameOf(run));
  if (k % 10 === 0) process.stderr.write(`analyze: ${k} of ${made.length}\n`);
}
python('truth.py');
const found = made.map((run) => ({
  run,
  answers: read<Record<Level, Answer>>(nameOf(run), 'answers.json'),
  truth: read<Truth>(nameOf(run), 'truth.json'),
}));
const { results, misses } = scores(found);
const tables = tablesOf(results);
console.log(tables);
if (values.misses !== undefined)
  for (const line of misses.filter((one) => one.startsWith(values.misses!))) console.log(line);
if (values.half !== 'tune' && FIRST === 0) {
  const counted = { asked: turns.length * TURN, made: made.length, results };
  writeFileSync(join(here, 'results.json'), `${JSON.stringify(counted, null, 2)}\n`);
  writeFileSync(join(here, 'results.md'), tables);
}
