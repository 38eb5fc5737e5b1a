/**
 * From the paths that a user names to inputs. Each file is opened once: its first bytes show what it is, a log is read to its
 * end, a checkpoint is returned open, and any other file is skipped with the reason.
 */
import { basename, dirname, relative, resolve } from 'node:path';
import { DiagError, diagError } from '../../model/errors.ts';
import type { Skipped } from '../../model/inspection.ts';
import type { LogInput } from '../../model/log.ts';
import { readChunks } from '../../read/bytes/chunks.ts';
import { isBinary } from '../../read/bytes/encoding.ts';
import type { PeekedSource } from '../../read/bytes/peeked-source.ts';
import {
  type ByteSource,
  kindOfPath,
  namesIn,
  openFile,
  partOfSource,
  stampOf,
} from '../../read/bytes/source.ts';
import { RECORDER_STATUS, tellRecorder } from '../../read/captures/status.ts';
import type { CheckpointFormat } from '../../read/checkpoints/format.ts';
import type { CheckpointFile } from '../../read/checkpoints/registry.ts';
import { finishRun, type RunPart } from '../../read/logs/finish-run.ts';
import type { LogFormat, RunFiles } from '../../read/logs/format.ts';
import { type GrowingBytes, GrowingLog } from '../../read/logs/growing-log.ts';
import { NO_SIDECARS, type SidecarFile, type Sidecars } from '../../read/logs/hyperparameters.ts';
import {
  filesOfRun,
  finishLog,
  joinLogs,
  type RawLog,
  type ReadLogOptions,
  readLogFile,
  readRawLog,
  withRecords,
} from '../../read/logs/read-log.ts';
import { LOG_FORMATS } from '../../read/logs/registry.ts';
import { retold } from '../../read/logs/retold.ts';
import { toldTwice } from '../../read/logs/same-run.ts';
import { readSidecars } from '../../read/logs/sidecars.ts';
import { isLastValues, isPrintedBeside } from '../../read/logs/wandb-folder.ts';
import type { Container } from './containers.ts';
import { isCrashFile, logBeside, withCrash, withEndOf } from './crash-files.ts';
import { distinctIds } from './distinct-ids.ts';
import { type InputFile, inputOf, openInput } from './input-file.ts';
import { ownReport } from './own-report.ts';
import { archiveSaysLog, nameSaysLog, saying, signOfEmpty, signOfUnknown } from './says-log.ts';
import { CAPTURE_MANIFEST, isPassedByName, type Met, walk } from './walk.ts';

interface Found<Checkpoint> {
  readonly logs: LogInput[];
  /** Files that a checkpoint format claims. */
  readonly checkpoints: Checkpoint[];
  /** Folders with a capture.json. */
  readonly captures: string[];
  /** Folders of ledgers. */
  readonly ledgers: string[];
  /** Files of hyperparameters in the folders of the logs. */
  readonly sidecars: SidecarFile[];
  /** What a walk skipped, with the reason. */
  readonly skipped: Skipped[];
  /** Inputs that could not be read at all. */
  readonly errors: DiagError[];
}

export type Collected = Found<string>;
/** What was collected, with the checkpoints ready to be opened. */
export type Inputs = Found<CheckpointFile>;

/** What a walk found in a file, and the size and time by which it is known to be the same. */
export interface Remembered {
  readonly stamp: string;
  /** Undefined of a checkpoint, which whoever remembers has no use for. */
  readonly found: Omit<Part, 'order'> | Skipped | undefined;
  /** Reads the file on once it has grown. */
  readonly growing?: GrowingLog;
}

export interface CollectOptions extends Omit<ReadLogOptions, 'id' | 'sidecars'> {
  /** Names of `roles` that a log may lack: a config is for many. */
  readonly mayLack?: ReadonlySet<string>;
  /** What was found in the files of folders, by path; one that is as it was then is not opened again. */
  readonly memory?: Map<string, Remembered>;
  /** Takes a file that was named, before any format is asked; whether it did. */
  readonly claim?: (file: InputFile) => Promise<boolean>;
}

