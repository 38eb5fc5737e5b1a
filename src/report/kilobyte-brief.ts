/**
 * The answer of a report in a kilobyte: what happened, why, what to do, and what it rests on. It is for programs,
 * agents and alerts. Every sentence is one of the page's: this file selects and shortens, and judges nothing.
 */
import { BRIEF_BYTES, BRIEF_RUNS, type Brief } from '../model/brief.ts';
import { formatCount } from '../model/format-number.ts';
import type { GateResult } from '../model/gate.ts';
import { inertName } from '../model/inert-text.ts';
import { listed } from '../model/listed.ts';
import { type Report, type RunReport, VERDICT_CLASSES } from '../model/report.ts';
import { shellWord } from '../model/shell-word.ts';
import type { Answer } from './answer.ts';
import { explainable } from './brief.ts';
import { answerOf, troubleOf } from './brief-answer.ts';
import type { Mood } from './class-paint.ts';
import { GATE_WORDS } from './gate-words.ts';
import { headline } from './terminal.ts';

/** The order of moods, the worst first. */
export const GRAVITY: Readonly<Record<Mood, number>> = { bad: 0, doubtful: 1, good: 2 };

export interface Answered {
  readonly run: RunReport;
  readonly answer: Answer;
}

/** A screen draws one report again and again. */
const ANSWERS = new WeakMap<Report, readonly Answered[]>();

/**
 * The runs with the answer of each, the worst first: by mood, then by class, then the one that decided the report's verdict.
 */
export function worstFirst(report: Report): readonly Answered[] {
  const known = ANSWERS.get(report);
  if (known !== undefined) return known;
  const decided = report.verdict.run;
  const rank = ({ run }: Answered): number => VERDICT_CLASSES.indexOf(run.verdict.class);
  const sorted = report.runs
    .map((run) => ({ run, answer: answerOf(run, report) }))
    .sort(
      (a, b) =>
        GRAVITY[a.answer.mood] - GRAVITY[b.answer.mood] ||
        rank(b) - rank(a) ||
        Number(b.run.id === decided) - Number(a.run.id === decided),
    );
  ANSWERS.set(report, sorted);
  return sorted;
}

const partOf = (answer: Answer, label: string): Answer['parts'][number] | undefined =>
  answer.parts.find((part) => part.label === label);

/** Paths under which standard input is reported. */
const STANDARD_INPUT: readonly string[] = ['-', '<stdin>'];

/** A command that shows more of a run than this answer. */
function nextCommand({ run, answer }: Answered, report: Report): string {
  const [path = '-'] = run.paths;
  const named = STANDARD_INPUT.includes(path) ? 'FILE' : shellWord(inertName(path));
  if (report.runs.length > 1) return `clippy-diag analyze ${named}`;
  const kind = answer.mood === 'good' ? undefined : explainable(run, report);
  if (kind !== undefined) return `clippy-diag explain ${kind}`;
  return `clippy-diag analyze ${named} --verbose`;
}

function gateOf({ passed, exitCode, rules, problems }: GateResult): Brief['gate'] {
  const blocking = rules.filter(
    ({ status, severity }) => status === 'inconclusive' || (status === 'fail' && severity === 'error'),
  );
  return {
    passed,
    exitCode,
    failed: [...new Set([...blocking, ...problems].map(({ id }) => inertName(id)))],
  };
}

/**
 * Selects the answer of a report.
 *
 * @param report of any number of runs; the answer is about the gravest one
 * @returns texts without control characters, of any length; {@link briefText} cuts them
 */
