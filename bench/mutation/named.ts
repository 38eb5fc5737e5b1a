/**
 * Mutants that no test noticed when each was made by hand: `npm run mutation -- --named` tries them where the code
 * stands today. One is not here: the margin in which a decimal was rounded exactly did nothing, and is gone.
 */
import { readFileSync } from 'node:fs';
import type { Mutant } from './mutants.ts';

interface NamedMutant {
  readonly file: string;
  /** Stands in the file once. */
  readonly text: string;
  readonly becomes: string;
  /** The tests that say what is right, by their path below `test/`. */
  readonly tests: string;
}

export const NAMED: readonly NamedMutant[] = [
  // A fall counts where it is three scales of the band.
  {
    file: 'src/judge/incidents/bands.ts',
    text: 'const FALL = 3;',
    becomes: 'const FALL = 6;',
    tests: 'incidents/bands',
  },
  // Few points widen the scale by how many they are, not by how many there is room for.
  // Which series decides: the worse one, and the longest of several losses.
  {
    file: 'src/judge/incidents/lost-metric.ts',
    text: "already = badness(verdict.class) >= badness('full-divergence')",
    becomes: "already = badness(verdict.class) > badness('full-divergence')",
    tests: 'incidents/verdict',
  },
  {
    file: 'src/judge/incidents/verdict.ts',
    text: 'badness(lostTask.class) > badness(loss.class)',
    becomes: 'badness(lostTask.class) >= badness(loss.class)',
    tests: 'incidents/verdict',
  },
  {
    file: 'src/judge/incidents/attempts.ts',
    text: "badness(a.class) < badness('full-divergence')",
    becomes: "badness(a.class) <= badness('full-divergence')",
    tests: 'incidents/verdict',
  },
  {
    file: 'src/judge/incidents/verdict.ts',
    text: "=== 'loss')\n    .sort((a, b) => b.step.length - a.step.length)",
    becomes: "=== 'loss')\n    .sort((a, b) => a.step.length - b.step.length)",
    tests: 'incidents/verdict',
  },
  {
    file: 'src/judge/incidents/verdict.ts',
    text: 'evals.sort((a, b) => b.step.length - a.step.length)',
    becomes: 'evals.sort((a, b) => a.step.length - b.step.length)',
    tests: 'incidents/verdict',
  },
  // A climb: what is on its way back, where it begins, and what noise explains.
  // Views of a storage: the stride of an axis of size 1 means nothing; how far one entry may be repeated.
  {
    file: 'src/read/checkpoints/pytorch/strided.ts',
    text: 'shape[axis] !== 1 && stride[axis] !== expected',
    becomes: 'stride[axis] !== expected',
    tests: 'checkpoints/strided',
  },
  {
    file: 'src/read/checkpoints/pytorch/strided.ts',
    text: 'const MAX_REPEATED = 2 ** 26;',
    becomes: 'const MAX_REPEATED = 4 * 2 ** 26;',
    tests: 'checkpoints/strided',
  },
  // Squares that leave float64 are sums of squares of what they are scaled by.
  {
    file: 'src/read/checkpoints/statistics.ts',
    text: 'this.#squares * (this.#scale / scale) ** 2 + squares',
    becomes: 'this.#squares * (this.#scale / scale) + squares',
    tests: 'checkpoints/statistics',
  },
  {
    file: 'src/read/checkpoints/statistics.ts',
    text: 'squares * (scale / this.#scale) ** 2',
    becomes: 'squares * (scale / this.#scale)',
    tests: 'checkpoints/statistics',
  },
  {
    file: 'src/read/checkpoints/statistics.ts',
    text: 'squares > 1e-290',
    becomes: 'squares > 0',
    tests: 'checkpoints/statistics',
  },
  // An index and its shards name the same tensors.
  {
    file: 'src/read/checkpoints/safetensors-index.ts',
    text: '(!wanted.has(name)) throw',
    becomes: '(false) throw',
    tests: 'checkpoints/pytorch',
  },
  {
    file: 'src/read/checkpoints/safetensors-index.ts',
    text: '(!found.has(name) && !broken.has(name)) throw',
    becomes: '(false) throw',
    tests: 'checkpoints/pytorch',
  },
  // RMSProp with momentum is a heavy ball: stable up to (2+2β)/η.
  {
    file: 'src/step/optimizers/rmsprop.ts',
    text: 'limit: (2 + 2 * momentum) / learningRate',
    becomes: 'limit: 2 / learningRate',
    tests: 'optimizers/curvature',
  },
  // Rules at their edges.
  {
    file: 'src/step/rules/zclip.ts',
    text: 'z > zThreshold;',
    becomes: 'z >= zThreshold;',
    tests: 'rules/forms',
  },
  {
    file: 'src/step/rules/agc.ts',
    text: 'Math.max(gradient, 1e-6)',
    becomes: 'Math.max(gradient, 1e-3)',
    tests: 'rules/forms',
  },
  {
    file: 'src/step/rules/clippy-factor.ts',
    text: 'else if (Number.isNaN(ratio)) {',
    becomes: 'else if (i > 0 && Number.isNaN(ratio)) {',
    tests: 'rules/clippy',
  },
  // A restart keeps two pairs more than are wanted.
  {
    file: 'src/differentiate/curvature/lanczos.ts',
    text: 'Math.max(want + 2, Math.floor(m / 3))',
    becomes: 'Math.max(want, Math.floor(m / 3))',
    tests: 'curvature/top-eigenpairs',
  },
  // A table is CSV where more than half of its first rows are rows of numbers.
  {
    file: 'src/read/logs/csv.ts',
    text: 'good * 2 > rows.length',
    becomes: 'good * 2 >= rows.length',
    tests: 'logs/csv',
  },
  {
    file: 'src/read/logs/csv.ts',
    text: 'good * 2 > rows.length',
    becomes: 'good > 0',
    tests: 'logs/csv',
  },
];

/**
 * A named mutant, as the others are.
 *
 * @throws where its text does not stand in the file exactly once
 */
export function toMutant({ file, text, becomes }: NamedMutant): Mutant {
  const source = readFileSync(file, 'utf8');
  const start = source.indexOf(text);
  if (start < 0 || source.indexOf(text, start + 1) >= 0)
    throw new Error(`${file} does not have this once: ${text}`);
  return {
    start,
    end: start + text.length,
    replacement: becomes,
    line: source.slice(0, start).split('\n').length,
    text,
    change: `${text} → ${becomes}`,
  };
}