/**
 * Reads everything under the paths. A path that was named and cannot be used is in `errors`; a file that a walk meets
 * and that is no input is in `skipped`.
 */
export const collectInputs = (paths: readonly string[], options: CollectOptions = {}): Promise<Collected> =>
  withInputs(paths, options, async (found) => ({
    ...found,
    checkpoints: found.checkpoints.map(({ path }) => path),
  }));

/** As {@link collectInputs}, for work that opens the checkpoints; they are closed when it is done. */
export async function withInputs<T>(
  paths: readonly string[],
  options: CollectOptions,
  use: (found: Inputs) => Promise<T>,
): Promise<T> {
  const found: Inputs = {
    logs: [],
    checkpoints: [],
    captures: [],
    ledgers: [],
    sidecars: [],
    skipped: [],
    errors: [],
  };
  const known = new Map<string, Promise<Sidecars>>();
  const once = (key: string, read: () => Promise<Sidecars>): Promise<Sidecars> => {
    const reading = known.get(key) ?? read();
    known.set(key, reading);
    return reading;
  };
  const sidecars = (folder: string): Promise<Sidecars> => once(folder, () => readSidecars(folder));
  const parameters = ({ id, parameters: read }: LogFormat, folder: string): Promise<Sidecars> =>
    once(`${id}:${folder}`, async () => (await read?.(folder)) ?? NO_SIDECARS);
  const reading = { ...options, sidecars, parameters };
  try {
    for (const path of paths)
      try {
        if (path !== '-' && (await kindOfPath(path)) === 'folder') await collectFolder(path, reading, found);
        else await collectFile(path, reading, found);
      } catch (error) {
        found.errors.push(ofInput(error));
      }
    checkMapped(found.logs, options);
    for (const beside of known.values()) found.sidecars.push(...(await beside).files);
    tellSidecars(found);
    return await use({ ...found, logs: [...distinctIds(found.logs)] });
  } finally {
    for (const checkpoint of found.checkpoints) await checkpoint.close();
  }
}

/** Hyperparameters that were read with their log were not skipped; those that could not be read have a reason. */
function tellSidecars({ sidecars, skipped }: Inputs): void {
  const problems = new Map(sidecars.map(({ path, problem }) => [path, problem]));
  const left = skipped.flatMap((one) => {
    const problem = problems.get(one.path);
    if (problem === undefined) return [one];
    return problem === null ? [] : [{ ...one, reason: `${one.reason}, and it ${problem}` }];
  });
  skipped.splice(0, skipped.length, ...left);
}

/** A coded error is one of its input, not of the others. @throws anything else, and mistakes of the command line */
function ofInput(error: unknown): DiagError {
  if (error instanceof DiagError && error.exitCode !== 2) return error;
  throw error;
}

/** A name that --map gives and no log has is a mistake of the user's, not a log without a loss. */
function checkMapped(logs: readonly LogInput[], options: CollectOptions): void {
  if (logs.length === 0) return;
  for (const [name, role] of options.roles ?? []) {
    const series = logs.flatMap((log) => log.runs.flatMap((run) => run.series.map((one) => one.name)));
    if (!series.includes(name) && options.mayLack?.has(name) !== true)
      throw diagError('map-name-missing', { role, name, found: [...new Set(series)].slice(0, 20) });
  }
}

interface Reading extends CollectOptions {
  readonly sidecars: (folder: string) => Promise<Sidecars>;
  /** Those that the format keeps in the folder of a run. */
  readonly parameters: (format: LogFormat, folder: string) => Promise<Sidecars>;
}

/** Loaded where a file may be a checkpoint: a log alone has no use for the readers. */
const checkpointReaders = () => import('../../read/checkpoints/registry.ts');

