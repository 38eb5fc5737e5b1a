/** What a gate judges: inputs read and judged as `analyze` does, or saved reports, or both. */
import { resolve, sep } from 'node:path';
import { AUDIT_FINDINGS } from '../../judge/findings/audit-links.ts';
import { CAPTURE_FINDINGS, CHECKPOINT_FINDINGS } from '../../judge/findings/registry.ts';
import type { RunComparison } from '../../model/comparison.ts';
import { type DiagError, diagError } from '../../model/errors.ts';
import { isGlob, matchesGlob } from '../../model/glob.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { STDIN_NAME } from '../../read/bytes/chunks.ts';
import { entriesOf } from '../../read/bytes/folder.ts';
import { filesIn, kindOfPath } from '../../read/bytes/source.ts';
import type { AnalyzeOptions } from '../engine/analyze.ts';
import { auditOf, notAudited } from '../engine/audit-run.ts';
import { type Inputs, withInputs } from '../engine/collect.ts';
import { type Evidence, gatherEvidence, type Limits, type RunEvidence } from '../engine/evidence.ts';
import { followCaptures, NO_CAPTURE } from '../engine/follow-captures.ts';
import type { InputFile } from '../engine/input-file.ts';
import { judgementOf, thresholdsFor } from '../engine/judge-run.ts';
import { assembleReport, runReport } from '../engine/report.ts';
import { fromLogAlone } from '../engine/what-if.ts';
import { thresholdsFor as numbersFor, rulesAsked, rulesFor } from './for-run.ts';
import type { GateEvidence } from './judge.ts';
import type { GateConfig } from './resolve-config.ts';
import { type SettleOptions, stillWritten } from './settled.ts';

