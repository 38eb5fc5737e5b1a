/** A preflight as its statement and the rates that were tried. */
import { Ansis } from 'ansis';
import { formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { Preflight } from '../model/preflight.ts';
import type { RenderOptions } from './format.ts';
import { wrap } from './wrap.ts';

const MARKS: Readonly<Record<Preflight['verdict'], readonly [mark: string, ascii: string, title: string]>> = {
  'well-within': ['✓', '+', 'WELL WITHIN'],
  near: ['!', '!', 'NEAR THE LIMIT'],
  above: ['✗', 'x', 'TOO HIGH'],
  'cannot-tell': ['?', '?', 'CANNOT TELL'],
};
const COLUMN = 12;

/** Pure. */
export function renderPreflight(preflight: Preflight, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const [mark, ascii, title] = MARKS[preflight.verdict];
  const head = `${options.ascii ? ascii : mark} ${title}: learning rate ${formatNumber(preflight.asked)}`;
  const coloured = {
    'well-within': paint.green,
    near: paint.yellow,
    above: paint.red,
    'cannot-tell': paint.dim,
  }[preflight.verdict](head);
  const row = (cells: readonly string[]): string =>
    cells
      .map((cell) => cell.padEnd(COLUMN))
      .join('')
      .trimEnd();
  const rungs = [...preflight.ladder]
    .sort((a, b) => a.rate - b.rate)
    .map(({ rate, before, after, held }) =>
      row([...[rate, before, after].map((value) => formatNumber(value)), held ? 'held' : 'not held']),
    );
  const rules = preflight.underRules.map(({ rule, stableRate }) =>
    row([stableRate === null ? 'no higher' : formatNumber(stableRate.low), `under ${inertName(rule)}`]),
  );
  // The first rate that is not held is √2 times the last that is: docs/preflight.md, "What limits".
  const { batchScaling, stableRate: stable } = preflight;
  const withTwice =
    batchScaling === 0 ? 'no higher' : formatNumber((stable?.low ?? Number.NaN) * 2 ** (batchScaling ?? 0));
  const moves = [
    ...(batchScaling === null ? [] : [row([withTwice, 'with twice the batch'])]),
    ...(preflight.warmup === null
      ? []
      : [row([formatNumber(preflight.asked), `after ${preflight.warmup.steps} quiet steps`])]),
  ];
  return [
    coloured,
    ...wrap(inertName(preflight.statement), options.width, ''),
    ...(rungs.length === 0 ? [] : ['', row(['rate', 'loss before', 'after', '']), ...rungs]),
    ...(moves.length + rules.length === 0 ? [] : ['', 'largest rate that is held:', ...moves, ...rules]),
    ...(preflight.gradients === 0 ? [] : ['', `${preflight.gradients} gradients, on copies`]),
  ].join('\n');
}
