/** The checkpoint formats, in the order in which they are tried. A new format is one line here and one file in this folder. */
import type { Checkpoint } from '../../model/checkpoint.ts';
import { diagError } from '../../model/errors.ts';
import { type ByteSource, openFile } from '../bytes/source.ts';
import { malformed } from './faults.ts';
import { flaxMsgpack } from './flax-msgpack.ts';
import type { CheckpointFormat } from './format.ts';
import { kerasH5 } from './keras/keras-h5.ts';
import { kerasShards } from './keras/keras-shards.ts';
import { kerasV3 } from './keras/keras-v3.ts';
import { npy } from './npy.ts';
import { npz } from './npz.ts';
import { onnx } from './onnx.ts';
import { pytorchLegacy } from './pytorch/pytorch-legacy.ts';
import { pytorchZip } from './pytorch/pytorch-zip.ts';
import { stableBaselines3 } from './pytorch/stable-baselines3.ts';
import { explainUnclaimed } from './recognised.ts';
import { safetensors } from './safetensors.ts';
import { safetensorsIndex } from './safetensors-index.ts';
import { tfCheckpoint, tfSavedModel } from './tensorflow/tf-checkpoint.ts';
import { tfjs } from './tensorflow/tfjs.ts';
import { orbax } from './zarr/orbax.ts';
import { zarr } from './zarr/zarr.ts';

export const CHECKPOINT_FORMATS = [
  safetensors,
  kerasShards,
  safetensorsIndex,
  pytorchZip,
  pytorchLegacy,
  stableBaselines3,
  npz,
  npy,
  kerasH5,
  kerasV3,
  tfCheckpoint,
  tfSavedModel,
  tfjs,
  onnx,
  flaxMsgpack,
  orbax,
  zarr,
] as const satisfies readonly CheckpointFormat[];

/** Why a walk skips a file or folder: a format reads it through another one in the same folder. */
export function partOfCheckpoint(
  name: string,
  kind: 'file' | 'folder',
  beside: ReadonlySet<string>,
): string | undefined {
  for (const format of CHECKPOINT_FORMATS as readonly CheckpointFormat[]) {
    const reason = format.part?.(name, kind, beside);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Bytes of a file's start by which formats are distinguished. */
const HEAD_BYTES = 4096;

/** The format of an open file, undefined where none claims it. */
export async function sniffCheckpoint(source: ByteSource): Promise<CheckpointFormat | undefined> {
  const head = await source.slice(0, Math.min(HEAD_BYTES, source.byteLength));
  for (const format of CHECKPOINT_FORMATS) if (await format.sniff(head, source)) return format;
  return undefined;
}

/**
 * Says what an open file is that no format claims, where that is known.
 *
 * @throws format-unsupported with what to do instead, and what is wrong with a zip archive
 */
export const explainFile = async (source: ByteSource): Promise<void> =>
  explainUnclaimed(await source.slice(0, Math.min(HEAD_BYTES, source.byteLength)), source);

/** Endings that checkpoints alone have, or numbers that are saved as they are. */
const CHECKPOINT_NAME = /\.(?:safetensors|keras|h5|hdf5|pth?|ckpt|npz|npy|onnx|data-\d{5}-of-\d{5})$/i;

/** Whether a file that no format claims is a damaged checkpoint by its name and by what is in its folder. */
export const saysCheckpoint = (name: string, beside: ReadonlySet<string> | undefined): boolean =>
  CHECKPOINT_NAME.test(name) ||
  (name.endsWith('.index') &&
    [...(beside ?? [])].some((other) => other.startsWith(`${name.slice(0, -'.index'.length)}.data-`)));

/**
 * Says what is wrong with an open file that {@link saysCheckpoint} and that no format claims.
 *
 * @throws format-unsupported of something else that is known; else what is wrong with it
 */
export async function explainDamage(source: ByteSource): Promise<never> {
  const { path } = source;
  await explainFile(source);
  const problem = 'it is called one, and its bytes are those of no format';
  throw malformed('checkpoint', problem, { path });
}

/**
 * Opens a checkpoint, whatever its format; content decides, never the extension. Reads headers only.
 *
 * @throws file-missing, file-unreadable, file-not-regular, file-empty, format-unknown, and what the format finds wrong
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  return openCheckpointSource(await openFile(path));
}

/** As {@link openCheckpoint}, over bytes that are open already; the checkpoint owns them from here on. */
export async function openCheckpointSource(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  try {
    if (source.byteLength === 0) throw diagError('file-empty', { path }, { path });
    const format = await sniffCheckpoint(source);
    if (format !== undefined) return await format.open(source);
    await explainFile(source);
    throw diagError(
      'format-unknown',
      { path, tried: `the ${CHECKPOINT_FORMATS.length} formats of checkpoints` },
      { path },
    );
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A checkpoint that somebody will ask for: its headers are read when it is first asked for, and once. */
export interface CheckpointFile {
  readonly path: string;
  /** @throws what opening throws, each time */
  open(): Promise<Checkpoint>;
  close(): Promise<void>;
}

/** @param known an open file, which the checkpoint owns from here on, and the format that claims it */
export function checkpointFile(
  path: string,
  known?: { readonly source: ByteSource; readonly format: CheckpointFormat },
): CheckpointFile {
  let opened: Promise<Checkpoint> | undefined;
  return {
    path,
    open: () => {
      opened ??= known === undefined ? openCheckpoint(path) : known.format.open(known.source);
      return opened;
    },
    close: async () => {
      await known?.source.close();
      const checkpoint = await opened?.catch(() => undefined);
      await checkpoint?.close();
    },
  };
}
