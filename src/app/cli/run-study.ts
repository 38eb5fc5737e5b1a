/** `matrix STUDY.yaml`: what its flags mean, and what it prints. */
import { availableParallelism } from 'node:os';
import { parse } from 'node:path';
import { type OpenedStudy, openStudy } from '../../experiment/study/open-study.ts';
import { cellCount, nextCells, type Shard } from '../../experiment/study/plan.ts';
import type { QueueIo } from '../../experiment/study/queue.ts';
import { openResume, type Resume } from '../../experiment/study/results-file.ts';
import { type CellRunner, localRunner, resultOf, runStudy } from '../../experiment/study/run-study.ts';
import { threadRunner } from '../../experiment/study/thread-runner.ts';
import { diagError, EXIT, type ExitCode } from '../../model/errors.ts';
import { STUDY_FORMATS, studyDocument } from '../../report/study-formats.ts';
import { renderStudy } from '../../report/study-text.ts';
import type { CommandIo } from './command.ts';
import { documentTargets, writeDocuments } from './document-files.ts';
import { progressOn } from './progress.ts';
import { refuseInputs } from './report-files.ts';
import { terminalOptions } from './terminal-options.ts';
import { toolVersion } from './tool-version.ts';

/** Beyond it a study needs --yes. */
const MOST_CELLS = 100_000;
/** A thread costs as much as a few dozen small cells. */
const CELLS_FOR_A_THREAD = 16;

export interface StudyFlags {
  readonly json: boolean;
  readonly ascii: boolean;
  readonly yes: boolean;
  readonly workers?: number | undefined;
  readonly resume?: string | undefined;
  readonly shard?: string | undefined;
  readonly queue?: string | undefined;
  readonly 'max-time'?: number | undefined;
  readonly report?: readonly string[] | undefined;
}

/** Whoever trains the cells: workers on a queue, threads or this thread. @throws as `queueRunner` */
async function runnerOf(
  study: OpenedStudy,
  workers: number,
  url: string | undefined,
  io: CommandIo,
): Promise<CellRunner> {
  if (url === undefined) return workers > 1 ? threadRunner(study.setup, workers) : localRunner(study);
  const { queueRunner } = await import('../../experiment/study/queue.ts');
  const { key } = study.info;
  return queueRunner({ key, setup: study.setup }, { ...queueIo(io), url, version: toolVersion() });
}

/** @throws usage */
function shardOf(text: string): Shard {
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (!(shard.index >= 1 && shard.index <= shard.count))
    throw diagError('usage', {
      problem: `--shard ${text} is no part of a study`,
      hint: 'write for example --shard 2/8',
    });
  return shard;
}

/** What a queue sees of the world. */
export const queueIo = (io: CommandIo): QueueIo => ({
  now: io.now,
  sleep: (milliseconds) => io.sleep(milliseconds, new AbortController().signal),
  remark: io.remark,
});

/** @throws usage */
function checkQueueFlags({ queue, workers, shard }: StudyFlags): void {
  if (queue === undefined) return;
  const [other] = [...(workers === undefined ? [] : ['workers']), ...(shard === undefined ? [] : ['shard'])];
  if (other !== undefined)
    throw diagError('usage', {
      problem: `--${other} has no use with --queue`,
      hint: 'cells are trained where `clippy-diag matrix worker` runs',
    });
}

/**
 * The file that keeps the results: the one of --resume, or for a queue one in this folder whose name follows from the study, so
 * that the same command goes on with it. Without a queue and without --resume nothing is kept.
 */
async function resultsPath(
  path: string,
  key: string,
  flags: StudyFlags,
  io: CommandIo,
): Promise<string | undefined> {
  if (flags.resume !== undefined || flags.queue === undefined) return flags.resume;
  const own = `${parse(path).name}-${key.slice(0, 8)}.results.jsonl`;
  await io.remark(`the results are kept in ${own}: the same command goes on with them`);
  return own;
}

export async function runStudyCommand(path: string, flags: StudyFlags, io: CommandIo): Promise<ExitCode> {
  checkQueueFlags(flags);
  const { targets, refused } = await documentTargets(
    flags.report ?? [],
    STUDY_FORMATS,
    'study',
    [path, ...(flags.resume === undefined ? [] : [flags.resume])],
    io,
  );
  const shard = flags.shard === undefined ? undefined : shardOf(flags.shard);
  const study = await openStudy(path);
  const cells = cellCount(study.info);
  if (cells > MOST_CELLS && !flags.yes)
    throw diagError('study-too-large', { cells, limit: MOST_CELLS }, { path });
  if (refused !== null) throw refused;
  await refuseInputs(targets, study.files);
  const workers =
    flags.workers ?? Math.min(availableParallelism(), Math.max(1, Math.floor(cells / CELLS_FOR_A_THREAD)));
  // First: a Redis that is away leaves no file behind.
  const runner = await runnerOf(study, workers, flags.queue, io);
  const end = flags['max-time'] === undefined ? Infinity : io.now() + 60_000 * flags['max-time'];
  let ended: ExitCode | undefined;
  const stop = io.onEnd((code) => {
    ended = code;
  });
  let resume: Resume | undefined;
  try {
    const kept = await resultsPath(path, study.info.key, flags, io);
    resume = kept === undefined ? undefined : await openResume(kept, study.info.key);
    const results = await runStudy(study, {
      runner,
      goesOn: () => ended === undefined && io.now() < end,
      progress: progressOn(io.stderr, io.now, 'cell'),
      ...(shard === undefined ? {} : { shard }),
      ...(resume === undefined ? {} : { resume }),
    });
    if (ended !== undefined) return ended;
    const result = resultOf(study.info, results, study.notes, shard);
    await writeDocuments(result, STUDY_FORMATS, targets, io);
    // A shard's results are for `matrix merge`.
    const toStdout = shard !== undefined && !targets.some(({ format }) => format === 'json');
    if (flags.json || toStdout) await io.printJson(studyDocument(result));
    else await io.print(renderStudy(result, terminalOptions(io.stdout, io.env, flags.ascii)));
    const whole =
      nextCells(study.info, results, shard).length === 0 &&
      result.cells.every(({ verdict }) => verdict !== 'crashed');
    return whole ? EXIT.done : EXIT.inconclusive;
  } finally {
    stop();
    await runner.close();
    await resume?.close();
  }
}
