#!/usr/bin/env node
/**
 * Three rules that everybody writes first, as tools of the bench: `rules.js nan|three-sigma|thumb CASE`. They read `metrics.jsonl`.
 *
 * nan          a loss that is not finite.
 * three-sigma  a loss more than three standard deviations above the mean of the fifty before it, or not finite.
 * thumb        the level of the last points is above one and a half times the best level, or not below the first; not finite, too
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WINDOW = 50;
const LEVEL = 11;

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function lossesOf(folder) {
  return readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter((record) => 'loss' in record)
    .map(({ step, loss }) => ({ step, loss: Number(loss) }));
}

const well = { protocol: 1, alarm: false, class: 'healthy' };

function notFinite(points) {
  const found = points.find(({ loss }) => !Number.isFinite(loss));
  return found === undefined ? null : { protocol: 1, alarm: true, class: 'non-finite', onset: found.step };
}

function threeSigma(points) {
  for (let k = WINDOW; k < points.length; k++) {
    const before = points.slice(k - WINDOW, k).map(({ loss }) => loss);
    const mean = before.reduce((sum, loss) => sum + loss, 0) / WINDOW;
    const deviation = Math.sqrt(before.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / WINDOW);
    if (points[k].loss > mean + 3 * deviation)
      return { protocol: 1, alarm: true, class: 'diverged', onset: points[k].step };
  }
  return null;
}

function thumb(points) {
  const levels = points.map((_, k) =>
    median(points.slice(Math.max(0, k - LEVEL + 1), k + 1).map(({ loss }) => loss)),
  );
  const end = levels.at(-1);
  const best = Math.min(...levels);
  if (end >= levels[0]) return { protocol: 1, alarm: true, class: 'never-learned', onset: points[0].step };
  if (end <= 1.5 * best) return null;
  const from = levels.indexOf(best);
  const onset = points.find(({ loss }, k) => k > from && loss > 1.5 * best)?.step ?? null;
  return { protocol: 1, alarm: true, class: 'diverged', onset, remedies: ['lower-learning-rate'] };
}

const RULES = { nan: () => null, 'three-sigma': threeSigma, thumb };

/** The answer of a rule on a folder. */
export function answerOf(rule, folder) {
  const points = lossesOf(folder);
  return notFinite(points) ?? RULES[rule](points) ?? well;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rule, folder] = process.argv.slice(2);
  console.log(JSON.stringify(answerOf(rule, folder)));
}
