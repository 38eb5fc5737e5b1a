/** Draws a case in a terminal: its loss with the healthy twin's, and its truth in words. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const WIDTH = 72;
const HEIGHT = 14;

/** NaN and Infinity are written as strings in a structured log. */
const asNumber = (value) => (typeof value === 'number' ? value : Number(value));

function lossesOf(evidenceFolder) {
  const path = join(evidenceFolder, 'metrics.jsonl');
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter((record) => 'loss' in record)
    .map((record) => ({ step: record.step, loss: asNumber(record.loss) }));
}

/** The scale is logarithmic where the losses are positive and span more than a decade. */
function scaleOf(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (low > 0 && high / low > 10)
    return { low: Math.log(low), high: Math.log(high), of: Math.log, back: Math.exp };
  return { low, high, of: (value) => value, back: (value) => value };
}

/**
 * Draws two curves on one grid.
 * @param {{ step: number, loss: number }[]} run drawn as `*`, not finite as `!` on the top line
 * @param {{ step: number, loss: number }[]} twin drawn as `.`
 * @returns {string[]} lines
 */
export function chart(run, twin) {
  const all = [...run, ...twin];
  const finite = all.map(({ loss }) => loss).filter(Number.isFinite);
  if (finite.length === 0) return ['(no finite loss)'];
  const last = Math.max(1, ...all.map(({ step }) => step));
  const scale = scaleOf(finite);
  const grid = Array.from({ length: HEIGHT }, () => Array(WIDTH).fill(' '));
  const put = ({ step, loss }, mark) => {
    const column = Math.min(WIDTH - 1, Math.floor((WIDTH * step) / (last + 1)));
    if (!Number.isFinite(loss)) grid[0][column] = '!';
    else {
      const height = scale.high === scale.low ? 0 : (scale.of(loss) - scale.low) / (scale.high - scale.low);
      grid[HEIGHT - 1 - Math.round(height * (HEIGHT - 1))][column] = mark;
    }
  };
  for (const point of twin) put(point, '.');
  for (const point of run) put(point, '*');
  const label = (row) => {
    if (row !== 0 && row !== HEIGHT - 1) return ''.padStart(10);
    return scale
      .back(row === 0 ? scale.high : scale.low)
      .toPrecision(4)
      .padStart(10);
  };
  return [
    ...grid.map((row, i) => `${label(i)} |${row.join('').trimEnd()}`),
    `${''.padStart(10)} +${'-'.repeat(WIDTH)}`,
    `${''.padStart(12)}step 0 to ${last}   * the run   . its healthy twin${run.some(({ loss }) => !Number.isFinite(loss)) ? '   ! not finite' : ''}`,
  ];
}

const listed = (values) => (values.length === 0 ? '-' : values.join(', '));

function truthLines(truth) {
  const held = truth.remedies.filter(({ holds }) => holds === true).map(({ action }) => action);
  const failed = truth.remedies.filter(({ holds }) => holds === false).map(({ action }) => action);
  const lines = [
    `class     ${truth.classes.join(' or ')}`,
    `onset     ${truth.onset === null ? '-' : `step ${truth.onset.first} to ${truth.onset.last}`}`,
    `link      ${listed(truth.links)}${truth.cause ? ` (${truth.cause})` : ''}`,
    `trigger   ${listed(truth.triggers)}`,
    `tensors   ${listed(truth.tensors)}${truth.factor === null ? '' : `   factor ${truth.factor}`}`,
    `seen in   ${listed(truth.visibleIn)}`,
    `holds     ${listed(held)}`,
    `fails     ${listed(failed)}`,
  ];
  for (const [evidence, questions] of Object.entries(truth.cannotBeKnownFrom))
    if (questions.length > 0) lines.push(`${evidence} alone cannot tell: ${questions.join(', ')}`);
  if (truth.chronicle) lines.push(`source    ${truth.chronicle.source}`, `          ${truth.chronicle.says}`);
  return lines;
}

/**
 * A case as text.
 * @param {{ id: string, path: string, truth: object }} one of `casesOf`
 * @returns {string}
 */
export function show({ id, path, truth }) {
  const { model, optimizer, fault } = truth.family;
  return [
    `${id}   ${truth.kind}   ${model}, ${optimizer}   ${fault}`,
    '',
    ...chart(lossesOf(join(path, 'evidence')), lossesOf(join(path, 'twin', 'evidence'))),
    '',
    ...truthLines(truth),
  ].join('\n');
}
