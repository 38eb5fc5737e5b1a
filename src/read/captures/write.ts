/** Writes a capture step by step; every file appears whole or not at all, the manifest last. */
import { join } from 'node:path';
import { numberToJson, toJson } from '../../model/json.ts';
import type { OptionValue } from '../../model/options.ts';
import { NO_RULE } from '../../model/replay.ts';
import type { TensorMeta, Values } from '../../step/tensor/values.ts';
import { writeFileAtomic } from '../bytes/atomic-write.ts';
import { makeFolder } from '../bytes/folder.ts';
import { type TensorToWrite, writeSafetensors } from '../checkpoints/safetensors.ts';
import type { BatchTensor, RecordedGradient } from './read.ts';

/** What is known before the first step. */
export interface CaptureHeader {
  readonly framework: string;
  readonly optimizer: Readonly<Record<string, OptionValue>> & { readonly name: string };
  /** The rule that is active, or those that apply one after the other; without any, none. */
  readonly clipping?: RuleToWrite | readonly RuleToWrite[];
  readonly parameters: readonly TensorMeta[];
  readonly model?: string;
  readonly history?: { readonly steps: readonly number[]; readonly loss: readonly number[] };
}

type RuleToWrite = Readonly<Record<string, OptionValue>> & { readonly rule: string };

export interface StepToWrite {
  readonly step: number;
  readonly learningRate: number;
  readonly loss: number;
  readonly tasks?: ReadonlyMap<string, number>;
  /** In the order of the header's parameters. */
  readonly gradients: readonly RecordedGradient[];
  /** Parameters before the step, as a check for the replay. */
  readonly parameters?: readonly Values[];
  readonly batch?: ReadonlyMap<string, BatchTensor>;
}

export interface CaptureWriter {
  step(step: StepToWrite): Promise<void>;
  /** Writes `capture.json`; steps that come later need another call. */
  finish(): Promise<void>;
}

const floating = (name: string, shape: readonly number[], values: Values): TensorToWrite => ({
  name,
  shape,
  dtype: values instanceof Float32Array ? 'F32' : 'F64',
  values,
});

/**
 * Begins a capture in a folder, which is made: writes `initial.safetensors`.
 *
 * @param parameters values before the first step, in the order of the header
 * @param slots optimizer state by slot for each parameter
 * @throws output-unwritable
 */
export async function createCapture(
  folder: string,
  header: CaptureHeader,
  parameters: readonly Values[],
  slots: readonly Readonly<Record<string, Values>>[],
): Promise<CaptureWriter> {
  await makeFolder(folder);
  const metas = header.parameters;
  await writeSafetensors(
    join(folder, 'initial.safetensors'),
    metas.flatMap(({ name, shape }, k) => [
      floating(`param/${name}`, shape, parameters[k]!),
      ...Object.entries(slots[k] ?? {}).map(([slot, values]) =>
        floating(`state/${slot}/${name}`, slot === 'step' ? [] : shape, values),
      ),
    ]),
  );
  const steps: object[] = [];
  return {
    async step(step) {
      const file = `step-${String(step.step).padStart(8, '0')}.safetensors`;
      const tensors = metas.flatMap(({ name, shape }, k): TensorToWrite[] => {
        const { values, rows } = step.gradients[k]!;
        const snapshot =
          step.parameters === undefined ? [] : [floating(`param/${name}`, shape, step.parameters[k]!)];
        if (rows === undefined) return [floating(`grad/${name}`, shape, values), ...snapshot];
        return [
          {
            name: `grad/${name}/indices`,
            shape: [rows.length],
            dtype: 'I64',
            values: BigInt64Array.from(rows, BigInt),
          },
          floating(`grad/${name}/values`, [rows.length, ...shape.slice(1)], values),
          ...snapshot,
        ];
      });
      for (const [name, { shape, dtype, data }] of step.batch ?? [])
        tensors.push({ name: `batch/${name}`, shape, dtype: dtype as TensorToWrite['dtype'], values: data });
      await writeSafetensors(join(folder, file), tensors);
      steps.push({
        step: step.step,
        file,
        learningRate: step.learningRate,
        loss: numberToJson(step.loss),
        ...(step.tasks === undefined ? {} : { tasks: step.tasks }),
      });
    },
    finish: () =>
      writeFileAtomic(
        join(folder, 'capture.json'),
        `${toJson({ version: 1, clipping: { rule: NO_RULE }, ...header, steps })}\n`,
      ),
  };
}