export function briefOf(report: Report): Brief {
  const all = worstFirst(report);
  const grave = all.filter(({ answer }) => answer.mood !== 'good');
  const runs: Brief['runs'] = {
    total: all.length,
    bad: all.filter(({ answer }) => answer.mood === 'bad').length,
    doubtful: all.filter(({ answer }) => answer.mood === 'doubtful').length,
    worst: grave.slice(0, BRIEF_RUNS).map(({ run, answer }) => ({
      run: inertName(run.id),
      class: run.verdict.class,
      title: answer.title,
    })),
  };
  const gate = report.gate === undefined ? null : gateOf(report.gate);
  const [first] = all;
  if (first === undefined)
    return {
      verdict: report.verdict.class,
      run: null,
      stepUnit: 'step',
      onsetStep: null,
      recoveredStep: null,
      title: headline(report),
      change: '',
      facts: '',
      ...{ why: null, confidence: null, fix: null, code: null, proofs: null, also: null },
      runs,
      gate,
      beware: troubleOf(report),
      next: 'clippy-diag inspect FILE',
    };
  const { run, answer } = first;
  const fix = partOf(answer, 'Fix');
  return {
    verdict: run.verdict.class,
    run: inertName(run.id),
    stepUnit: run.stepUnit,
    onsetStep: run.verdict.onsetStep,
    recoveredStep: run.verdict.recoveredStep,
    title: answer.title,
    change: answer.change,
    facts: answer.facts,
    why: (partOf(answer, 'Why') ?? partOf(answer, 'Code') ?? partOf(answer, 'Where'))?.text ?? null,
    confidence: run.cause?.confidence ?? null,
    fix: fix?.text ?? null,
    code: fix?.code ?? null,
    proofs: run.verdict.provenBy ?? null,
    runs,
    gate,
    also: (partOf(answer, 'Also') ?? partOf(answer, 'Noted'))?.text ?? null,
    beware: partOf(answer, 'Beware')?.text ?? null,
    next: nextCommand(first, report),
  };
}

const HOLDS = new Map([
  [true, 'yes'],
  [false, 'NO'],
  [null, 'unknown'],
]);

const bytesOf = (text: string): number => Buffer.byteLength(text, 'utf8');

/** Not after the middle of a character, and where it is near, after a word. */
function cutTo(line: string, bytes: number): string {
  if (bytesOf(line) <= bytes) return line;
  let kept = '';
  let used = bytesOf(' …');
  for (const character of line) {
    used += bytesOf(character);
    if (used > bytes) break;
    kept += character;
  }
  const words = kept.replace(/\s\S{0,24}$/, '');
  return `${words.trimEnd()} …`;
}

/** Cuts the longest lines to one length, so that all of them fit into so many bytes with a line break each. */
function fitLines(lines: readonly string[], bytes: number): readonly string[] {
  const room = bytes - lines.length;
  const sizes = lines.map(bytesOf).sort((a, b) => a - b);
  let left = room;
  let most = Number.POSITIVE_INFINITY;
  for (const [i, size] of sizes.entries()) {
    const share = Math.floor(left / (sizes.length - i));
    if (size > share) {
      most = share;
      break;
    }
    left -= size;
  }
  return lines.map((line) => cutTo(line, most));
}

function runsLine({ runs: { total, bad, doubtful, worst } }: Brief): string {
  const counts = `${formatCount(total)} runs, ${formatCount(bad)} bad${doubtful === 0 ? '' : `, ${formatCount(doubtful)} doubtful`}`;
  const more = bad + doubtful - worst.length;
  return worst.length === 0
    ? counts
    : `${counts}: ${worst.map(({ run, title }) => `${run} ${title}`).join('; ')}${more > 0 ? `; and ${formatCount(more)} more` : ''}`;
}

/**
 * The answer as text.
 *
 * @returns lines of `label: value`, the verdict first, at most {@link BRIEF_BYTES} bytes of UTF-8 with the last line break; a line
 *   that was cut ends in `…`
 */
export function briefText(brief: Brief): string {
  const { title, change, facts, why, fix, code, proofs, runs, gate, also, beware, next } = brief;
  const line = (label: string, text: string | null): string[] =>
    text === null || text === '' ? [] : [`${label}: ${text}`];
  const gateText =
    gate === null
      ? null
      : `${GATE_WORDS[gate.exitCode]} (exit code ${gate.exitCode})${gate.failed.length === 0 ? '' : `: ${listed(gate.failed)}`}`;
  const proven =
    proofs === null
      ? null
      : (['judged', 'learnt', 'whole'] as const)
          .map((name) => `${name} ${HOLDS.get(proofs[name].holds)} (${inertName(proofs[name].statement)})`)
          .join('; ');
  const lines = [
    `${title}${change === '' ? '' : `: ${change}`}`,
    ...line('Gate', gateText),
    ...line('Runs', runs.total > 1 ? runsLine(brief) : null),
    ...line('Run', facts),
    ...line('Why', why),
    ...line('Fix', fix === null || code === null ? fix : `${fix} ${code.replaceAll('\n', '; ')}`),
    ...line('Also', also),
    ...line('Beware', beware),
    ...line('Proofs', proven),
    ...line('Next', next),
  ];
  return `${fitLines(lines, BRIEF_BYTES).join('\n')}\n`;
}
