/** Looks at a growing log, or a folder of them, again and again: what it holds so far, over rotations and truncations. */
import { dirname, relative } from 'node:path';
import { joinThresholds, readThresholds } from '../../judge/findings/thresholds.ts';
import { DiagError } from '../../model/errors.ts';
import type { LogInput } from '../../model/log.ts';
import type { Report } from '../../model/report.ts';
import { kindOfPath, sizeOfPath, stampOf } from '../../read/bytes/source.ts';
import { type Follower, followFile, type Generation } from '../../read/bytes/tail.ts';
import { finishRun } from '../../read/logs/finish-run.ts';
import { finishLog, formatById, joinLogs, type RawLog, readRawStream } from '../../read/logs/read-log.ts';
import { readSidecars } from '../../read/logs/sidecars.ts';
import { type AnalyzeOptions, analyze, reportOnLogs } from './analyze.ts';
import { type Remembered, withInputs } from './collect.ts';
import { walk } from './walk.ts';
import { Rotations } from './watch-rotations.ts';

/** A run that goes on may come back: two points of a young one are not its end, and a slow start is none (docs/adr/0018-a-young-run-goes-on.md). */
const GOES_ON = readThresholds({
  'full-divergence': { shortOpenShare: 0.25 },
  'never-learned': { learntPoints: 500 },
});

/** To judge a run by that goes on; what the user gave wins. */
function whileItGoesOn(options: AnalyzeOptions): AnalyzeOptions {
  const { thresholds = {} } = options;
  return {
    ...options,
    thresholds: (run) =>
      joinThresholds(
        GOES_ON,
        typeof thresholds === 'function' ? thresholds(run) : readThresholds(thresholds),
      ),
  };
}

/**
 * Watches a log file, or every log in a folder as `analyze` finds them; neither need exist yet. What it is shows once it
 * is there.
 */
export function watchPath(path: string, options: AnalyzeOptions): Watcher {
  let watcher: Watcher | undefined;
  return {
    look: async () => {
      watcher ??= await kindOfPath(path).then((kind) =>
        kind === 'missing'
          ? undefined
          : kind === 'folder'
            ? watchFolder(path, options)
            : watchLog(path, options),
      );
      return watcher?.look();
    },
    finish: async () => (watcher === undefined ? analyze([path], options) : watcher.finish()),
    close: async () => watcher?.close(),
  };
}

/**
 * Watches the logs in a folder: those that are there and those that appear. A look reads the files that are new, or of
 * another size or time than before, as `analyze` does. What a rotation or a truncation
 * takes away stays part of its run; what is written and truncated away between two looks is lost.
 */
function watchFolder(path: string, options: AnalyzeOptions): Watcher {
  let before = '';
  const memory = new Map<string, Remembered>();
  const stampsOf = async (): Promise<string> => {
    const stamps: unknown[] = [];
    const gone = new Set(memory.keys());
    for await (const met of walk(path)) {
      gone.delete(met.path);
      const { bytes, modified, identity } = (await stampOf(met.path)) ?? {};
      stamps.push([met.kind, met.path, bytes, modified, identity]);
    }
    for (const one of gone) memory.delete(one);
    return JSON.stringify(stamps);
  };
  const rotations = new Rotations();
  let rotated = false;
  /** The logs with what was rotated away put before what is there. */
  const joinedLogs = async (logs: readonly LogInput[]): Promise<LogInput[]> => {
    const now = new Map<string, RawLog>();
    const empty = new Set<string>();
    for (const [file, { found }] of memory)
      if (found !== undefined && 'raw' in found) {
        if (found.format.joined === undefined && found.format.document !== true) now.set(file, found.raw);
      } else if ((await sizeOfPath(file)) === 0) empty.add(file);
    const { joined, parts } = rotations.look(now, empty);
    const own = logs.filter((log) => !joined.has(log.path) && !parts.has(log.path));
    for (const [file, raws] of joined) own.push(await joinedLog(file, relative(path, file), raws, options));
    rotated = joined.size > 0;
    return own;
  };
  const reportWith = (judging: AnalyzeOptions): Promise<Report | undefined> =>
    withInputs([path], { ...options, memory }, async (found) => {
      const logs = await joinedLogs(found.logs);
      return logs.length === 0 ? undefined : reportOnLogs({ ...found, logs }, judging);
    });
  return {
    look: async () => {
      // Taken first: what is written while the logs are read shows at the next look.
      const stamps = await stampsOf();
      if (stamps === before) return undefined;
      before = stamps;
      return reportWith(whileItGoesOn(options));
    },
    finish: async () => (rotated ? await reportWith(options) : undefined) ?? analyze([path], options),
    close: async () => {},
  };
}

