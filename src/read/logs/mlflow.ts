/**
 * A metric of the MLflow file store: `mlruns/<experiment>/<run>/metrics/<key>`, a line `timestamp value step` a point,
 * in the order of logging (the step is 0 throughout where none was given). The folder of a run is one run.
 */
import { basename, dirname, join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import type { RefusedCell } from '../../model/run.ts';
import { decodeName } from '../bytes/encoding.ts';
import { scanLines } from '../bytes/lines.ts';
import { kindOfPath, namesIn } from '../bytes/source.ts';
import { countAt, placesOf, tally } from './bad-lines.ts';
import type { LogFormat, RunFiles } from './format.ts';
import { readSidecarFile, type Scalar, type SidecarFile, type Sidecars } from './hyperparameters.ts';
import { numberOfText } from './number-text.ts';
import { rowTable } from './row-table.ts';

const LINE = /^(\d{10,13}) (\S+)(?: (-?\d+))?\s*$/;

/** The key of a file: its path below the folder `store`, where keys with `/` have folders. */
function keyBelow(store: string, path: string): string {
  const parts = path.split(/[/\\]/);
  const from = parts.lastIndexOf(store);
  return parts.slice(from >= 0 && from < parts.length - 1 ? from + 1 : -1).join('/');
}

export const metricKey = (path: string): string => keyBelow('metrics', path);

/** The folder of the run that a file belongs to: `<run>/<store>/<key>`, where a key may have folders. */
function folderAbove(store: string, path: string): string | undefined {
  let folder = dirname(path);
  while (basename(folder) !== store && dirname(folder) !== folder) folder = dirname(folder);
  return basename(folder) === store ? dirname(folder) : undefined;
}

const runFolder = (path: string): string => folderAbove('metrics', path) ?? dirname(path);

function metricRuns(paths: readonly string[]): RunFiles[] {
  const runs = new Map<string, { path: string }[]>();
  for (const path of paths) runs.set(runFolder(path), [...(runs.get(runFolder(path)) ?? []), { path }]);
  return [...runs].map(([folder, files]) => ({ path: folder, named: folder, files, folder, parallel: true }));
}

const MAX_PARAMETERS = 2_000;

/** One file a parameter in `params`, numbers where they are numbers. */
async function parametersOf(folder: string): Promise<Sidecars> {
  const hyperparameters = new Map<string, Scalar>();
  const files: SidecarFile[] = [];
  const notes: string[] = [];
  const below = [...((await namesIn(join(folder, 'params'), true)) ?? [])].sort();
  for (const name of below.slice(0, MAX_PARAMETERS)) {
    const path = join(folder, 'params', name);
    const key = keyBelow('params', path);
    const file = await readSidecarFile(path, (text) => {
      hyperparameters.set(key, numberOfText(text.trim()) ?? text.trim());
    });
    if (file === undefined) continue;
    files.push(file);
    if (file.problem !== null) notes.push(`params/${key} ${file.problem}`);
  }
  return { files, hyperparameters, notes };
}

export const mlflow: LogFormat = {
  id: 'mlflow',
  title: 'MLflow metric file',
  text: true,
  sniff(head) {
    const text = head.toString('latin1');
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const whole = text.endsWith('\n') ? lines : lines.slice(0, -1);
    return whole.length > 0 && whole.every((line) => LINE.test(line));
  },
  joined: metricRuns,
  parameters: parametersOf,
  isParameter: async (path) => {
    const folder = folderAbove('params', path);
    return folder !== undefined && (await kindOfPath(join(folder, 'metrics'))) === 'folder';
  },
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
          { count: bad.count, what: 'MLflow points', one: 'an MLflow point', lines: placesOf(bad) },
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