/** A saved report begins with this; later bytes are not searched. */
const HEAD = /^\s*\{\s*"schemaVersion"/;

export interface GateReadOptions
  extends Omit<AnalyzeOptions, 'budget' | 'clipLimits'>,
    Pick<SettleOptions, 'settle' | 'sleep'> {
  /** The config that will be judged: its thresholds hold, and what no rule of it asks for is not read. */
  readonly config?: GateConfig;
  /**
   * Kinds of findings that are asked for, in place of the config's rules. Checkpoints are summed, and captures followed,
   * only where one of theirs is among them; all are without a config.
   */
  readonly asked?: ReadonlySet<string>;
}

/**
 * Reads what the paths name, and judges each run as `analyze` does. Nothing is cut by a budget. Replay and curvature,
 * which no rule on a log can ask for, are left to `analyze`; a gate judges them in its report.
 *
 * @param paths logs, checkpoints, captures, folders, saved reports, and patterns of them
 * @returns the evidence; an input that is still being written to has an `input-still-written` warning in its report
 * @throws pattern-matches-nothing, report-invalid, and what reading logs throws where nothing at all could be read
 */
export async function readGateEvidence(
  paths: readonly string[],
  given: GateReadOptions,
): Promise<Omit<GateEvidence, 'baseline'>> {
  const { config } = given;
  const options: GateReadOptions =
    config === undefined
      ? given
      : { asked: rulesAsked(config), thresholds: (run) => numbersFor(run, config), ...given };
  const started = options.now();
  const named = await expandGlobs(paths);
  const reports: Report[] = [];
  const reportSizes = new Map<string, number>();
  let invalid: unknown;
  const claim = async (file: InputFile): Promise<boolean> => {
    try {
      const saved = await savedReport(file);
      if (saved !== undefined) {
        reports.push(saved);
        reportSizes.set(file.path, file.source.byteLength);
      }
      return saved !== undefined;
    } catch (error) {
      // A report that cannot be read is not treated as an unreadable log: nothing is judged.
      invalid ??= error;
      return true;
    }
  };
  return withInputs(named, { ...options, claim }, async (found) => {
    if (invalid !== undefined) throw invalid;
    const about = { toolVersion: options.toolVersion, createdAt: started.toISOString() };
    // A report is written whole, so that one which is new is no reason to wait.
    const rewritten = await stillWritten([...reportSizes.keys()], reportSizes, started, {
      ...options,
      settle: 0,
    });
    // Every path was a saved report.
    if (reports.length === named.length) return together(reports, new Map(), about, rewritten);
    const evidence = await gatherEvidence(found, limitsFor(options));
    const [first] = found.errors;
    if (evidence.inputs.length === 0 && reports.length === 0 && first !== undefined) throw first;
    const judged: RunReport[] = [];
    for (const one of evidence.runs) judged.push(await reportOf(one, options));
    const sizes = sizesOf(found);
    const changed = await stillWritten(await filesOf(evidence, found, sizes), sizes, started, options);
    const report = assembleReport({
      ...about,
      inputs: evidence.inputs,
      runs: judged,
      skipped: found.skipped,
      warnings: [...[...found.errors, ...changed].map((error) => error.toRecord()), ...evidence.warnings],
    });
    const points = new Map(evidence.runs.map(({ run }) => [run.id, run]));
    const read = together([...reports, report], points, about, rewritten);
    const comparisons = await comparisonsOf(evidence.runs, options);
    return comparisons.size === 0 ? read : { ...read, comparisons };
  });
}

/** Each run against those that rules `same-as` of its own name. Another run that cannot be read is an error. */
async function comparisonsOf(
  runs: readonly RunEvidence[],
  options: GateReadOptions,
): Promise<NonNullable<GateEvidence['comparisons']>> {
  const { config } = options;
  const compared = new Map<string, Map<string, RunComparison>>();
  if (config === undefined) return compared;
  for (const one of runs)
    for (const { sameAs, severity } of rulesFor(one.run, config)) {
      if (sameAs === undefined || severity === 'off') continue;
      const { compareWithPath } = await import('../engine/compare-inputs.ts');
      const own = compared.get(one.run.id) ?? new Map<string, RunComparison>();
      own.set(sameAs, await compareWithPath(sameAs, one, options));
      compared.set(one.run.id, own);
    }
  return compared;
}

/** Files in a capture that are watched: far more than any has. */
const CAPTURE_FILES = 100_000;

/** What may still be written to: logs, files in their folders, checkpoints, and captures with the folder of their steps. */
async function filesOf(
  { runs }: Evidence,
  { checkpoints }: Inputs,
  sizes: ReadonlyMap<string, number>,
): Promise<string[]> {
  const captures = [...new Set(runs.flatMap((one) => one.captures.map(({ path }) => path)))];
  const steps = await Promise.all(captures.map((folder) => filesIn(folder, CAPTURE_FILES)));
  return [
    ...new Set([
      ...runs.flatMap(({ run }) => run.paths),
      ...sizes.keys(),
      ...checkpoints.map(({ path }) => path),
      ...captures,
      ...steps.flat(),
    ]),
  ];
}

/** How many bytes were read of each log that was read to its end. */
const sizesOf = ({ logs }: Inputs): Map<string, number> =>
  new Map(
    logs
      .flatMap((log) => log.files ?? [log])
      .flatMap(({ path, sha256, account: { bytes, compressedBytes = bytes } }) =>
        sha256 === null || path === STDIN_NAME ? [] : [[path, compressedBytes] as const],
      ),
  );

/** One report of several. Two runs of one name cannot be distinguished by their points: windows on them are not judged. */
function together(
  reports: readonly Report[],
  points: ReadonlyMap<string, Run>,
  about: Pick<Report, 'toolVersion' | 'createdAt'>,
  changed: readonly DiagError[],
): Omit<GateEvidence, 'baseline'> {
  const ids = reports.flatMap((report) => report.runs.map(({ id }) => id));
  const twice = new Set(ids.filter((id, i) => ids.indexOf(id) !== i));
  const runs = new Map([...points].filter(([id]) => !twice.has(id)));
  const [only] = reports;
  const warnings = changed.map((error) => error.toRecord());
  if (reports.length === 1) return { report: { ...only!, warnings: [...only!.warnings, ...warnings] }, runs };
  return {
    report: assembleReport({
      ...about,
      inputs: reports.flatMap((report) => report.inputs),
      runs: reports.flatMap((report) => report.runs),
      skipped: reports.flatMap((report) => report.skipped),
      warnings: [...reports.flatMap((report) => report.warnings), ...warnings],
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

/** All captures are audited, or none. */
const NO_DEADLINE = { clock: () => 0, deadline: Number.POSITIVE_INFINITY, late: '' };

async function reportOf(evidence: RunEvidence, options: GateReadOptions): Promise<RunReport> {
  const { captures, run } = evidence;
  const { asked, onProgress = () => {} } = options;
  const look =
    captures.length === 0 || asks(asked, CAPTURE_FINDINGS)
      ? await followCaptures(captures, thresholdsFor(run, options).inForce, onProgress)
      : { ...NO_CAPTURE, unread: [`${captures.length} of them were not followed: ${NOT_ASKED}`] };
  const reason =
    'a gate replays no capture and measures no curvature: `clippy-diag analyze` does, and a gate judges its report';
  const audits =
    captures.length === 0 || asks(asked, AUDIT_FINDINGS)
      ? await auditOf(captures, NO_DEADLINE)
      : notAudited(NOT_ASKED);
  const judgement = judgementOf(evidence, options, look, audits);
  const whatIf = {
    ...fromLogAlone(run, judgement.judged, captures.length > 0),
    notRun: captures.length === 0 ? [] : [{ id: 'replay', reason }],
  };
  return runReport(evidence, judgement, whatIf, audits.audit);
}

/** The report in a file, without a gate that was judged earlier; undefined for any other file. */
async function savedReport({ path, source }: InputFile): Promise<Report | undefined> {
  // A JSON log may be large: its head shows that it is not a report.
  const start = Buffer.from(source.head.subarray(0, 200)).toString();
  if (!path.endsWith('.json') || !HEAD.test(start)) return undefined;
  const text = Buffer.from(await source.slice(0, source.byteLength)).toString();
  // Its schema takes a library that no log is to wait for.
  const { isReportLike, parseReport } = await import('../../report/parse-report.ts');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A torn report begins like one; a JSON log is not for us to judge.
    if (start.includes('"toolVersion"')) parseReport(text, path);
    return undefined;
  }
  if (!isReportLike(value)) return undefined;
  const { gate: _, ...report } = parseReport(text, path);
  return report;
}

/**
 * Files and folders that a pattern matches, in the order of their names, each path once: one run that two patterns match
 * is one. A path that exists is no pattern.
 */
async function expandGlobs(paths: readonly string[]): Promise<string[]> {
  const expanded: string[] = [];
  for (const path of paths) {
    if (path === '-' || !isGlob(path) || (await kindOfPath(path)) !== 'missing') {
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
  return [...new Map(expanded.map((path) => [path === '-' ? path : resolve(path), path])).values()];
}

async function matchesBelow(base: string, deep: boolean, pattern: string): Promise<string[]> {
  const found: string[] = [];
  const wanted = pattern.replace(/^\.\//, '');
  const depth = pattern.split('/').length;
  const visited = new Set<string>();
  const visit = async (folder: string): Promise<void> => {
    const { real, entries } = await entriesOf(folder === '' ? '.' : folder);
    if (visited.has(real)) return;
    visited.add(real);
    for (const { name, path, kind } of entries) {
      if (name === 'node_modules') continue;
      const shown = path.split(sep).join('/');
      if (matchesGlob(shown, wanted)) found.push(path);
      else if (kind === 'folder' && (deep || shown.split('/').length < depth)) await visit(path);
    }
  };
  if (base === '' || (await kindOfPath(base)) === 'folder') await visit(base);
  return found;
}
