/** What was measured, as `results.json` keeps it: counts of each tool, from which every share and interval follows. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { share } from './intervals.js';

const MEASURES = [
  'detection',
  'falseAlarm',
  'class',
  'onsetNear',
  'link',
  'trigger',
  'tensor',
  'factor',
  'remedy',
  'honoured',
];

/**
 * Keeps the counts of a tool in a file, in place of its counts on the same half and evidence.
 * @param {string} file made where it is absent
 * @param {object} scored what `score` gave
 * @param {{ tool: string, half: string, cases: number }} head
 */
export function keep(file, scored, head) {
  const rows = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).rows : [];
  const counts = MEASURES.map((name) => [name, [scored.measures[name].hits, scored.measures[name].n]]);
  const row = { ...head, evidence: scored.evidence, runs: scored.n, ...Object.fromEntries(counts) };
  const same = (one) => ['tool', 'half', 'evidence'].every((name) => one[name] === row[name]);
  const at = rows.findIndex(same);
  const kept = at < 0 ? [...rows, row] : rows.with(at, row);
  writeFileSync(file, `${JSON.stringify({ rows: kept }, null, 2)}\n`);
}

const percent = (value) => Math.round(100 * value);

/** `28 of 46 (46–74 %)`, and a dash where no case measures it. */
export function cell([hits, n]) {
  if (n === 0) return '–';
  const { low, high } = share(hits, n);
  return `${hits} of ${n} (${percent(low)}–${percent(high)} %)`;
}

/** The row of a table in Markdown: the tool, and its measures. */
export const tableRow = (result, measures) =>
  `| ${[result.tool, ...measures.map((name) => cell(result[name]))].join(' | ')} |`;