/** One log of what a file held one after the other, oldest first. */
async function joinedLog(
  path: string,
  id: string,
  raws: readonly RawLog[],
  options: AnalyzeOptions,
): Promise<LogInput> {
  const [first] = raws;
  if (raws.length === 1) return finishLog(first!, { ...options, id });
  const sidecars = await readSidecars(dirname(path));
  const parts = raws.flatMap(({ runs }) => runs.map((run) => ({ path, run })));
  const run = finishRun(
    id,
    parts,
    first!.format,
    options.roles ?? new Map(),
    sidecars.hyperparameters,
    sidecars.notes,
  );
  // The last record of a file that was moved away is not waited for.
  return { ...joinLogs(path, raws, run), unreadBytes: raws.at(-1)!.unreadBytes };
}

/** Whether the file is one document: its new content replaces the old one, it does not follow it. */
const isDocument = (raw: RawLog | undefined): boolean =>
  raw !== undefined && formatById(raw.format).document === true;

export interface Watcher {
  /** Looks at the log; the report of what it holds so far if that changed, else undefined. */
  look(): Promise<Report | undefined>;
  /** The last report, made as `analyze` makes it. @throws what made the log unreadable, where it never was readable */
  finish(): Promise<Report>;
  close(): Promise<void>;
}

/**
 * Watches a log file, which need not exist yet.
 *
 * Every look that finds new bytes reads the log from its start: one way of reading, so that the last look says what
 * `analyze` says of a run that goes on. What was read before a rotation or truncation is kept and goes before it.
 */
export function watchLog(path: string, options: AnalyzeOptions): Watcher {
  const follower: Follower = followFile(path);
  const parsed = new Map<Generation, { size: number; raw: RawLog }>();
  let problem: unknown;

  async function parse(): Promise<RawLog[]> {
    for (const generation of follower.generations) {
      const known = parsed.get(generation);
      if (generation.gone || known?.size === generation.size) continue;
      try {
        const raw = await readRawStream(generation.read(), path, options);
        parsed.set(generation, { size: generation.size, raw });
      } catch (error) {
        // A head of a few bytes is in no known format yet.
        if (!(error instanceof DiagError)) throw error;
        problem = error;
      }
    }
    const raws = follower.generations.flatMap((generation) => parsed.get(generation)?.raw ?? []);
    const last = raws[raws.length - 1];
    return isDocument(last) ? [last!] : raws;
  }

  async function reportOf(raws: readonly RawLog[], judging: AnalyzeOptions): Promise<Report> {
    return reportOnLogs(
      { logs: [await joinedLog(path, path, raws, options)], skipped: [], errors: [] },
      judging,
    );
  }

  return {
    look: async () => {
      if (!(await follower.poll())) return undefined;
      const raws = await parse();
      return raws.length === 0 ? undefined : reportOf(raws, whileItGoesOn(options));
    },
    finish: async () => {
      await follower.poll();
      const raws = await parse();
      const whole = follower.generations.length <= 1 || isDocument(raws[0]);
      if (whole && !follower.missing) return analyze([path], options);
      if (raws.length === 0) {
        if (problem !== undefined) throw problem;
        return analyze([path], options);
      }
      return reportOf(raws, options);
    },
    close: () => follower.close(),
  };
}
