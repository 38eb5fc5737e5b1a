/** Looks at a growing log again and again: what it holds so far, over rotations and truncations. */
import { dirname } from 'node:path';
import { type Follower, followFile, type Generation } from '../bytes/tail.ts';
import { finishRun } from '../logs/finish-run.ts';
import { finishLog, formatById, joinLogs, type RawLog, readRawStream } from '../logs/read-log.ts';
import { readSidecars } from '../logs/sidecars.ts';
import { DiagError } from '../model/errors.ts';
import type { LogInput } from '../model/log.ts';
import type { Report } from '../model/report.ts';
import { type AnalyzeOptions, analyze } from './analyze.ts';
import { inputsOf } from './evidence.ts';
import { assembleReport, diagnoseRun } from './report.ts';

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
 * `analyze` says. What was read before a rotation or truncation is kept and goes before it.
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

  async function logOf(raws: readonly RawLog[]): Promise<LogInput> {
    const [first] = raws;
    if (raws.length === 1) return finishLog(first!, options);
    const sidecars = await readSidecars(dirname(path));
    const parts = raws.flatMap(({ runs }) => runs.map((run) => ({ path, run })));
    const run = finishRun(
      path,
      parts,
      first!.format,
      options.roles ?? new Map(),
      sidecars.hyperparameters,
      sidecars.notes,
    );
    // The last record of a file that was moved away is not waited for.
    return { ...joinLogs(path, raws, run), unreadBytes: raws.at(-1)!.unreadBytes };
  }

  async function reportOf(raws: readonly RawLog[]): Promise<Report> {
    const log = await logOf(raws);
    return assembleReport({
      inputs: inputsOf(log),
      runs: log.runs.map((run) => diagnoseRun(run, options)),
      skipped: [],
      warnings: [],
      toolVersion: options.toolVersion,
      createdAt: options.now().toISOString(),
    });
  }

  return {
    look: async () => {
      if (!(await follower.poll())) return undefined;
      const raws = await parse();
      return raws.length === 0 ? undefined : reportOf(raws);
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
      return reportOf(raws);
    },
    close: () => follower.close(),
  };
}