/** Whether `--format` names a format of checkpoints. */
const asCheckpoint = async ({ format }: Reading): Promise<boolean> =>
  format !== undefined && (await checkpointReaders()).CHECKPOINT_FORMATS.some(({ id }) => id === format);

/** A file that the user named, or standard input. */
async function collectFile(path: string, options: Reading, found: Inputs): Promise<void> {
  if (await asCheckpoint(options)) found.checkpoints.push((await checkpointReaders()).checkpointFile(path));
  else if (path === '-') found.logs.push(await readLogFile(path, options));
  else if (basename(path) === CAPTURE_MANIFEST && options.format === undefined)
    found.captures.push(dirname(path));
  else {
    const file = await openInput(path);
    if (file.checkpoint !== undefined && options.format === undefined)
      await handOn(file.source, file.checkpoint, found);
    else if (await isOpened(file, options)) {
      await file.source.close();
      await collectWalk(dirname(path), only(path), options, found, path);
    } else await closing(file, () => readNamed(file, options, found));
  }
}

/** Checkpoints whose first bytes stay in memory until they are opened; those of more are read again then. */
const HEADS_KEPT = 500;

async function handOn(source: PeekedSource, format: CheckpointFormat, found: Inputs): Promise<void> {
  const { checkpointFile } = await checkpointReaders();
  if (found.checkpoints.length >= HEADS_KEPT) source.forgetHead();
  found.checkpoints.push(checkpointFile(source.path, { source, format }));
}

async function closing(file: InputFile, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await file.source.close();
  }
}

async function readNamed(file: InputFile, options: Reading, found: Inputs): Promise<void> {
  const { path, source, head, told } = file;
  if (await options.claim?.(file)) return;
  if (options.format === undefined && ownReport(head) !== undefined)
    throw diagError('input-is-report', { path }, { path });
  // A binary file that is neither may still be one that can be named: another pickle, an archive of something else.
  if (told === undefined && options.format === undefined && (isBinary(head) || head[0] === 0x80))
    await (await checkpointReaders()).explainFile(source);
  try {
    found.logs.push(await finishLog(await readRawLog(source, options, told), options));
  } catch (error) {
    // Readers of logs name the formats of logs; a named file was tried as a checkpoint too.
    if (!(error instanceof DiagError) || error.code !== 'format-unknown') throw error;
    const { CHECKPOINT_FORMATS } = await checkpointReaders();
    const tried = `the ${Object.keys(LOG_FORMATS).length} formats of logs and the ${CHECKPOINT_FORMATS.length} of checkpoints`;
    throw diagError('format-unknown', { path, tried }, error.where);
  }
}

/** A log of a walk that was read, and how many things the walk met before it. */
interface Part {
  readonly raw: RawLog;
  readonly format: LogFormat;
  readonly order: number;
  /** The first bytes, decompressed. */
  readonly head: Buffer;
}

/** A log whose reading waits until it is known which of its kind are worth it. */
interface Waiting {
  readonly file: InputFile;
  readonly format: LogFormat;
  readonly order: number;
}

/** What a walk has found so far; each thing it meets becomes one of these, a checkpoint, a capture or an error. */
interface Walk {
  readonly root: string;
  /** What the user named: the folder that is walked, or a file. */
  readonly named: string;
  readonly options: Reading;
  readonly found: Inputs;
  readonly logs: { readonly log: LogInput; readonly format: LogFormat; readonly order: number }[];
  readonly skipped: (Skipped & { readonly order: number })[];
  /** Output without a record that says how its process ended. */
  readonly crashes: { readonly log: LogInput; readonly format: LogFormat; readonly order: number }[];
  /** Files of formats of which several make a run. */
  readonly parts: Part[];
  /** Checkpoints that are remembered. */
  remembered: number;
  readonly waiting: Waiting[];
  /** Reads the file that is met, where it was met before and has grown. */
  readonly growing?: GrowingLog;
  /** Of what lies in an archive: what has to be open for long, or may go on without end, is not read there. */
  readonly isInArchive?: boolean;
}

