/** The rules of the judge that can be switched off, each by edits of its source: bench/detection/ablate.ts. */

export interface Rule {
  readonly name: string;
  /** File of src/judge/incidents, text that is in it once, and what takes its place. */
  readonly edits: readonly (readonly [file: string, find: string, replacement: string])[];
}

/** A number of numbers.ts set to where its rule does nothing. */
const number = (name: string, from: number, to: string): Rule => ({
  name: `${name} ${from} → ${to}`,
  edits: [['numbers.ts', `  ${name}: ${from},`, `  ${name}: ${to},`]],
});

const edit = (name: string, file: string, find: string, replacement: string): Rule => ({
  name,
  edits: [[file, find, replacement]],
});

export const RULES: readonly Rule[] = [
  edit(
    'noise: measured every 256 levels',
    'levels.ts',
    'Math.max(remembered / 4, samples * anewShare)',
    'remembered',
  ),
  // Levels and their noise.
  number('fewPoints', 2.5, '0'),
  number('priorNoise', 0.3, '1e-9'),
  number('sharedNoise', 0.5, 'Number.POSITIVE_INFINITY'),
  number('sharedErrors', 0.5, '0'),
  number('mostGrowth', 3, '1'),
  number('usualSteps', 2.5, 'Number.POSITIVE_INFINITY'),
  number('memoryPrior', 4, '0.001'),
  number('mostMemory', 0.99, '0'),
  edit('memory: no trend cancels', 'levels.ts', 'memoryOf(kept, samples, NUMBERS.trendApart)', '1'),
  edit('memory: only where a trend cancels', 'levels.ts', 'memoryOf(kept, samples, 0)', '1'),
  number('highestFrom', 40, 'Number.POSITIVE_INFINITY'),
  edit('noise: no bend', 'levels.ts', 'Math.min(usual, bend, Math', 'Math.min(usual, Math'),
  edit('noise: no usual', 'levels.ts', 'Math.min(usual, bend, Math', 'Math.min(bend, Math'),
  edit(
    'noise: second differences alone',
    'levels.ts',
    'Math.min(usual, bend, Math.max(0, Math.min(fall, rise - trend)) / (FIFTH * Math.SQRT2))',
    'Math.min(usual, bend)',
  ),
  edit('noise: no trend', 'levels.ts', 'Math.min(fall, rise - trend)', 'Math.min(fall, rise)'),
  edit(
    'noise: calm as near',
    'levels.ts',
    'calm: (middle || near) / Math.sqrt(6)',
    'calm: near / Math.sqrt(6)',
  ),
  edit(
    'since: no clearly better level',
    'levels.ts',
    'if (!(level >= this.best - 2 * this.noise)) this.sinceSample = 0;',
    '',
  ),
  // Tails and jumps.
  edit('no tail', 'follow.ts', ' && (!hasTail || excess > own.tail())', ''),
  number('tailOthers', 4, 'Number.POSITIVE_INFINITY'),
  number('tailFrom', 2, '0'),
  number('tailPrior', 4, '0.001'),
  edit('tail: every level counts', 'levels.ts', 'if (value <= highest / 2) {', 'if (true) {'),
  edit(
    'jumps: none are',
    'follow.ts',
    'const isJump = hasTail && own.jump > errors * own.apart;',
    'const isJump = false;',
  ),
  // Onsets.
  number('onsetFew', 9, '0'),
  edit(
    'onset: not before what noise explains',
    'follow.ts',
    'while (onset > first && this.at(onset - 1) > base',
    'while (false && onset > first && this.at(onset - 1) > base',
  ),
  edit(
    'onset of NaN: no rise before',
    'follow.ts',
    'while (onset > 0 && i - onset < KEPT - 1',
    'while (false && i - onset < KEPT - 1',
  ),
  // What is worth a word.
  number('startPoints', 8, '0'),
  edit('start: counts where it comes back', 'judge-points.ts', '.filter((one) => !isStart(one, unit))', ''),
  number('oldBlocks', 10, 'Number.POSITIVE_INFINITY'),
  edit(
    'no gap',
    'follow.ts',
    'if (!Number.isFinite(noise)) return 0;',
    'if (Number.isFinite(noise) || !Number.isFinite(noise)) return 0;',
  ),
  edit(
    'gap: no wider level bounds it',
    'follow.ts',
    'if (each.width > width && each.noise < Number.POSITIVE_INFINITY)',
    'if (false)',
  ),
  edit(
    'no share of what was learnt',
    'follow.ts',
    'const counts = this.isWhole && untrained > base &&',
    'const counts = false && untrained > base &&',
  ),
  edit('share: no error', 'follow.ts', 'return share > 0 ? Math.min', 'return share > 1e9 ? Math.min'),
  edit(
    'edge: no quarter of what was learnt',
    'follow.ts',
    'counts ? Math.min(ratio, quarter) : ratio',
    'ratio',
  ),
  // What becomes of an excess.
  edit(
    'high again: another',
    'follow.ts',
    '&& !last.lost ? last : null;',
    '&& !last.lost && false ? last : null;',
  ),
  edit(
    'nothing settles',
    'follow.ts',
    'else if (end - start <= this.noiseOfWidth(quarter)) this.settle(one, i, time);',
    '',
  ),
  edit('nothing is usual', 'judge-points.ts', '!isUsual(one, values, follower) && ', ''),
  number('usualLength', 1.5, 'Number.POSITIVE_INFINITY'),
  edit('points: none are', 'judge-points.ts', ' && !isOfPoints(one)', ''),
  edit('nothing chained', 'judge-points.ts', 'chained(all, values, follower)', 'all'),
  edit(
    'nothing comes back later',
    'judge-points.ts',
    'if (!one.settled) return one;',
    'if (one.onset >= 0) return one;',
  ),
  edit('class: a climb has as much time', 'judge-points.ts', ' / (isJump ? 1 : 3)', ''),
  edit(
    'class: late is back',
    'judge-points.ts',
    'one.lost && one.recovered - one.onset > limits.decisionPoints',
    'false',
  ),
  edit('class: no few points', 'judge-points.ts', '!few || isPlain(one, n)', 'true'),
  edit(
    'class: short is no jump',
    'judge-points.ts',
    'const isShort = one.recovered !== null &&',
    'const isShort = false && one.recovered !== null &&',
  ),
];
