/** Logs that repeat another one: CSVLogger next to TensorBoard in one `fit` of Keras, the files of a W&B run. */
import type { LogInput } from '../../model/log.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import { isAxisName } from './axis-words.ts';
import { toldByWandb } from './wandb-folder.ts';

/** Fewer epochs may be equal by chance. */
const LEAST_POINTS = 2;

/** Whether a column has the values of a series in float32, in the same order. */
const isRetold = ({ value }: TimeSeries, { value: other }: TimeSeries): boolean =>
  value.length === other.length &&
  value.every((one, k) => Object.is(Math.fround(one), Math.fround(other.at(k)!)));

/** The tags under which Keras's TensorBoard callback writes a column of CSVLogger. */
const tagsOf = (column: string): readonly string[] =>
  column.startsWith('val_')
    ? [`validation/epoch_${column.slice(4)}`, `epoch_${column}`]
    : [`epoch_${column}`];

/** The columns of a run by epochs with a loss, which another log may repeat; of any other run, no columns. */
function retellable(run: Run): readonly TimeSeries[] {
  if (run.stepUnit !== 'epoch') return [];
  const columns = run.series.filter(({ name }) => !isAxisName(name));
  return columns.some(({ role, value }) => role === 'loss' && value.length >= LEAST_POINTS) ? columns : [];
}

/** Whether a run has each column under one of its tags. */
const tells = (run: Run, columns: readonly TimeSeries[]): boolean =>
  columns.every((column) =>
    run.series.some((series) => tagsOf(column.name).includes(series.name) && isRetold(column, series)),
  );

/** Why a log is skipped: another log repeats it. Undefined where no log does. */
export function retold(log: LogInput, others: readonly LogInput[]): string | undefined {
  const known = toldByWandb(log, others);
  if (known !== undefined || log.runs.length !== 1 || log.errors.length > 0) return known;
  const columns = retellable(log.runs[0]!);
  if (columns.length === 0) return undefined;
  const by = others.find((one) => one !== log && one.runs.some((other) => tells(other, columns)));
  return by === undefined ? undefined : `every value of it is in ${by.path}`;
}
