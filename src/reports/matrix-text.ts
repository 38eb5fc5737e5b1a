/** Learning rate × rule as a table: the loss at the end where every seed holds, how many diverge and when elsewhere. */
import { Ansis } from 'ansis';
import stringWidth from 'string-width';
import { formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { MatrixCell, TrainingMatrix } from '../model/matrix.ts';
import { medianOf } from '../model/order-statistics.ts';
import type { RenderOptions } from './format.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

/** Pure. Learning rates that do not fit beside each other become lines. */
export function renderMatrix(matrix: TrainingMatrix, options: RenderOptions): string {
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
      : same.some(({ diverged }) => diverged === true)
        ? paint.red(text)
        : paint.green(text);
  const whole = textTable({
    head: ['rule', ...heads],
    rows: rows.map(({ label }, r) => [inertName(label), ...texts[r]!]),
    left: 1,
    paintHead: paint.bold,
    paintCell: (text, r, c) => (c === 0 ? text : coloured(text, rows[r]!.cells[c - 1]!)),
  });
  const table = whole.every((line) => stringWidth(line) <= options.width)
    ? whole
    : rows.flatMap(({ label, cells: across }, r) => [
        paint.bold(inertName(label)),
        ...textTable({
          rows: across.map((_, c) => [heads[c]!, texts[r]![c]!]),
          paintCell: (text, i, c) => (c === 0 ? text : coloured(text, across[i]!)),
        }).map((line) => `  ${line}`),
      ]);
  const judged = cells.every(({ diverged }) => diverged !== null);
  const blocks = [
    fit(
      `Trained on from step ${steps.first} to ${steps.last}; columns are ${one ? `learning rates, ${formatNumber(rate!)} was recorded` : `times the recorded learning rates, ${formatNumber(Math.min(...learningRates))} to ${formatNumber(Math.max(...learningRates))}`}; ${seeds} ${seeds === 1 ? 'order' : 'orders'} of the batches in each cell.`,
    ),
    table.join('\n'),
    judged
      ? fit(
          `A number is the loss at the end (median of the last ten; of seeds: the median) where every seed stays in the band, up to ${formatNumber(band.high)}; out @ is the earliest step from which on the loss is out of it.`,
        )
      : '',
    ...matrix.notes.map((note) => fit(`note: ${note}`)),
    fit(`note: ${matrix.baseline.why}`),
    judged && matrix.baseline.follows ? paint.bold(fit(conclusion(matrix, one ? rate! : null))) : '',
  ];
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
}

function cellText(same: readonly MatrixCell[], seeds: number): string {
  if (same.some(({ diverged }) => diverged === null)) return '?';
  const out = same.filter(({ diverged }) => diverged === true);
  if (out.length === 0) return formatNumber(medianOf(same.map(({ finalLoss }) => finalLoss)));
  const first = Math.min(...out.map(({ leftAtStep }) => leftAtStep ?? Number.POSITIVE_INFINITY));
  return `${seeds === 1 ? 'out' : `${out.length}/${seeds} out`}${Number.isFinite(first) ? ` @${first}` : ''}`;
}

/** Up to which learning rate each rule holds, the highest first. */
function conclusion({ holds }: TrainingMatrix, rate: number | null): string {
  const at = (upTo: number): string =>
    rate === null ? `${formatNumber(upTo)} ×` : formatNumber(upTo * rate);
  const held = holds.flatMap(({ label, upTo }) => (upTo === null ? [] : [{ label, upTo }]));
  const levels = [...new Set(held.map(({ upTo }) => upTo))].sort((a, b) => b - a);
  const none = holds.filter(({ upTo }) => upTo === null).map(({ label }) => label);
  if (held.length === 0) return `Already at the lowest a seed diverges: ${none.join(', ')}.`;
  return `${[
    ...levels.map(
      (level) =>
        `up to ${at(level)}: ${held
          .filter(({ upTo }) => upTo === level)
          .map(({ label }) => label)
          .join(', ')}`,
    ),
    ...(none.length > 0 ? [`already at the lowest one does: ${none.join(', ')}`] : []),
  ]
    .join('; ')
    .replace(/^./, (c) => `No seed diverges ${c}`)}.`;
}
