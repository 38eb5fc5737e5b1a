/** `--report FORMAT:FILE` of a study or a comparison: checked before the long work. */
import * as Flags from '@oclif/core/flags';
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { knowing } from './known-values.ts';
import type { Output } from './output.ts';
import { type CheckedTargets, checkTargets } from './report-files.ts';

/** The text of a document in each format that it has. */
export type DocumentFormats<T> = Readonly<Record<string, (document: T) => string | Promise<string>>>;

/** The flag of a command whose document is written in these formats; `helpGroup` is its heading in the help. */
export const documentFlag = <T>(formats: DocumentFormats<T>, helpGroup?: string) =>
  knowing(
    Flags.string({
      description: `also write it as ${Object.keys(formats)
        .join(', ')
        .replace(/, (\w+)$/, ' or $1')}; may be repeated`,
      helpValue: 'FORMAT:FILE',
      multiple: true,
      multipleNonGreedy: true,
      ...(helpGroup === undefined ? {} : { helpGroup }),
    }),
    () => Object.keys(formats).map((format) => `${format}:`),
  );

interface DocumentTarget {
  readonly format: string;
  readonly path: string;
}

/**
 * @param kind what the document is, for an error
 * @param inputs files that must not be overwritten
 * @throws usage, unknown-id
 */
export async function documentTargets<T>(
  specs: readonly string[],
  formats: DocumentFormats<T>,
  kind: string,
  inputs: readonly string[],
  output: Output,
): Promise<CheckedTargets<DocumentTarget>> {
  const targets = specs.map((spec): DocumentTarget => {
    const colon = spec.indexOf(':');
    const format = colon < 0 ? spec : spec.slice(0, colon);
    const known = Object.keys(formats);
    if (!known.includes(format))
      throw diagError('unknown-id', {
        kind: `format of a ${kind}`,
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
export async function writeDocuments<T>(
  document: T,
  formats: DocumentFormats<T>,
  targets: readonly DocumentTarget[],
  output: Output,
): Promise<void> {
  for (const { format, path } of targets) {
    const text = await formats[format]!(document);
    await (path === '-' ? output.write(text) : writeFileAtomic(path, text));
  }
}
