/** What a gate judges: logs read and diagnosed, or saved reports, or both. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { kindOfPath, openFile } from '../bytes/source.ts';
import type { AnalyzeOptions } from '../engine/analyze.ts';
import { collectInputs } from '../engine/collect.ts';
import { inputsOf } from '../engine/evidence.ts';
import { assembleReport, diagnoseRun } from '../engine/report.ts';
import { type DiagError, diagError } from '../model/errors.ts';
import { isGlob, matchesGlob } from '../model/glob.ts';
import type { Report } from '../model/report.ts';
import type { Run } from '../model/run.ts';
import { isReportLike, parseReport } from '../reports/report-schema.ts';
import type { GateEvidence } from './judge.ts';

/** A saved report begins with this; what stands further in is not looked for. */
const HEAD = /^\s*\{\s*"schemaVersion"/;

/**
 * Reads what the paths name.
 *
 * @param paths logs, folders, saved reports, and patterns of the three
 * @returns the evidence; a log that changed while it was read has a `file-changed` warning in its report
 * @throws pattern-matches-nothing, report-invalid, and what reading logs throws where nothing at all could be read
 */
export async function readGateEvidence(
  paths: readonly string[],
  options: AnalyzeOptions,
): Promise<Omit<GateEvidence, 'baseline'>> {
  const started = options.now();
  const logs: string[] = [];
  const reports: Report[] = [];
  for (const path of await expandGlobs(paths)) {
    const saved = await readSavedReport(path);
    if (saved === undefined) logs.push(path);
    else reports.push(saved);
  }
  const runs = new Map<string, Run>();
  if (logs.length > 0) {
    const found = await collectInputs(logs, options);
    const [first] = found.errors;
    if (found.logs.length === 0 && reports.length === 0 && first !== undefined) throw first;
    const all = found.logs.flatMap((log) => log.runs);
    const diagnosed = all.map((run) => diagnoseRun(run, options));
    const changed = await changedSince(started, [...new Set(all.flatMap((run) => run.paths))]);
    const again = all.filter((run, i) => all.findIndex(({ id }) => id === run.id) !== i);
    // Two runs of one name cannot be told apart by their points: windows on them are not judged.
    for (const run of all) if (!again.some(({ id }) => id === run.id)) runs.set(run.id, run);
    reports.push(
      assembleReport({
        inputs: found.logs.flatMap(inputsOf),
        runs: diagnosed,
        skipped: found.skipped,
        warnings: [...found.errors, ...changed].map((error) => error.toRecord()),
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
