/** Looks at the logs in a folder again and again, also while they are rotated. */
import { basename, dirname, join, relative } from 'node:path';
import { DiagError } from '../../model/errors.ts';
import type { LogInput } from '../../model/log.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { type FileStamp, sizeOfPath, stampOf } from '../../read/bytes/source.ts';
import type { RawLog } from '../../read/logs/read-log.ts';
import { type AnalyzeOptions, analyze, reportOnLogs } from './analyze.ts';
import { type Remembered, withInputs } from './collect.ts';
import { RunReports } from './run-reports.ts';
import { walk } from './walk.ts';
import { Rotations } from './watch-rotations.ts';
import { joinedLog, type Watcher, whileItGoesOn } from './watcher.ts';

/** What lies in the folder, by path; undefined of what is gone again. */
type Listing = ReadonlyMap<string, { readonly kind: string; readonly stamp: FileStamp | undefined }>;

async function listingOf(folder: string): Promise<Listing> {
  const listing = new Map<string, { kind: string; stamp: FileStamp | undefined }>();
  for await (const { kind, path } of walk(folder)) listing.set(path, { kind, stamp: await stampOf(path) });
  return listing;
}

/** A log and its rotated parts are one family: `train.log`, `train.log.1`, `train.log-20260102.gz`. */
function familyOf(path: string): string {
  const name = basename(path);
  let start = name.length;
  while (start > 0 && /[\w.-]/.test(name[start - 1]!)) start--;
  const number = name.slice(start).search(/[.\-_]\d/);
  return join(dirname(path), number < 0 ? name : name.slice(0, start + number));
}

/**
 * The families of which a file was moved, truncated or removed, or got a new part, between two listings. What was read of them in
 * between may lack records or hold some twice.
 */
function movedFamilies(before: Listing, after: Listing): Set<string> {
  const families = new Set([...before.keys()].map(familyOf));
  const moved = new Set<string>();
  for (const [path, { stamp: was }] of before) {
    const is = after.get(path)?.stamp;
    if (is?.identity !== was?.identity || (is?.bytes ?? 0) < (was?.bytes ?? 0)) moved.add(familyOf(path));
  }
  for (const path of after.keys())
    if (!before.has(path) && families.has(familyOf(path))) moved.add(familyOf(path));
  return moved;
}

type Found = Remembered['found'];
type ReadPart = Extract<Found, { readonly raw: RawLog }>;

const isLog = (found: Found): found is ReadPart => found !== undefined && 'raw' in found;
/** Whether a file is a log that is appended to: what is no document, and no part of a run of several files. */
const isAppended = (found: Found): found is ReadPart =>
  isLog(found) && found.format.joined === undefined && found.format.document !== true;
const isOther = (found: Found): boolean => isLog(found) && !isAppended(found);

/** So often files that were moved while they were read are read again at one look. */
const READ_AGAIN = 3;
/** Milliseconds for which a file was not written to while another one was. Our number. */
const AT_REST = 5 * 60_000;
/** After so many looks in a row a family is read as it is: a file that is written anew all the time never settles. */
const LOOKS_TO_WAIT = 4;

/**
 * Watches the logs in a folder: those that are there and those that appear. A look reads the files that are new, or of
 * another size or time than before, as `analyze` does. What a rotation or a truncation takes away stays part of its run; what is written
 * and truncated away between two looks is lost.
 */
export const watchFolder = (path: string, options: AnalyzeOptions): Watcher => new FolderWatch(path, options);

class FolderWatch implements Watcher {
  private readonly memory = new Map<string, Remembered>();
  private readonly rotations = new Rotations();
  private before: Listing = new Map();
  /** Whether a log has rotated parts. */
  private isJoined = false;
  /** The families that went on moving at the last looks, and for how many. */
  private moving: ReadonlyMap<string, number> = new Map();
  private shown: LogInput[] = [];
  private readonly reports: RunReports;

  constructor(
    private readonly path: string,
    private readonly options: AnalyzeOptions,
  ) {
    this.reports = new RunReports(whileItGoesOn(options));
  }

  async look(): Promise<Report | undefined> {
    // Taken first: what is written while the logs are read shows at the next look.
    const listing = await this.list();
    const isSame = JSON.stringify([...listing]) === JSON.stringify([...this.before]);
    if (isSame && this.moving.size === 0) return undefined;
    this.before = listing;
    const report = await this.report(whileItGoesOn(this.options), this.reports.of);
    this.reports.endLook();
    this.forgetReaders(listing);
    return report;
  }

