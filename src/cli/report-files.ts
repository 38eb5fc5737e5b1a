/** `--report FORMAT:FILE`: checked before the long work, written whole or not at all. */
import { stat } from 'node:fs/promises';
import { checkWritable, writeFileAtomic } from '../bytes/atomic-write.ts';
import { diagError } from '../model/errors.ts';
import type { Report } from '../model/report.ts';
import { REPORT_FORMATS, type ReportFormatId } from '../reports/registry.ts';

interface ReportTarget {
  readonly format: ReportFormatId;
  readonly path: string;
}

/**
 * Reads `FORMAT:FILE` specifications and finds out whether each file can be written.
 *
 * @param inputs paths that must not be overwritten
 * @throws usage, unknown-id, output-is-input, output-unwritable
 */
export async function reportTargets(
  specs: readonly string[],
  inputs: readonly string[],
): Promise<ReportTarget[]> {
  const targets = specs.map((spec): ReportTarget => {
    const colon = spec.indexOf(':');
    const format = colon < 0 ? spec : spec.slice(0, colon);
    if (!Object.hasOwn(REPORT_FORMATS, format))
      throw diagError('unknown-id', {
        kind: 'report format',
        id: format,
        known: Object.keys(REPORT_FORMATS),
      });
    const path = spec.slice(colon + 1);
    if (colon < 0 || path === '')
      throw diagError('usage', {
        problem: `--report ${spec} names no file`,
        hint: `write it as ${format}:FILE`,
      });
    return { format: format as ReportFormatId, path };
  });
  for (const { path } of targets) {
    const target = await stat(path).catch(() => undefined);
    for (const input of inputs) {
      const info = target && (await stat(input).catch(() => undefined));
      if (info && info.ino === target.ino && info.dev === target.dev)
        throw diagError('output-is-input', { path }, { path });
    }
    await checkWritable(path);
  }
  return targets;
}

/** Renders and writes every target. @throws output-unwritable */
export async function writeReports(report: Report, targets: readonly ReportTarget[]): Promise<void> {
  for (const { format, path } of targets)
    await writeFileAtomic(
      path,
      REPORT_FORMATS[format].render(report, { width: 100, colour: false, ascii: false }),
    );
}
