/** Looks at a growing log, or a folder of them, again and again: what it holds so far, over rotations and truncations. */
import { DiagError } from '../../model/errors.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { kindOfPath } from '../../read/bytes/source.ts';
import { type Follower, followFile, type Generation } from '../../read/bytes/tail.ts';
import { GrowingLog } from '../../read/logs/growing-log.ts';
import { formatById, type RawLog, readRawStream } from '../../read/logs/read-log.ts';
import { type AnalyzeOptions, analyze, reportOnLogs } from './analyze.ts';
import { RunReports } from './run-reports.ts';
import { watchFolder } from './watch-folder.ts';
import { joinedLog, type Watcher, whileItGoesOn } from './watcher.ts';

export type { Watcher } from './watcher.ts';

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
    moves: (file) => watcher?.moves?.(file) ?? false,
    finish: async () => (watcher === undefined ? analyze([path], options) : watcher.finish()),
    close: async () => watcher?.close(),
  };
}

/** Whether the file is one document: its new content replaces the old one, it does not follow it. */
const isDocument = (raw: RawLog | undefined): boolean =>
  raw !== undefined && formatById(raw.format).document === true;

/**
 * Watches a log file, which need not exist yet.
 *
 * A look reads what was added where the format can be read on, else the log from its start; the last look always does. What was read
 * before a rotation or truncation is kept and goes before it.
 */
export function watchLog(path: string, options: AnalyzeOptions): Watcher {
  const follower: Follower = followFile(path);
  const parsed = new Map<Generation, { size: number; raw: RawLog; growing?: GrowingLog | undefined }>();
  const reports = new RunReports(whileItGoesOn(options));
  let problem: unknown;

  /** @param goesOn whether the last line may be waited for */
  async function parse(goesOn: boolean): Promise<RawLog[]> {
    for (const generation of follower.generations) {
      const known = parsed.get(generation);
      const { size } = generation;
      // What was moved away is read to its last byte, as all is in the end.
      const mayGrow = goesOn && generation === follower.generations.at(-1);
      const isKnown = known?.size === size && (mayGrow || known.growing === undefined);
      if (generation.gone || isKnown) continue;
      const growing = mayGrow && known !== undefined ? (known.growing ?? new GrowingLog(options)) : undefined;
      try {
        const raw =
          (await growing?.read({
            path,
            byteLength: size,
            from: (start, end) => generation.read(start, end),
          })) ?? (await readRawStream(generation.read(), path, options));
        parsed.set(generation, { size, raw, growing });
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

  async function reportOf(
    raws: readonly RawLog[],
    judging: AnalyzeOptions,
    diagnose?: (run: Run) => RunReport,
  ): Promise<Report> {
    const logs = [await joinedLog(path, path, raws, options)];
    return reportOnLogs({ logs, skipped: [], errors: [] }, judging, diagnose);
  }

  return {
    look: async () => {
      if (!(await follower.poll())) return undefined;
      const raws = await parse(true);
      if (raws.length === 0) return undefined;
      const report = await reportOf(raws, whileItGoesOn(options), reports.of);
      reports.endLook();
      return report;
    },
    finish: async () => {
      await follower.poll();
      const raws = await parse(false);
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