const collectFolder = (root: string, options: Reading, found: Inputs): Promise<void> =>
  collectWalk(root, walk(root), options, found, root);

/** A walk that meets a single file. */
async function* only(path: string): AsyncGenerator<Met> {
  yield { kind: 'file', path };
}

/** @param named what the user named, for messages */
async function collectWalk(
  root: string,
  walking: AsyncIterable<Met>,
  options: Reading,
  found: Inputs,
  named: string,
): Promise<void> {
  const walked: Walk = {
    root,
    named,
    options,
    found,
    logs: [],
    skipped: [],
    crashes: [],
    parts: [],
    remembered: 0,
    waiting: [],
  };
  const count = (): number =>
    found.checkpoints.length +
    walked.remembered +
    found.captures.length +
    found.ledgers.length +
    found.errors.length +
    walked.logs.length;
  const before = count();
  let files = 0;
  let order = 0;
  let recorder: string | undefined;
  try {
    for await (const met of walking) {
      order++;
      if (met.kind === 'file' || met.kind === 'passed') files++;
      if (met.kind === 'file' && basename(met.path) === RECORDER_STATUS) recorder ??= dirname(met.path);
      await meet(met, order, walked);
    }
    await readWaiting(walked);
  } finally {
    for (const { file } of walked.waiting) await file.source.close();
  }
  await joinParts(walked);
  passOverRetold(walked);
  adoptCrashes(walked);
  const read = passOverData(walked, count() - before);
  const byOrder = (a: { readonly order: number }, b: { readonly order: number }): number => a.order - b.order;
  found.logs.push(...read.sort(byOrder).map(({ log }) => log));
  found.skipped.push(...walked.skipped.sort(byOrder).map(({ order: _, ...one }) => one));
  if (count() > before) return;
  if (recorder !== undefined) await tellRecorder(recorder);
  throw diagError('folder-without-inputs', { path: named, files }, { path: named });
}

/** Adds to the run in its folder how it ended; a file of no run becomes a separate run, without a loss. */
function adoptCrashes({ crashes, logs, skipped }: Walk): void {
  for (const crash of crashes) {
    const beside = logBeside(
      crash.log,
      logs.map(({ log }) => log),
    );
    const at = logs.findIndex(({ log }) => log === beside);
    if (beside === undefined) logs.push(crash);
    else {
      logs[at] = { ...logs[at]!, log: withCrash(beside, crash.log) };
      const reason = `output of the run of ${beside.path}: read for how its process ended`;
      skipped.push({ path: crash.log.path, reason, order: crash.order });
    }
  }
}

/** Skips logs whose values are all in another one; how the process ended may be in the skipped one alone. */
function passOverRetold({ logs, skipped }: Walk): void {
  const all = logs.map(({ log }) => log);
  skipped.forEach((one, k) => {
    if (one.saysLog !== 'name' || !isPrintedBeside(one.path, all)) return;
    const { saysLog: _, ...rest } = one;
    skipped[k] = rest;
  });
  const passOver = (one: Walk['logs'][number], why: Pick<Skipped, 'reason' | 'sameRun'>): void => {
    skipped.push({ path: one.log.path, ...why, order: one.order });
    logs.splice(logs.indexOf(one), 1);
  };
  for (const one of [...logs]) {
    const reason = retold(one.log, all);
    if (reason !== undefined) passOver(one, { reason });
  }
  const duplicates = new Map<string, { readonly log: LogInput; readonly keeps: string }>();
  for (const one of [...logs]) {
    // After a duplicate is removed, the log that is kept is compared with the others again.
    const same = toldTwice(
      one.log,
      logs.map(({ log }) => log),
    );
    if (same === undefined) continue;
    passOver(one, { reason: same.reason, sameRun: same.by.path });
    duplicates.set(one.log.path, { log: one.log, keeps: same.by.path });
  }
  for (const { log, keeps } of duplicates.values()) {
    let path = keeps;
    for (let next = duplicates.get(path); next !== undefined; next = duplicates.get(path)) path = next.keeps;
    const at = logs.findIndex((one) => one.log.path === path);
    if (at >= 0) logs[at] = { ...logs[at]!, log: withEndOf(logs[at]!.log, log) };
  }
}

