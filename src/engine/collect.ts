/** From the paths that a user names to inputs: walks folders, tells logs, checkpoints and captures apart, joins the files of a run. */
import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { kindOfPath, openFile, unreadable } from '../bytes/source.ts';
import { CHECKPOINT_FORMATS, explainFile, sniffCheckpoint } from '../checkpoints/registry.ts';
import { finishRun, type RunPart } from '../logs/finish-run.ts';
import {
  finishLog,
  formatOf,
  type RawLog,
  type ReadLogOptions,
  readHead,
  readLogFile,
  readRawLog,
} from '../logs/read-log.ts';
import { LOG_FORMATS } from '../logs/registry.ts';
import { isSidecar, readMlflowParams, readSidecars } from '../logs/sidecars.ts';
import { DiagError, diagError } from '../model/errors.ts';
import type { Skipped } from '../model/inspection.ts';
import type { LogInput } from '../model/log.ts';

export interface Collected {
  readonly logs: LogInput[];
  /** Files that a checkpoint format claims. */
  readonly checkpoints: string[];
  /** Folders with a capture.json. */
  readonly captures: string[];
  /** What a walk passed over, with the reason. */
  readonly skipped: Skipped[];
  /** Inputs that could not be read at all. */
  readonly errors: DiagError[];
}

export type CollectOptions = Omit<ReadLogOptions, 'id'>;

const CAPTURE_MANIFEST = 'capture.json';
/** Folders that hold no runs and may hold a great many files. */
const PASSED_FOLDERS = /^(\.|node_modules$|__pycache__$|site-packages$)/;
/** Kinds of files that are not worth opening. */
const PASSED_FILES =
  /\.(py|pyc|ipynb|md|rst|html?|css|js|ts|png|jpe?g|gif|svg|pdf|mp4|wav|zip\.tmp|lock|toml|sh|so|whl)$/i;
/** A folder of evaluation events beside or below those of the training (Keras, TF Estimator). */
const EVAL_FOLDER = /^(eval|evaluation|val|valid|validation|test|dev)([_-].*)?$/i;

/**
 * Reads everything under the paths. A path that was named and cannot be used is in `errors`; a file that a walk meets
 * and that is no input is in `skipped`.
 */
export async function collectInputs(
  paths: readonly string[],
  options: CollectOptions = {},
): Promise<Collected> {
  const found: Collected = { logs: [], checkpoints: [], captures: [], skipped: [], errors: [] };
  for (const path of paths)
    await guarded(found, async () => {
      if (path !== '-' && (await kindOfPath(path)) === 'folder') await collectFolder(path, options, found);
      else await collectFile(path, options, found);
    });
  checkMapped(found.logs, options);
  return found;
}

/** Runs a piece of work; a coded error of it is an error of that input, not of the others; what a walk cannot place is passed over. */
async function guarded(found: Collected, work: () => Promise<void>, walked = false): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof DiagError) || error.exitCode === 2) throw error;
    if (walked && error.code === 'format-unknown' && error.where !== undefined)
      found.skipped.push({ path: error.where.path, reason: 'in no known format' });
    else found.errors.push(error);
  }
}

/** A name that --map gives and no log has is a mistake of the user's, not a log without a loss. */
function checkMapped(logs: readonly LogInput[], options: CollectOptions): void {
  if (logs.length === 0) return;
  for (const [name, role] of options.roles ?? []) {
    const series = logs.flatMap((log) => log.runs.flatMap((run) => run.series.map((one) => one.name)));
    if (!series.includes(name))
      throw diagError('map-name-missing', { role, name, found: [...new Set(series)].slice(0, 20) });
  }
}

const isCheckpointFormat = (id: string): boolean => CHECKPOINT_FORMATS.some((format) => format.id === id);

