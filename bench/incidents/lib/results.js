/** What was measured, as `results.json` keeps it: counts of each tool, from which every share and interval follows. */
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
  'honoured',
];

/**
 * The row of a tool that `results.json` keeps.
 * @param {object} scored what `score` gave
 * @param {{ tool: string, half: string, cases: string }} head
 */
export function resultOf(scored, head) {
  const counts = MEASURES.map((name) => [name, [scored.measures[name].hits, scored.measures[name].n]]);
  return { ...head, evidence: scored.evidence, runs: scored.n, ...Object.fromEntries(counts) };
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