/** The logs, without tables of data in the folder of a log or of another input. */
function passOverData({ logs, skipped }: Walk, inputs: number): Walk['logs'] {
  const data = logs.filter(({ log, format }) => format.mayBeData === true && isData(log, format));
  if (data.length === 0 || inputs === data.length) return [...logs];
  for (const { log, order } of data)
    skipped.push({ path: log.path, reason: 'a table without a loss or a norm of a training', order });
  return logs.filter((one) => !data.includes(one));
}

/** Whether no column is one of a training: names of metrics (`score`, `error`) are in tables of products too. */
const isData = ({ kept, runs }: LogInput, { headerRecords = 0 }: LogFormat): boolean =>
  kept > headerRecords &&
  runs.every(
    ({ series, stepUnit }) =>
      series.every(({ role }) => role === 'other') ||
      (stepUnit === 'row' && series.every(({ role }) => role === 'other' || role === 'metric')),
  );

async function meet(met: Met, order: number, walked: Walk): Promise<void> {
  const { found, skipped } = walked;
  if (met.kind === 'capture') found.captures.push(met.path);
  else if (met.kind === 'ledger') found.ledgers.push(met.path);
  else if (met.kind === 'error') found.errors.push(ofInput(met.error));
  else if (met.kind === 'passed') {
    const { kind: _, ...passed } = met;
    skipped.push({ ...passed, order });
    // A log that was truncated holds nothing of what it held.
    const { memory } = walked.options;
    if (memory?.has(met.path) === true) memory.set(met.path, { stamp: '', found: passed });
  } else await meetFile(met.path, order, walked);
}

const UNKNOWN = 'in no known format';

/** Takes a file as it is remembered, or reads it and remembers it. */
async function meetFile(path: string, order: number, walked: Walk): Promise<void> {
  const { memory } = walked.options;
  if (memory === undefined) {
    await readMet(path, order, walked);
    return;
  }
  // Taken first: what is written while the file is read shows the next time.
  const stamp = JSON.stringify(await stampOf(path));
  const known = memory.get(path);
  if (known !== undefined && known.stamp === stamp) return recall(known.found, order, walked);
  memory.delete(path);
  // One that is met the first time may have ended: of those no reader is kept.
  const growing =
    known && 'raw' in (known.found ?? {}) ? (known.growing ?? new GrowingLog(walked.options)) : undefined;
  const { found, skipped, waiting } = walked;
  const [undecided, checkpoints, passed] = [
    found.errors.length + waiting.length,
    found.checkpoints.length,
    skipped.length,
  ];
  const read =
    (await readGrown(path, known, order, walked)) ??
    (await readMet(path, order, growing === undefined ? walked : { ...walked, growing }));
  // Errors are found again, and of files that wait it is not known yet.
  if (found.errors.length + waiting.length > undecided) return;
  if (read !== undefined)
    memory.set(path, {
      stamp,
      found: withoutHead(read, skipped.length > passed),
      ...(growing && { growing }),
    });
  else if (found.checkpoints.length > checkpoints) memory.set(path, { stamp, found: undefined });
  else if (skipped.length > passed) {
    const { order: _, ...one } = skipped.at(-1)!;
    // The members of an archive are read anew: what is remembered of a file is one thing.
    if (one.path === path) memory.set(path, { stamp, found: one });
  }
}

const NO_HEAD = Buffer.alloc(0);

/** What is remembered of a log. Its first bytes are needed only to say why a file is skipped. */
const withoutHead = (part: Part, isPassed: boolean): Part =>
  isPassed || part.format.joined !== undefined ? part : { ...part, head: NO_HEAD };

