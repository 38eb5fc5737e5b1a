/** What a gate judges: inputs read and judged as `analyze` does, or saved reports, or both. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { kindOfPath, openFile } from '../bytes/source.ts';
import type { AnalyzeOptions } from '../engine/analyze.ts';
import { collectInputs } from '../engine/collect.ts';
import { gatherEvidence, type Limits, type RunEvidence } from '../engine/evidence.ts';
import { followCaptures, NO_CAPTURE } from '../engine/follow-captures.ts';
import { judgementOf, thresholdsFor } from '../engine/judge-run.ts';
import { assembleReport, runReport } from '../engine/report.ts';
import { NO_WHAT_IF } from '../engine/what-if.ts';
import { CAPTURE_FINDINGS, CHECKPOINT_FINDINGS } from '../findings/registry.ts';
import { type DiagError, diagError } from '../model/errors.ts';
import { isGlob, matchesGlob } from '../model/glob.ts';
import type { Report, RunReport } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { isReportLike, parseReport } from '../reports/report-schema.ts';
import type { GateEvidence } from './judge.ts';

/** A saved report begins with this; what stands further in is not looked for. */
const HEAD = /^\s*\{\s*"schemaVersion"/;

export interface GateReadOptions extends Omit<AnalyzeOptions, 'budget' | 'clipLimits'> {
  /**
   * Kinds of findings that a rule asks for. Checkpoints are summed, and captures followed, only where one of theirs is
   * among them; all are where it is left out.
   */
  readonly asked?: ReadonlySet<string>;
}

/**
 * Reads what the paths name, and judges each run as `analyze` does. Nothing is cut by a budget. Replay and curvature,
 * which no rule on a log can ask for, are left to `analyze`; a gate judges them in its report.
 *
 * @param paths logs, checkpoints, captures, folders, saved reports, and patterns of them
 * @returns the evidence; an input that changed while it was read has a `file-changed` warning in its report
 * @throws pattern-matches-nothing, report-invalid, and what reading logs throws where nothing at all could be read
 */
export async function readGateEvidence(
  paths: readonly string[],
  options: GateReadOptions,
): Promise<Omit<GateEvidence, 'baseline'>> {
  const started = options.now();
  const inputs: string[] = [];
  const reports: Report[] = [];
  for (const path of await expandGlobs(paths)) {
    const saved = await readSavedReport(path);
    if (saved === undefined) inputs.push(path);
    else reports.push(saved);
  }
  const runs = new Map<string, Run>();
  if (inputs.length > 0) {
    const found = await collectInputs(inputs, options);
    const evidence = await gatherEvidence(found, limitsFor(options));
    const [first] = found.errors;
    if (evidence.inputs.length === 0 && reports.length === 0 && first !== undefined) throw first;
    const judged: RunReport[] = [];
    for (const one of evidence.runs) judged.push(await reportOf(one, options));
    const files = [...evidence.runs.flatMap(({ run }) => run.paths), ...found.checkpoints];
    const changed = await changedSince(started, [...new Set(files)]);
    const all = evidence.runs.map(({ run }) => run);
    const again = all.filter((run, i) => all.findIndex(({ id }) => id === run.id) !== i);
    // Two runs of one name cannot be told apart by their points: windows on them are not judged.
    for (const run of all) if (!again.some(({ id }) => id === run.id)) runs.set(run.id, run);
    reports.push(
      assembleReport({
        inputs: evidence.inputs,
        runs: judged,
        skipped: found.skipped,
        warnings: [...[...found.errors, ...changed].map((error) => error.toRecord()), ...evidence.warnings],
        toolVersion: options.toolVersion,
        createdAt: started.toISOString(),
      }),
    );
  }
  const [only] = reports;
  if (reports.length === 1) return { report: only!, runs };
  const ids = new Set<string>();
  for (const { id } of reports.flatMap((report) => report.runs)) {
    if (ids.has(id)) runs.delete(id);
    ids.add(id);
  }
  return {
    report: assembleReport({
      inputs: reports.flatMap((report) => report.inputs),
      runs: reports.flatMap((report) => report.runs),
      skipped: reports.flatMap((report) => report.skipped),
      warnings: reports.flatMap((report) => report.warnings),
      toolVersion: options.toolVersion,
      createdAt: started.toISOString(),
    }),
    runs,
  };
}

const NOT_ASKED = 'no rule of this gate asks for what they hold';

const asks = (asked: GateReadOptions['asked'], kinds: object): boolean =>
  asked === undefined || Object.keys(kinds).some((id) => asked.has(id));

/** Time does not decide what a gate looks at: all checkpoints are read, or none. */
const limitsFor = ({ asked, onProgress = () => {}, now }: GateReadOptions): Limits => ({
  clock: () => now().getTime(),
  deadline: asks(asked, CHECKPOINT_FINDINGS) ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY,
  late: `not read: ${NOT_ASKED}`,
  onProgress,
});

async function reportOf(evidence: RunEvidence, options: GateReadOptions): Promise<RunReport> {
  const { captures, run } = evidence;
  const { asked, onProgress = () => {} } = options;
  const look =
    captures.length === 0 || asks(asked, CAPTURE_FINDINGS)
      ? await followCaptures(captures, thresholdsFor(run, options).inForce, onProgress)
      : { ...NO_CAPTURE, unread: [`${captures.length} of them were not followed: ${NOT_ASKED}`] };
  const reason =
    'a gate replays no capture and measures no curvature: `clippy-diag analyze` does, and a gate judges its report';
  return runReport(evidence, judgementOf(evidence, options, look), {
    ...NO_WHAT_IF,
    notRun: captures.length === 0 ? [] : [{ id: 'replay', reason }],
  });
}

/** The report in a file, without a gate that was judged earlier; undefined for a file that is none. */
async function readSavedReport(path: string): Promise<Report | undefined> {
  if (!path.endsWith('.json') || (await kindOfPath(path)) !== 'file') return undefined;
  // A JSON log may be large: its head says that it is none of ours.
  const source = await openFile(path);
  const head = Buffer.from(await source.slice(0, Math.min(200, source.byteLength))).toString();
  await source.close();
  if (!HEAD.test(head)) return undefined;
  const text = await readFile(path, 'utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A torn report begins like one; a JSON log is not for us to judge.
    if (head.includes('"toolVersion"')) parseReport(text, path);
    return undefined;
  }
  if (!isReportLike(value)) return undefined;
  const { gate: _, ...report } = parseReport(text, path);
  return report;
}

/** Errors for the files that were written to since the reading began, or are being written to. */
async function changedSince(started: Date, paths: readonly string[]): Promise<DiagError[]> {
  const look = async (path: string) => stat(path).catch(() => undefined);
  const before = await Promise.all(paths.map(look));
  await new Promise((resolve) => setTimeout(resolve, 20));
  const after = await Promise.all(paths.map(look));
  return paths.flatMap((path, i) => {
    const [a, b] = [before[i], after[i]];
    if (a === undefined || b === undefined) return [];
    if (a.size === b.size && a.mtimeMs === b.mtimeMs && a.mtimeMs < started.getTime()) return [];
    return [diagError('file-changed', { path, before: a.size, after: b.size }, { path })];
  });
}

/** Files and folders that a pattern matches, in the order of their names. A path that exists is no pattern. */
async function expandGlobs(paths: readonly string[]): Promise<string[]> {
  const expanded: string[] = [];
  for (const path of paths) {
    const exists = (await stat(path).catch(() => undefined)) !== undefined;
    if (path === '-' || exists || !isGlob(path)) {
      expanded.push(path);
      continue;
    }
    const pattern = path.split(sep).join('/');
    const fixed = pattern.slice(0, pattern.search(/[*?]/));
    const base = fixed.slice(0, fixed.lastIndexOf('/') + 1);
    const found = await matchesBelow(base, pattern.includes('**'), pattern);
    if (found.length === 0)
      throw diagError('pattern-matches-nothing', { pattern: path, cwd: process.cwd() }, { path });
    expanded.push(...found);
  }
  return expanded;
}

async function matchesBelow(base: string, deep: boolean, pattern: string): Promise<string[]> {
  const found: string[] = [];
  const depth = pattern.split('/').length;
  const visit = async (folder: string): Promise<void> => {
    const entries = await readdir(folder === '' ? '.' : folder, { withFileTypes: true }).catch(() => []);
    entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    for (const entry of entries) {
      const path = join(folder, entry.name);
      const name = path.split(sep).join('/');
      if (matchesGlob(name, pattern.replace(/^\.\//, ''))) found.push(path);
      else if (
        entry.isDirectory() &&
        entry.name !== 'node_modules' &&
        (deep || name.split('/').length < depth)
      )
        await visit(path);
    }
  };
  await visit(base);
  return found;
}