/** A file that the user named, or standard input. */
async function collectFile(path: string, options: CollectOptions, found: Collected): Promise<void> {
  if (options.format !== undefined && isCheckpointFormat(options.format)) {
    found.checkpoints.push(path);
    return;
  }
  if (path !== '-' && options.format === undefined) {
    if (basename(path) === CAPTURE_MANIFEST) {
      found.captures.push(dirname(path));
      return;
    }
    const head = await readHead(path);
    const format = formatOf(head, path)?.id;
    if (isVague(format) && (await isCheckpoint(path))) {
      found.checkpoints.push(path);
      return;
    }
    // A binary file that is neither may still be one that can be named: another pickle, an archive of something else.
    if (format === undefined && (head.includes(0) || head[0] === 0x80)) await explainFile(path);
  }
  try {
    found.logs.push(await readLogFile(path, options));
  } catch (error) {
    // Readers of logs name the formats of logs; a named file was tried as a checkpoint too.
    if (!(error instanceof DiagError) || error.code !== 'format-unknown' || path === '-') throw error;
    const tried = [...Object.values(LOG_FORMATS), ...CHECKPOINT_FORMATS].map((format) => format.tried);
    throw diagError('format-unknown', { path, tried }, error.where);
  }
}

/** Formats that are told by little: parts of checkpoints may be JSON documents or text too. */
const isVague = (format: string | undefined): boolean =>
  format === undefined || format === 'json' || format === 'stdout';

/** Printed logs often start with the source of the trainer, so that their head tells nothing. */
const PRINTED = /(\.(log|txt|out|err|stdout|stderr)(\.gz)?|^slurm-[^.]*|^nohup[^.]*)$/i;

async function isCheckpoint(path: string): Promise<boolean> {
  const source = await openFile(path);
  try {
    return (await sniffCheckpoint(source)) !== undefined;
  } finally {
    await source.close();
  }
}

/** A file of a walk that a log format claims. */
interface Candidate {
  readonly path: string;
  readonly format: string;
}

async function collectFolder(root: string, options: CollectOptions, found: Collected): Promise<void> {
  const before = found.logs.length + found.checkpoints.length + found.captures.length;
  const errorsBefore = found.errors.length;
  const candidates: Candidate[] = [];
  const looked = await walk(root, options, candidates, found);
  for (const group of groupRuns(root, candidates, found.skipped))
    await guarded(found, () => collectGroup(group, options, found), true);
  const now = found.logs.length + found.checkpoints.length + found.captures.length;
  if (now === before && found.errors.length === errorsBefore)
    throw diagError('folder-without-inputs', { path: root, files: looked }, { path: root });
}

