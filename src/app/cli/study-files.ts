/** `--report FORMAT:FILE` of a study: checked before the long work. */
import * as Flags from '@oclif/core/flags';
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import type { StudyResult } from '../../model/study.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { STUDY_FORMATS } from '../../report/study-formats.ts';
import { knowing } from './known-values.ts';
import type { Output } from './output.ts';
import { type CheckedTargets, checkTargets } from './report-files.ts';

/** The flag of the commands that write a study; `helpGroup` is its heading in their help. */
export const studyReportFlag = (helpGroup?: string) =>
  knowing(
    Flags.string({
      description: 'also write it as json, html, markdown, csv or latex; may be repeated',
      helpValue: 'FORMAT:FILE',
      multiple: true,
      multipleNonGreedy: true,
      ...(helpGroup === undefined ? {} : { helpGroup }),
    }),
    () => Object.keys(STUDY_FORMATS).map((format) => `${format}:`),
  );

interface StudyTarget {
  readonly format: string;
  readonly path: string;
}

/**
 * @param inputs files that must not be overwritten: the study, what its shards wrote, the state to go on from
 * @throws usage, unknown-id
 */
export async function studyTargets(
  specs: readonly string[],
  inputs: readonly string[],
  output: Output,
): Promise<CheckedTargets<StudyTarget>> {
  const targets = specs.map((spec): StudyTarget => {
    const colon = spec.indexOf(':');
    const format = colon < 0 ? spec : spec.slice(0, colon);
    const known = Object.keys(STUDY_FORMATS);
    if (!known.includes(format))
      throw diagError('unknown-id', {
        kind: 'format of a study',
        id: format,
        known,
        nearest: nearest(format, known),
      });
    if (colon < 0 || colon === spec.length - 1)
      throw diagError('usage', {
        problem: `--report ${spec} names no file`,
        hint: `write it as ${format}:FILE`,
      });
    return { format, path: spec.slice(colon + 1) };
  });
  return checkTargets(targets, inputs, output);
}

/** Renders and writes every target. @throws output-unwritable */
export async function writeStudy(
  result: StudyResult,
  targets: readonly StudyTarget[],
  output: Output,
): Promise<void> {
  for (const { format, path } of targets) {
    const text = STUDY_FORMATS[format]!(result);
    await (path === '-' ? output.write(text) : writeFileAtomic(path, text));
  }
}
