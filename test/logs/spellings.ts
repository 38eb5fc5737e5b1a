/** How programs write a value that is no plain number, or a cell that is none. */
/** Wanted: a value, `missing` or `refused`. */
export type Said = number | 'missing' | 'refused';

const WORDS: readonly [string, number][] = [
  // C since C99, Python, NumPy, Java, JavaScript, Julia, Go, .NET.
  ['nan', Number.NaN],
  ['inf', Number.POSITIVE_INFINITY],
  ['infinity', Number.POSITIVE_INFINITY],
  // glibc with a payload, Microsoft since 2015.
  ['nan(0x8000000000000)', Number.NaN],
  ['nan.0', Number.NaN],
  ['nan.', Number.NaN],
  ['inf.0', Number.POSITIVE_INFINITY],
  ['inf.', Number.POSITIVE_INFINITY],
  ['nan(ind)', Number.NaN],
  ['nan(snan)', Number.NaN],
  // Microsoft before: %g, %f, %.2f, %.1f, %e.
  ['1.#qnan', Number.NaN],
  ['1.#QNAN0', Number.NaN],
  ['1.#snan', Number.NaN],
  ['1.#ind', Number.NaN],
  ['1.#IND00', Number.NaN],
  ['1.#QO', Number.NaN],
  ['1.#R', Number.NaN],
  ['1.#QNANe+000', Number.NaN],
  ['1.#inf', Number.POSITIVE_INFINITY],
  ['1.#INF00', Number.POSITIVE_INFINITY],
  ['1.#INF00e+000', Number.POSITIVE_INFINITY],
  ['1.#J', Number.POSITIVE_INFINITY],
];
const SIGNS = ['', '-', '+'];
const CASES = [
  (word: string) => word,
  (word: string) => word.toLowerCase(),
  (word: string) => word.toUpperCase(),
  (word: string) => word.charAt(0).toUpperCase() + word.slice(1),
];
const WRAPPERS = [
  (word: string) => word,
  (word: string) => ` ${word} `,
  (word: string) => `tensor(${word})`,
  (word: string) => `tensor(${word}, device='cuda:0')`,
  (word: string) => `tensor([${word}], grad_fn=<MeanBackward0>)`,
  (word: string) => `np.float32(${word})`,
  (word: string) => `Array(${word}, dtype=float32)`,
];

/** Each spelling, and what it is. */
export const spellings = new Map<string, Said>();
for (const [word, value] of WORDS)
  for (const sign of SIGNS)
    for (const spell of CASES)
      for (const wrap of WRAPPERS) {
        // The 0x of a payload is spelled as it is.
        const text = sign + (word.includes('0x') ? word : spell(word));
        spellings.set(wrap(text), sign === '-' ? -value : value);
      }
// Float32 as Julia prints it.
for (const [text, value] of Object.entries({
  '2.3f0': 2.3,
  '-1.0f-5': -1e-5,
  '6.02f23': 6.02e23,
  '1.0f40': 1e40,
}))
  spellings.set(text, value);
const REFUSED = [
  '***', '*****', 'overflow', 'error', 'Error!', '#DIV/0!', '#NUM!', '1,234.5', '1,234', "1'234.5", '1_000', '1 234',
  '1d5', '1.0D+05', '1.5f', '5f0', '.5f0', '1.f0', '1.5f+', '1.5f0f', '812/s', '2841M', '3.2k', '5%', '50 %', '5 ms', '12GB', '$5', '~0.5', '<0.001', '>100',
  '0x1p3', '0x1f', '0b1', '1e', '1e+', 'e5', '.', '+', '1.2.3', '--5', '+-5', '1-2', '1/2', '1:30', '0.5±0.1', '0.5(1)',
  '1.#', '1.#X', '1.5#INF', 'nans', 'nanometer', 'infin', 'info', 'infinite', 'nan nan', 'nan(', 'tensor()',
  'tensor([0.1, 0.2])', 'tensor(0.1, 0.2)', 'tensor(1,234.5)', 'tensor(812/s)', 'tensor(overflow)', '[0.5, 0.6]', '{0.5}',
  'True', 'mse', '0.5 0.6', '2024-01-02', 'tensor(tensor(1))',
]; // biome-ignore format: a table
for (const text of REFUSED) spellings.set(text, 'refused');
for (const text of ['NA', 'N/A', '#N/A', '<NA>', 'null', 'None', 'nil', '-', '--', 'na', 'NULL'])
  spellings.set(text, 'missing');