async function recall(known: Remembered['found'], order: number, walked: Walk): Promise<void> {
  if (known === undefined) walked.remembered++;
  else if ('reason' in known) walked.skipped.push({ ...known, order });
  else await takePart({ ...known, order }, walked);
}

/** Reads a log on that only grew: what it is was recognised before. @returns undefined where the file has to be opened as a new one */
async function readGrown(
  path: string,
  known: Remembered | undefined,
  order: number,
  walked: Walk,
): Promise<Part | undefined> {
  const { growing, found } = known ?? {};
  if (growing === undefined || found === undefined || !('raw' in found)) return undefined;
  let raw: RawLog | undefined;
  try {
    const source = await openFile(path);
    raw = await growing.readOn(growingBytes(source)).finally(() => source.close());
  } catch (error) {
    // It is reported where the file is opened as a new one.
    ofInput(error);
  }
  if (raw === undefined) return undefined;
  const part: Part = { ...found, raw, order };
  await takePart(part, walked);
  return part;
}

/** @returns the log that it is */
async function readMet(path: string, order: number, walked: Walk): Promise<Part | undefined> {
  let file: InputFile;
  try {
    file = await openInput(path);
  } catch (error) {
    walked.found.errors.push(ofInput(error));
    return undefined;
  }
  return readFile(file, order, walked);
}

/** Reads what an archive or a notebook holds, as files of a folder. */
async function readContents(
  { path }: InputFile,
  container: Container,
  order: number,
  walked: Walk,
  isWanted: (name: string) => boolean,
): Promise<void> {
  const { found, skipped, options } = walked;
  // A member has no hyperparameters in a folder of its own.
  const inner: Walk = {
    ...walked,
    isInArchive: container.kind === 'archive',
    options: { ...options, sidecars: async () => NO_SIDECARS, parameters: async () => NO_SIDECARS },
  };
  const before = found.errors.length;
  let members = 0;
  try {
    for await (const one of container.contents(isWanted)) {
      members++;
      if (one.kind === 'passed') skipped.push({ path: one.path, reason: one.reason, order });
      else if (one.kind === 'error') found.errors.push(ofInput(one.error));
      else if (isPassedByName(one.source.path))
        skipped.push({ path: one.source.path, reason: 'no log by its name', order });
      else if (one.source.byteLength === 0)
        skipped.push({ path: one.source.path, reason: 'empty (0 bytes)', order });
      else await readFile(await inputOf(one.source), order, inner);
    }
  } catch (error) {
    found.errors.push(ofInput(error));
  }
  if (members === 0 && found.errors.length === before)
    skipped.push({
      path,
      reason: `${container.kind === 'archive' ? 'an archive' : 'a notebook'} that holds no output`,
      order,
    });
}

/**
 * Which members of an archive are read. All of them where the user named it, or where its name says log; of others that a
 * walk meets those whose own names say log, since such archives hold data and may be large. Undefined where there are none.
 */
async function wantedOf(
  { path }: InputFile,
  container: Container,
  { root, named }: Walk,
): Promise<((name: string) => boolean) | undefined> {
  if (container.kind === 'notebook' || named !== root || archiveSaysLog(path)) return () => true;
  return (await container.names()).some(nameSaysLog) ? nameSaysLog : undefined;
}

const IN_ARCHIVE = 'is in an archive: unpack it to have it read';

