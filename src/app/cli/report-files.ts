/** `--report FORMAT:FILE`: checked before the long work, written whole or not at all. */
import { extname, resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { DiagError, diagError, EXIT } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import type { Report } from '../../model/report.ts';
import { checkWritable, targetOf, writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { repositoryOf } from '../../read/bytes/folder.ts';
import { kindOfPath, liesIn, stampOf } from '../../read/bytes/source.ts';
import { PLAIN } from '../../report/format.ts';
import type { ReportFormatId } from '../../report/registry.ts';
import { knowing } from './known-values.ts';
import type { Output } from './output.ts';

/** The flag of every command that writes reports. */
export const REPORT_FLAG = 'report';

/** `--report`, of a command that says in these words what it does. */
export const reportFlag = (description: string) =>
  knowing(
    Flags.string({
      description,
      helpValue: 'FORMAT:FILE',
      helpGroup: 'OUTPUT',
      multiple: true,
      multipleNonGreedy: true,
      default: [],
    }),
    async () => Object.keys(await reportFormats()).map((format) => `${format}:`),
  );

/** The formats; loaded when one is asked for, since a page for browsers is large. */
export const reportFormats = async () => (await import('../../report/registry.ts')).REPORT_FORMATS;

/** What a file of such a name is likely to be. */
const FORMAT_OF_FILE: Readonly<Record<string, ReportFormatId>> = {
  '.html': 'html',
  '.json': 'json',
  '.md': 'markdown',
  '.sarif': 'sarif',
  '.txt': 'text',
  '.xml': 'junit',
};

interface ReportTarget {
  readonly format: ReportFormatId;
  readonly path: string;
}

/**
 * Reads `FORMAT:FILE` specifications and finds out whether each file can be written. `-` is standard output.
 *
 * @param inputs files that must not be overwritten: what is analyzed, the config, the baseline
 * @throws usage, unknown-id
 */
export async function reportTargets(
  specs: readonly string[],
  inputs: readonly string[],
  output: Output,
): Promise<CheckedTargets<ReportTarget>> {
  if (specs.length === 0) return { targets: [], refused: null };
  const formats = await reportFormats();
  const targets = specs.map((spec): ReportTarget => {
    const colon = spec.indexOf(':');
    const format = colon < 0 ? spec : spec.slice(0, colon);
    const meant = colon < 0 ? FORMAT_OF_FILE[extname(spec).toLowerCase()] : undefined;
    if (meant !== undefined)
      throw diagError('usage', {
        problem: `--report ${spec} names no format`,
        hint: `write it as ${meant}:${spec}`,
      });
    if (!Object.hasOwn(formats, format))
      throw diagError('unknown-id', {
        kind: 'report format',
        id: format,
        known: Object.keys(formats),
        nearest: nearest(format, Object.keys(formats)),
      });
    const path = spec.slice(colon + 1);
    if (colon < 0 || path === '')
      throw diagError('usage', {
        problem: `--report ${spec} names no file`,
        hint: `write it as ${format}:FILE`,
      });
    return { format: format as ReportFormatId, path };
  });
  return checkTargets(targets, inputs, output);
}

/** Where a command writes. */
export interface CheckedTargets<T> {
  /** The targets that can be written. */
  readonly targets: readonly T[];
  /** Why the first of the others cannot, which was reported; a fault of an input outranks it. */
  readonly refused: DiagError | null;
}

/**
 * Checks, before the long work, whether every target is a separate file that may be written, and reports those that are not.
 *
 * @param inputs files that must not be overwritten
 * @throws usage where two are one file
 */
export async function checkTargets<T extends { readonly path: string }>(
  targets: readonly T[],
  inputs: readonly string[],
  output: Output,
): Promise<CheckedTargets<T>> {
  // Two spellings of one file are one file.
  const files = await Promise.all(targets.map(({ path }) => (path === '-' ? path : targetOf(path))));
  const twice = targets.find((_, i) => files.indexOf(files[i]!) !== i);
  if (twice !== undefined)
    throw diagError('usage', {
      problem: `two reports are to be written to ${twice.path}`,
      hint: 'give each its own file',
    });
  const writable: T[] = [];
  let first: DiagError | null = null;
  for (const target of targets) {
    const refused = await refusalOf(async () => {
      await refuseInputs([target], inputs);
      if (target.path === '-') return;
      await refuseLinksOut(target.path);
      await checkWritable(target.path);
    }, output);
    if (refused === null) writable.push(target);
    first ??= refused;
  }
  return { targets: writable, refused: first };
}

/** Does `work`; where something cannot be written, that is reported and returned. @throws what else `work` throws */
export async function refusalOf(work: () => Promise<void>, output: Output): Promise<DiagError | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (!(error instanceof DiagError) || error.exitCode !== EXIT.output) throw error;
    await output.unwritten(error);
    return error;
  }
}

/** @throws output-is-input where a target is one of the files that were read */
export async function refuseInputs(
  targets: readonly { readonly path: string }[],
  inputs: readonly string[],
): Promise<void> {
  for (const { path } of targets) {
    const target = await stampOf(path);
    for (const input of target === undefined ? [] : inputs)
      if ((await stampOf(input))?.identity === target!.identity)
        throw diagError('output-is-input', { path }, { path });
  }
}

/** @throws output-is-input where the target is a file in a folder that was read as one, as a capture is */
export async function refuseReadFolders(path: string, inputs: readonly string[]): Promise<void> {
  if ((await stampOf(path)) === undefined) return;
  const target = await targetOf(path);
  for (const input of inputs)
    if ((await kindOfPath(input)) === 'folder' && liesIn(await targetOf(input), target))
      throw diagError('output-is-input', { path }, { path });
}

/**
 * A branch of a stranger may hold `report.html` as a link to a file of yours. So a path that lies in the working tree by its name
 * must lie there without its links too. A path outside of the tree was named by you and is written.
 *
 * @throws output-link-outside
 */
async function refuseLinksOut(path: string): Promise<void> {
  const here = await targetOf('.');
  const tree = (await repositoryOf('.')) ?? here;
  const target = await targetOf(path);
  if (liesIn(tree, resolve(here, path)) && !liesIn(tree, target))
    throw diagError('output-link-outside', { path, target, tree }, { path });
}

/** Renders and writes every target; reports those that cannot be written. */
export async function writeReports(
  report: Report,
  targets: readonly ReportTarget[],
  output: Output,
): Promise<void> {
  // Known only now: the files of a folder that was named, hyperparameters among them.
  const read = [...report.runs.flatMap((run) => run.paths), ...report.inputs.map((input) => input.path)];
  for (const { format, path } of targets)
    await refusalOf(async () => {
      await refuseInputs([{ path }], read);
      if (path !== '-') await refuseReadFolders(path, read);
      const text = (await reportFormats())[format].render(report, PLAIN);
      await (path === '-' ? output.write(text) : writeFileAtomic(path, text));
    }, output);
}