  /** Of a file that is at rest, as one that was rotated away or whose run has ended, no reader is kept. */
  private forgetReaders(listing: Listing): void {
    // The clock of the file system may be another machine's; a single file may have any time.
    const now = this.options.now().getTime();
    let newest = Number.NEGATIVE_INFINITY;
    for (const { stamp } of listing.values())
      if (stamp !== undefined && stamp.modified <= now) newest = Math.max(newest, stamp.modified);
    for (const [file, { growing }] of this.memory)
      if (newest - (listing.get(file)?.stamp?.modified ?? newest) > AT_REST) growing?.forget();
  }

  async finish(): Promise<Report> {
    const { path, options } = this;
    // In the end each file is read to its last byte.
    for (const [file, { growing }] of this.memory) if (growing !== undefined) this.memory.delete(file);
    this.before = await this.list();
    return (this.isJoined ? await this.report(options) : undefined) ?? analyze([path], options);
  }

  /** Whether a file is of a family that was moved again and again while it was read: it shows what it did at the look before. */
  moves(file: string): boolean {
    const looks = this.moving.get(familyOf(file));
    return looks !== undefined && looks <= LOOKS_TO_WAIT;
  }

  async close(): Promise<void> {}

  /** What is there; what is gone is remembered no more. */
  private async list(): Promise<Listing> {
    const listing = await listingOf(this.path);
    for (const one of this.memory.keys()) if (!listing.has(one)) this.memory.delete(one);
    return listing;
  }

  private report(judging: AnalyzeOptions, diagnose?: (run: Run) => RunReport): Promise<Report | undefined> {
    const { path, options, memory } = this;
    return withInputs([path], { ...options, memory }, async (found) => {
      this.shown = await this.joinedLogs(found.logs, await this.readMoved());
      return this.shown.length === 0
        ? undefined
        : reportOnLogs({ ...found, logs: this.shown }, judging, diagnose);
    });
  }

  /** Reads families again that were moved while they were read; the families that were read again. */
  private async readMoved(): Promise<ReadonlySet<string>> {
    const { options, memory } = this;
    const readAgain = new Set<string>();
    let moved = new Set<string>();
    for (let k = 0; k <= READ_AGAIN; k++) {
      const listing = await this.list();
      moved = movedFamilies(this.before, listing);
      this.before = listing;
      if (moved.size === 0 || k === READ_AGAIN) break;
      for (const family of moved) readAgain.add(family);
      for (const folder of new Set([...moved].map(dirname)))
        await withInputs([folder], { ...options, memory }, async () => {}).catch((error: unknown) => {
          // Nothing is there for a moment.
          if (!(error instanceof DiagError)) throw error;
        });
    }
    this.moving = new Map([...moved].map((family) => [family, (this.moving.get(family) ?? 0) + 1]));
    return readAgain;
  }

  /**
   * The logs with what was rotated away put before what is there.
   *
   * @param logs as they were read first
   * @param readAgain families of which memory holds what was read later
   */
  private async joinedLogs(logs: readonly LogInput[], readAgain: ReadonlySet<string>): Promise<LogInput[]> {
    const now = new Map<string, RawLog>();
    const empty = new Set<string>();
    for (const [file, { found }] of this.memory) {
      if (this.moves(file)) continue;
      if (isAppended(found)) now.set(file, found.raw);
      else if ((await sizeOfPath(file)) === 0) empty.add(file);
    }
    const { joined, parts } = this.rotations.look(now, empty, (file) => this.moves(file));
    const isReadAgain = (file: string): boolean => readAgain.has(familyOf(file));
    const again = [...now].filter(([file]) => isReadAgain(file) && !parts.has(file) && !joined.has(file));
    // What was read first of a family that was read again is the state before; only of documents it is all there is.
    const own = logs.filter(
      ({ path }) =>
        !this.moves(path) &&
        !joined.has(path) &&
        !parts.has(path) &&
        !(isReadAgain(path) && !isOther(this.memory.get(path)?.found)),
    );
    for (const [file, raws] of [...joined, ...again.map(([file, raw]) => [file, [raw]] as const)])
      own.push(await joinedLog(file, relative(this.path, file), raws, this.options));
    this.isJoined = joined.size > 0;
    return [...own, ...this.shown.filter(({ path }) => this.moves(path))];
  }
}