/** Looks at every file once, in the order of the names; returns how many there were. */
async function walk(
  root: string,
  options: CollectOptions,
  candidates: Candidate[],
  found: Collected,
): Promise<number> {
  let looked = 0;
  const visited = new Set<string>();
  const visit = async (folder: string): Promise<void> => {
    const real = await realpath(folder);
    // A link back to a folder above would never end.
    if (visited.has(real)) return;
    visited.add(real);
    let entries: Dirent[];
    try {
      entries = await readdir(folder, { withFileTypes: true });
    } catch (error) {
      throw unreadable(folder, error);
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    if (entries.some((entry) => entry.name === CAPTURE_MANIFEST)) {
      found.captures.push(folder);
      return;
    }
    for (const entry of entries) {
      const path = join(folder, entry.name);
      await guarded(found, async () => {
        const kind = entry.isSymbolicLink()
          ? await kindOfPath(path)
          : entry.isDirectory()
            ? 'folder'
            : entry.isFile()
              ? 'file'
              : 'other';
        if (kind === 'folder') {
          // The variables of a SavedModel are read through its saved_model.pb.
          const ofSavedModel =
            entry.name === 'variables' && entries.some(({ name }) => name === 'saved_model.pb');
          if (!PASSED_FOLDERS.test(entry.name) && !ofSavedModel) await visit(path);
          return;
        }
        looked++;
        const reason =
          kind === 'file' ? await look(path, options, candidates, found) : `not a regular file (${kind})`;
        if (reason !== undefined) found.skipped.push({ path, reason });
      });
    }
  };
  await visit(root);
  return looked;
}

/** Sorts a file of a walk; the reason if it is no input. */
async function look(
  path: string,
  options: CollectOptions,
  candidates: Candidate[],
  found: Collected,
): Promise<string | undefined> {
  if (isSidecar(path)) return 'hyperparameters';
  if (PASSED_FILES.test(path)) return 'no log by its name';
  if (basename(path) === 'checkpoint') return 'names the checkpoints of TensorFlow beside it';
  if (/\.data-\d{5}-of-\d{5}$/.test(path)) return 'read through the .index beside it';
  if ((await stat(path).catch(() => undefined))?.size === 0) return 'empty (0 bytes)';
  const head = await readHead(path);
  const format =
    formatOf(head, path)?.id ?? (PRINTED.test(basename(path)) && !head.includes(0) ? 'stdout' : undefined);
  if (isVague(format) && (await isCheckpoint(path))) {
    found.checkpoints.push(path);
    return undefined;
  }
  if (format !== undefined && (options.format === undefined || options.format === format)) {
    candidates.push({ path, format });
    return undefined;
  }
  return format === undefined ? 'in no known format' : `${format}, not ${options.format}`;
}

/** The files of one run, in the order in which they are joined. */
interface Group {
  readonly id: string;
  /** What the input is called: the file, or the folder of several. */
  readonly path: string;
  readonly files: readonly (Candidate & { readonly prefix?: string })[];
  /** Each file is a series of its own (MLflow), not a stretch of time. */
  readonly parallel?: boolean;
  /** Where hyperparameters lie; the folder of the first file where it is left out. */
  readonly folder?: string;
}

function groupRuns(root: string, candidates: readonly Candidate[], skipped: Skipped[]): Group[] {
  const idOf = (path: string): string => relative(root, path) || basename(resolve(root));
  const groups: Group[] = [];
  const events = new Map<string, (Candidate & { prefix?: string })[]>();
  for (const candidate of candidates)
    if (candidate.format === 'tfevents') {
      const folder = dirname(candidate.path);
      events.set(folder, [...(events.get(folder) ?? []), candidate]);
    }
  for (const folder of [...events.keys()]) {
    if (!EVAL_FOLDER.test(basename(folder)) || folder === root) continue;
    const parent = dirname(folder);
    const home = [parent, join(parent, 'train')].find((path) => path !== folder && events.has(path));
    if (home === undefined) continue;
    const prefix = `${basename(folder)}/`;
    events.get(home)!.push(...events.get(folder)!.map((one) => ({ ...one, prefix })));
    events.delete(folder);
  }
  const metrics = new Map<string, Candidate[]>();
  for (const candidate of candidates)
    if (candidate.format === 'mlflow') {
      const folder = mlflowRun(candidate.path);
      metrics.set(folder, [...(metrics.get(folder) ?? []), candidate]);
    }
  const latest = latestStates(candidates);
  for (const candidate of candidates) {
    const { path, format } = candidate;
    if (format === 'tfevents') {
      const files = events.get(dirname(path));
      if (files === undefined || files[0] !== candidate) continue;
      const folder = dirname(path);
      groups.push({ id: idOf(folder), path: files.length === 1 ? path : folder, files });
    } else if (format === 'mlflow') {
      const folder = mlflowRun(path);
      const files = metrics.get(folder)!;
      if (files[0] === candidate)
        groups.push({ id: idOf(folder), path: folder, files, parallel: true, folder });
    } else if (latest.has(path)) skipped.push({ path, reason: `an earlier state of ${latest.get(path)}` });
    else groups.push({ id: idOf(path), path, files: [candidate] });
  }
  return groups;
}

/** The folder of the run that a metric file belongs to: `<run>/metrics/<key>`, where a key may have folders. */
function mlflowRun(path: string): string {
  let folder = dirname(path);
  while (basename(folder) !== 'metrics' && dirname(folder) !== folder) folder = dirname(folder);
  return basename(folder) === 'metrics' ? dirname(folder) : dirname(path);
}

/** The Trainer writes its whole history into every checkpoint folder: only the last one is a run. */
function latestStates(candidates: readonly Candidate[]): Map<string, string> {
  const byRun = new Map<string, { path: string; number: number }[]>();
  for (const { path, format } of candidates) {
    if (format !== 'hf-trainer-state') continue;
    const folder = dirname(path);
    const number = /^checkpoint-(\d+)$/.exec(basename(folder))?.[1];
    const run = number === undefined ? folder : dirname(folder);
    const list = byRun.get(run) ?? [];
    list.push({ path, number: number === undefined ? Number.POSITIVE_INFINITY : Number(number) });
    byRun.set(run, list);
  }
  const earlier = new Map<string, string>();
  for (const list of byRun.values()) {
    list.sort((a, b) => b.number - a.number);
    for (const one of list.slice(1)) earlier.set(one.path, list[0]!.path);
  }
  return earlier;
}

async function collectGroup(group: Group, options: CollectOptions, found: Collected): Promise<void> {
  const raws: (RawLog & { prefix?: string })[] = [];
  for (const { path, prefix } of group.files) {
    const raw = await readRawLog(path, options);
    raws.push(prefix === undefined ? raw : { ...raw, prefix });
  }
  if (raws.length === 1 && group.parallel !== true) {
    const raw = raws[0]!;
    const points = Math.max(0, ...raw.runs.flatMap((run) => run.series.map((one) => one.value.length)));
    if (points === 0 && raw.errors.length === 0 && raw.unreadBytes === 0)
      found.skipped.push({ path: group.path, reason: 'holds no points' });
    else if (raw.format === 'json' && points < 2)
      found.skipped.push({ path: group.path, reason: 'a JSON document without series' });
    else {
      const log = await finishLog(raw, { ...options, id: group.id });
      // Many JSON documents hold arrays of numbers; one that a walk meets is a log if it measures something.
      const measures = log.runs.some((run) => run.series.some(({ role }) => role !== 'other'));
      if (log.format === 'json' && !measures)
        found.skipped.push({
          path: group.path,
          reason: 'a JSON document without a loss, a metric or a norm',
        });
      else found.logs.push(log);
    }
    return;
  }
  const folder = group.folder ?? dirname(group.files[0]!.path);
  const sidecars = await readSidecars(folder);
  const params = group.parallel === true ? await readMlflowParams(folder) : [];
  const parts = raws
    .map((raw): RunPart & { order: number } => ({
      path: raw.path,
      run: raw.runs[0]!,
      ...(raw.prefix === undefined ? {} : { prefix: raw.prefix }),
      ...(group.parallel === undefined ? {} : { parallel: group.parallel }),
      order: firstTime(raw),
    }))
    .sort((a, b) => a.order - b.order || (a.path < b.path ? -1 : 1));
  found.logs.push({
    kind: 'log',
    path: group.path,
    format: raws[0]!.format,
    // One hash names one file.
    sha256: null,
    files: raws.map(({ runs: _, prefix: __, ...file }) => file),
    errors: raws.flatMap((raw) => raw.errors),
    kept: raws.reduce((sum, raw) => sum + raw.kept, 0),
    lost: raws.reduce((sum, raw) => sum + raw.lost, 0),
    unreadBytes: raws.reduce((sum, raw) => sum + raw.unreadBytes, 0),
    runs: [
      finishRun(
        group.id,
        parts,
        raws[0]!.format,
        options.roles ?? new Map(),
        new Map([...sidecars.hyperparameters, ...params]),
        sidecars.notes,
      ),
    ],
  });
}

/** When a file's first point was logged; files without points come last. */
function firstTime(raw: RawLog): number {
  let first = Number.POSITIVE_INFINITY;
  for (const run of raw.runs)
    for (const series of run.series) {
      const time = series.wallTime?.[0];
      if (time !== undefined && time < first) first = time;
    }
  return first;
}
