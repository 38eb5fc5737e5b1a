/**
 * A metric of the MLflow file store: `mlruns/<experiment>/<run>/metrics/<key>`, a line `timestamp value step` a point,
 * in the order of logging (the step is 0 throughout where none was given). The folder of a run is one run.
 */
import { basename, dirname, join } from 'node:path';
import { decodeName } from '../bytes/encoding.ts';
import { scanLines } from '../bytes/lines.ts';
import { filesIn, kindOfPath, openFile } from '../bytes/source.ts';
import { diagError } from '../model/errors.ts';
import type { RefusedCell, Run } from '../model/run.ts';
import { countAt, placesOf, tally } from './bad-lines.ts';
import type { LogFormat, RunFiles } from './format.ts';
import { numberOfText } from './number-text.ts';
import { rowTable } from './row-table.ts';

const LINE = /^(\d{10,13}) (\S+)(?: (-?\d+))?\s*$/;

/** The key of a metric file: its path below `metrics`, where keys with `/` have folders. */
export const metricKey = (path: string): string => {
  const parts = path.split(/[/\\]/);
  const from = parts.lastIndexOf('metrics');
  return parts.slice(from >= 0 && from < parts.length - 1 ? from + 1 : -1).join('/');
};

/** The folder of the run that a metric file belongs to: `<run>/metrics/<key>`, where a key may have folders. */
function runFolder(path: string): string {
  let folder = dirname(path);
  while (basename(folder) !== 'metrics' && dirname(folder) !== folder) folder = dirname(folder);
  return basename(folder) === 'metrics' ? dirname(folder) : dirname(path);
}

function metricRuns(paths: readonly string[]): RunFiles[] {
  const runs = new Map<string, { path: string }[]>();
  for (const path of paths) runs.set(runFolder(path), [...(runs.get(runFolder(path)) ?? []), { path }]);
  return [...runs].map(([folder, files]) => ({ path: folder, named: folder, files, folder, parallel: true }));
}

const MAX_PARAMETERS = 2_000;

/** One file a parameter in `params`, numbers where they are numbers. */
async function parametersOf(folder: string): Promise<Run['hyperparameters']> {
  const found = new Map<string, number | string>();
  for (const path of await filesIn(join(folder, 'params'), MAX_PARAMETERS)) {
    const source = await openFile(path);
    try {
      const text = Buffer.from(await source.slice(0, Math.min(source.byteLength, 1_000)))
        .toString('utf8')
        .trim();
      found.set(basename(path), numberOfText(text) ?? text);
    } finally {
      await source.close();
    }
  }
  return found;
}

export const mlflow: LogFormat = {
  id: 'mlflow',
  title: 'MLflow metric file',
  tried: 'MLflow metrics (timestamp, value and step in a line)',
  text: true,
  sniff(head) {
    const text = head.toString('latin1');
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const whole = text.endsWith('\n') ? lines : lines.slice(0, -1);
    return whole.length > 0 && whole.every((line) => LINE.test(line));
  },
  joined: metricRuns,
  parameters: parametersOf,
  isParameter: async (path) =>
    basename(dirname(path)) === 'params' &&
    (await kindOfPath(join(dirname(dirname(path)), 'metrics'))) === 'folder',
  async read(chunks, path, { encoding }) {
    const table = rowTable();
    const bad = tally();
    const value = table.column('value');
    const step = table.column('step');
    const time = table.column('timestamp');
    let stepsGiven = false;
    let refused = 0;
    let firstRefused: RefusedCell | undefined;
    const { account, errors } = await scanLines(
      chunks,
      path,
      {
        line(bytes, start, end, lineNumber, terminated) {
          const found = LINE.exec(decodeName(bytes, start, end));
          const number = found === null ? undefined : numberOfText(found[2]!);
          if (!terminated || number === undefined) {
            // Cut at the end of a number a line looks whole; MLflow ends every line.
            if (!terminated) return 'torn-record';
            countAt(bad, lineNumber);
            if (found === null) return 'damaged';
            refused++;
            firstRefused ??= { text: found[2]!.slice(0, 80), line: lineNumber };
            return 'refused-value';
          }
          if (found![3] !== undefined && found![3] !== '0') stepsGiven = true;
          table.set(value, number);
          table.set(step, Number(found![3] ?? 0));
          table.set(time, Number(found![1]) / (found![1]!.length > 11 ? 1000 : 1));
          table.endRow(lineNumber);
          return 'record';
        },
      },
      encoding === undefined ? {} : { encoding },
    );
    if (bad.count > 0)
      errors.push(
        diagError(
          'log-lines-bad',
          { count: bad.count, what: 'MLflow points', lines: placesOf(bad) },
          { path, line: bad.first[0]! },
        ).toRecord(),
      );
    const finished = table.finish().series.find((one) => one.name === 'value');
    const byRow = finished !== undefined && !stepsGiven && finished.value.length > 1;
    return {
      kept: table.rows(),
      account,
      errors,
      runs: [
        {
          stepUnit: byRow ? 'row' : 'step',
          series:
            finished === undefined
              ? []
              : [
                  {
                    ...finished,
                    name: metricKey(path),
                    refused,
                    ...(firstRefused === undefined ? {} : { firstRefused }),
                    ...(byRow ? { step: finished.value.map((_, row) => row) } : {}),
                  },
                ],
          notes: byRow ? ['every step is 0; points are counted in the order of logging'] : [],
        },
      ],
    };
  },
};
