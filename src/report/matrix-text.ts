/** Learning rate × rule as a table: the loss at the end where every seed holds, how many diverge and when elsewhere. */
import { Ansis } from 'ansis';
import { countedPlain, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { listed } from '../model/listed.ts';
import type { MatrixCell, TrainingMatrix } from '../model/matrix.ts';
import { medianOf } from '../model/order-statistics.ts';
import { NO_RULE } from '../model/replay.ts';
import type { RenderOptions } from './format.ts';
import { textTable } from './text-table.ts';
import { textWidth } from './text-width.ts';
import { wrap } from './wrap.ts';

/** Pure. Learning rates that do not fit in a row become lines; `verbose` adds what went as it should. */
export function renderMatrix(
  matrix: TrainingMatrix,
  options: RenderOptions & { readonly verbose?: boolean },
): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const fit = (text: string): string => wrap(inertName(text), options.width, '', '  ').join('\n');
  const { steps, band, cells, learningRates } = matrix;
  const multipliers = [...new Set(cells.map((cell) => cell.learningRateMultiplier))].sort((a, b) => a - b);
  const seeds = new Set(cells.map(({ seed }) => seed)).size;
  const [rate] = learningRates;
  const one = learningRates.length === 1;
  const heads = multipliers.map((m) => (one ? formatNumber(m * rate!) : `${formatNumber(m)} ×`));
  const rows = matrix.holds.map(({ label }) => ({
    label,
    cells: multipliers.map((m) =>
      cells.filter((cell) => cell.label === label && cell.learningRateMultiplier === m),
    ),
  }));

  const texts = rows.map((row) => row.cells.map((same) => cellText(same, seeds)));
  const coloured = (text: string, same: readonly MatrixCell[]): string =>
    same.some(({ diverged }) => diverged === null)
      ? paint.yellow(text)
      : same.some(({ verdict }) => verdict === 'lost')
        ? paint.red(text)
        : same.some(({ verdict }) => verdict === 'hurt')
          ? paint.yellow(text)
          : paint.green(text);
  const whole = textTable({
    head: ['rule', ...heads],
    rows: rows.map(({ label }, r) => [inertName(label), ...texts[r]!]),
    left: 1,
    paintHead: paint.bold,
    paintCell: (text, r, c) => (c === 0 ? text : coloured(text, rows[r]!.cells[c - 1]!)),
  });
  const table = whole.every((line) => textWidth(line) <= options.width)
    ? whole
    : rows.flatMap(({ label, cells: across }, r) => [
        paint.bold(inertName(label)),
        ...textTable({
          rows: across.map((_, c) => [heads[c]!, texts[r]![c]!]),
          paintCell: (text, i, c) => (c === 0 ? text : coloured(text, across[i]!)),
        }).map((line) => `  ${line}`),
      ]);
  const judged = cells.every(({ diverged }) => diverged !== null);
  const known = judged && matrix.baseline.follows;
  const blocks = [
    // The answer first; where there is none, the notes say why.
    known
      ? paint.bold(fit(conclusion(matrix, one ? rate! : null)))
      : paint.bold('Cannot tell which rules hold.'),
    fit(
      `Trained on from step ${steps.first} to ${steps.last}; columns are ${one ? `learning rates, ${formatNumber(rate!)} was recorded` : `times the recorded learning rates, ${formatNumber(Math.min(...learningRates))} to ${formatNumber(Math.max(...learningRates))}`}; ${countedPlain(seeds, 'order')} of the batches in each cell.`,
    ),
    table.join('\n'),
    judged
      ? fit(
          `A number is the loss at the end, the median of the orders, where every order comes back; "out @400" left the usual range of losses (up to ${formatNumber(band.high)}) permanently at step 400; "hurt" came back and still ends above ${formatNumber(band.highLevel)} in so many orders, which chance does not explain.`,
        )
      : '',
    ...matrix.notes.map((note) => fit(`note: ${note}`)),
    options.verbose || !matrix.baseline.follows ? fit(`note: ${matrix.baseline.why}`) : '',
  ];
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
}

function cellText(same: readonly MatrixCell[], seeds: number): string {
  if (same.some(({ diverged }) => diverged === null)) return '?';
  const out = same.filter(({ diverged }) => diverged === true);
  if (out.length === 0) {
    const hurt = same.filter(({ verdict }) => verdict === 'hurt').length;
    const level = formatNumber(medianOf(same.map(({ finalLoss }) => finalLoss)));
    return hurt === 0 ? level : `${level} ${seeds === 1 ? 'hurt' : `${hurt}/${seeds} hurt`}`;
  }
  const first = Math.min(...out.map(({ leftAtStep }) => leftAtStep ?? Number.POSITIVE_INFINITY));
  return `${seeds === 1 ? 'out' : `${out.length}/${seeds} out`}${Number.isFinite(first) ? ` @${first}` : ''}`;
}

/**
 * Between which learning rates each rule stops holding, the highest first. The text says if it holds again above: where one
 * order of the batches is hurt at a low rate, "up to" alone would rank the rule below those that break permanently.
 */
function conclusion({ holds, cells }: TrainingMatrix, rate: number | null): string {
  const at = (multiplier: number): string =>
    rate === null ? `${formatNumber(multiplier)} ×` : formatNumber(multiplier * rate);
  const ofLabel = (label: string): readonly MatrixCell[] => cells.filter((cell) => cell.label === label);
  const againFrom = ({ label, notAt }: TrainingMatrix['holds'][number]): string => {
    if (notAt === null) return '';
    const above = ofLabel(label).filter((cell) => cell.learningRateMultiplier > notAt);
    const again = [...new Set(above.map((cell) => cell.learningRateMultiplier))]
      .filter((m) => above.every((cell) => cell.learningRateMultiplier !== m || cell.verdict === 'holds'))
      .sort((a, b) => a - b);
    return again.length === 0 ? '' : `, but does again at ${listed(again.map(at))}`;
  };
  const failing = ({ label, notAt }: TrainingMatrix['holds'][number]): string => {
    const there = ofLabel(label).filter((cell) => cell.learningRateMultiplier === notAt);
    const failed = there.filter(({ verdict }) => verdict !== 'holds').length;
    return failed === there.length
      ? ''
      : ` (${failed} of ${there.length} orders ${failed === 1 ? 'does' : 'do'} not)`;
  };
  const ranked = holds.filter(({ upTo }) => upTo !== null).sort((a, b) => b.upTo! - a.upTo!);
  const none = holds.filter(({ upTo }) => upTo === null);
  const reach = (one: TrainingMatrix['holds'][number]): string =>
    one.notAt === null
      ? `training holds up to ${at(one.upTo!)}, the highest tried`
      : one.upTo === null
        ? `it does not even hold at ${at(one.notAt)}, the lowest tried${failing(one)}${againFrom(one)}`
        : `training holds up to ${at(one.upTo)} and not at ${at(one.notAt)}${failing(one)}${againFrom(one)}`;
  const names = (rules: TrainingMatrix['holds']): string =>
    rules.map(({ label }) => (label === NO_RULE ? 'no clipping' : label)).join(', ');
  const all = [...ranked, ...none];
  return [...new Set(all.map(reach))]
    .map((text) => `With ${names(all.filter((one) => reach(one) === text))} ${text}.`)
    .join(' ');
}