/** @returns the log that it is */
async function readFile(file: InputFile, order: number, walked: Walk): Promise<Part | undefined> {
  const { options, found, skipped, waiting } = walked;
  const { path, source, checkpoint, told, named, head, container } = file;
  let read: Part | undefined;
  const format = told ?? named;
  const own = options.format === undefined ? ownReport(head) : undefined;
  if (own !== undefined) {
    await source.close();
    skipped.push({ path, reason: own, order });
  } else if (walked.isInArchive === true && (checkpoint !== undefined || container?.kind === 'archive')) {
    await source.close();
    skipped.push({
      path,
      reason: `${checkpoint === undefined ? 'an archive that' : 'a checkpoint that'} ${IN_ARCHIVE}`,
      order,
    });
  } else if (checkpoint !== undefined) await handOn(source, checkpoint, found);
  else if (container !== undefined && (await isOpened(file, options)))
    await closing(file, async () => {
      const isWanted = await wantedOf(file, container, walked);
      if (isWanted !== undefined) await readContents(file, container, order, walked, isWanted);
      else skipped.push({ path, reason: 'an archive: name it to have the logs in it read', order });
    });
  else if (format?.superseded !== undefined && [undefined, format.id].includes(options.format))
    waiting.push({ file, format, order });
  else
    await guarded(file, order, walked, () =>
      closing(file, async () => {
        const passOver = (reason: string): void => {
          skipped.push({ path, reason, ...saying(signOfUnknown(path, head)), order });
        };
        if (format === undefined) {
          if (options.format === undefined && (await isDamaged(path)))
            await (await checkpointReaders()).explainDamage(source).catch((error: unknown) => {
              if (!(error instanceof DiagError) || error.code !== 'format-unsupported') throw error;
              passOver(error.message.replace(`${path} is `, ''));
            });
          else passOver(UNKNOWN);
        } else if (![undefined, format.id].includes(options.format))
          passOver(`${format.id}, not ${options.format}`);
        else read = await readPart(file, format, order, walked);
      }),
    );
  return read;
}

/** Whether the contents of a file are read: those of an archive that is a checkpoint by its name are damaged. */
const isOpened = async ({ path, container }: InputFile, { format }: Reading): Promise<boolean> =>
  container !== undefined &&
  format === undefined &&
  (container.kind === 'notebook' || !(await isDamaged(path)));

/** Whether a file in no known format is a checkpoint by its name: one that is damaged, and not something else. */
const isDamaged = async (path: string): Promise<boolean> =>
  (await checkpointReaders()).saysCheckpoint(basename(path), await namesIn(dirname(path)));

/** A coded error is one of that input; what turns out to be in no format is skipped. */
async function guarded(
  file: InputFile,
  order: number,
  { found, skipped }: Walk,
  work: () => Promise<void>,
): Promise<void> {
  const { path, head } = file;
  try {
    await work();
  } catch (error) {
    const coded = ofInput(error);
    if (coded.code === 'format-unknown' || coded.code === 'log-no-record')
      skipped.push({ path, reason: UNKNOWN, ...saying(signOfUnknown(path, head)), order });
    else found.errors.push(coded);
  }
}

const growingBytes = (source: ByteSource): GrowingBytes => ({
  path: source.path,
  byteLength: source.byteLength,
  from: (start, end = source.byteLength) => readChunks(partOfSource(source, start, end, source.path)),
});

async function readPart(file: InputFile, format: LogFormat, order: number, walked: Walk): Promise<Part> {
  const raw =
    (await walked.growing?.read(growingBytes(file.source))) ??
    (await readRawLog(file.source, walked.options, format));
  const part: Part = { raw, format, order, head: file.head };
  await takePart(part, walked);
  return part;
}

/** Takes a file that is a run, or keeps what may be a part of one. */
async function takePart(part: Part, walked: Walk): Promise<void> {
  const { format } = part;
  const { path } = part.raw;
  if (format.joined === undefined)
    await takeRun({ path, named: path, files: [{ path }], folder: dirname(path) }, [part], walked);
  else walked.parts.push(part);
}

/** Reads the files that waited, but for those that tell nothing new. */
async function readWaiting(walked: Walk): Promise<void> {
  const { waiting, skipped } = walked;
  for (const [format, files] of byFormat(waiting)) {
    const known = format.superseded!(files.map(({ file }) => file.path));
    for (const { file, order } of files) {
      const { path } = file;
      const later = known.get(path);
      if (later !== undefined) skipped.push({ path, reason: `an earlier state of ${later}`, order });
      else
        await guarded(file, order, walked, async () => {
          await readPart(file, format, order, walked);
        });
    }
  }
}

