/** The file of a baseline: its form, how it is written and how it is read. */
import * as z from 'zod';
import { diagError } from '../../model/errors.ts';
import { toJson } from '../../model/json.ts';
import { VERDICT_CLASSES, type VerdictClass } from '../../model/report.ts';
import { parseUniqueJson } from '../../model/unique-json.ts';
import { kindOfPath, readText } from '../../read/bytes/source.ts';

/**
 * The committed file.
 *
 * @internal public types name no package that the user does not have
 */
export const baselineSchema = z.strictObject({
  schemaVersion: z.literal('1.0').describe('Version of the form of the file.'),
  runs: z
    .array(
      z.strictObject({
        id: z.string().describe('The run.'),
        class: z.enum(VERDICT_CLASSES).describe('What became of it.'),
        values: z
          .array(
            z.strictObject({
              series: z.string().describe('The series.'),
              statistic: z.enum(['last', 'min', 'max']).describe('Which value of the series is compared.'),
              better: z.enum(['lower', 'higher']).describe('Which values are better.'),
              value: z.number().describe('The value.'),
              step: z.number().nullable().describe('Its step, if the report has it.'),
            }),
          )
          .describe('Values to compare with.'),
      }),
    )
    .describe('The runs, in the order of their names.'),
});
export interface Baseline {
  schemaVersion: '1.0';
  runs: {
    id: string;
    class: VerdictClass;
    values: {
      series: string;
      statistic: 'last' | 'min' | 'max';
      better: 'lower' | 'higher';
      value: number;
      step: number | null;
    }[];
  }[];
}

/** The bytes of a baseline file: one value a line, so that a review shows what changed. */
export const formatBaseline = (baseline: Baseline): string => `${toJson(baseline)}\n`;

/** @throws baseline-missing, baseline-invalid, limit-exceeded */
export async function readBaseline(path: string): Promise<Baseline> {
  if ((await kindOfPath(path)) === 'missing') throw diagError('baseline-missing', { path }, { path });
  const text = await readText(path).catch((error: unknown) => {
    throw diagError('baseline-invalid', { path, problem: (error as Error).message }, { path }, error);
  });
  const value = parseUniqueJson({ text, path, what: 'the baseline', maxDepth: 100 }, ({ problem, cause }) =>
    diagError('baseline-invalid', { path, problem }, { path }, cause),
  );
  const parsed = baselineSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw diagError(
    'baseline-invalid',
    { path, problem: `${issue.path.join('.') || 'its top'}: ${issue.message}` },
    { path },
  );
}