/** Makes runs of the files that belong together. */
async function joinParts(walked: Walk): Promise<void> {
  for (const [format, parts] of byFormat(walked.parts)) {
    const read = new Map(parts.map((part) => [part.raw.path, part]));
    for (const run of format.joined!([...read.keys()], walked.root))
      await takeRun(
        run,
        run.files.map(({ path }) => read.get(path)!),
        walked,
      );
  }
}

function byFormat<T extends { readonly format: LogFormat }>(all: readonly T[]): Map<LogFormat, T[]> {
  const formats = new Map<LogFormat, T[]>();
  for (const one of all) {
    const same = formats.get(one.format);
    if (same === undefined) formats.set(one.format, [one]);
    else same.push(one);
  }
  return formats;
}

/** Takes a run into the logs, or passes it over with the reason. */
async function takeRun(run: RunFiles, parts: readonly Part[], walked: Walk): Promise<void> {
  const { root, options, logs, skipped } = walked;
  const [{ raw, format, order, head }] = parts as [Part];
  const id = relative(root, run.named) || basename(resolve(root));
  const alone = parts.length === 1 && run.parallel !== true;
  const log = alone
    ? await finishLog(raw, { ...options, id, folder: run.folder })
    : await joined(run, parts, id, options);
  const reason = alone ? whyNoLog(log, format) : undefined;
  if (alone && isCrashFile(log)) walked.crashes.push({ log, format, order });
  else if (reason === undefined) logs.push({ log, format, order });
  else skipped.push({ path: run.path, reason, ...saying(signOfEmpty(log, format, head)), order });
}

function whyNoLog({ path, runs, errors, unreadBytes }: LogInput, format: LogFormat): string | undefined {
  const series = runs.flatMap((run) => run.series);
  if (errors.length > 0 || unreadBytes > 0) {
    // A document that was cut may have lost the series that would tell.
    if (series.length === 0 || series.some(({ role }) => role !== 'other')) return undefined;
  } else if (series.every(({ value }) => value.length === 0)) return 'holds no points';
  return isLastValues({ path, runs }) ? undefined : format.noLog?.(runs, path);
}

async function joined(run: RunFiles, read: readonly Part[], id: string, options: Reading): Promise<LogInput> {
  const [{ format }] = read as [Part];
  const raws = read.map(({ raw }) => raw);
  const sidecars = await options.sidecars(run.folder);
  const parameters = await options.parameters(format, run.folder);
  const parts = read
    .map(({ raw }, k): RunPart & { order: number } => {
      const { prefix } = run.files[k]!;
      return {
        path: raw.path,
        run: raw.runs[0]!,
        ...(prefix === undefined ? {} : { prefix }),
        ...(run.parallel === undefined ? {} : { parallel: run.parallel }),
        order: firstTime(raw),
      };
    })
    .sort((a, b) => a.order - b.order || (a.path < b.path ? -1 : 1));
  const finished = finishRun(
    id,
    parts,
    format.id,
    options.roles ?? new Map(),
    new Map([...sidecars.hyperparameters, ...parameters.hyperparameters]),
    [...sidecars.notes, ...parameters.notes],
  );
  const [whole] = withRecords(
    [finished],
    raws.flatMap(({ lossRecords }) => lossRecords ?? []),
  );
  return { ...joinLogs(run.path, raws, whole!), files: filesOfRun(raws, finished) };
}

/** When a file's first point was logged; files without points come last. */
function firstTime({ runs }: RawLog): number {
  const times = runs.flatMap(({ series }) => series.flatMap(({ wallTime }) => wallTime?.at(0) ?? []));
  return times.reduce((first, time) => (time < first ? time : first), Number.POSITIVE_INFINITY);
}
