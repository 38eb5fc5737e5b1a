/**
 * Checkpoints of Orbax (JAX): a folder for each item of a step, committed as a whole.
 *
 * | file | content |
 * |---|---|
 * | `_METADATA` | JSON with the keys of the tree |
 * | `manifest.ocdbt`, `d/`, `ocdbt.process_<n>/` | the arrays (ocdbt.ts), the default |
 * | `<keys joined by dots>/` | an array of zarr each, with `use_ocdbt=False` |
 *
 * `_sharding`, `array_metadatas/` and `commit_success.txt` are for restoring on devices. Names are the keys of the tree, joined by `/`, as of Flax. Source: orbax/checkpoint, `tree_metadata` and `type_handlers`.
 */
import type { Checkpoint } from '../../../model/checkpoint.ts';
import { DiagError } from '../../../model/errors.ts';
import { type ByteSource, openSibling } from '../../bytes/source.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { malformed as malformedAs } from '../faults.ts';
import { roleOfFlax } from '../flax-roles.ts';
import type { CheckpointFormat } from '../format.ts';
import { lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import { checkLimit } from '../limit.ts';
import type { LostTensors } from '../stored-bytes.ts';
import { folderStore } from './folder-store.ts';
import { MANIFEST, ocdbtStore } from './ocdbt.ts';
import type { KeyStore } from './store.ts';
import { zarrTree } from './tree.ts';

const TREE = '_METADATA';
const MAX_TREE_BYTES = 100_000_000;
const MAX_DEPTH = 20;
const PARTS =
  /^(?:manifest\.ocdbt|d|ocdbt\.process_\d+|array_metadatas|_sharding|_strings\.json|_CHECKPOINT_METADATA|commit_success\.txt)$/;

export const orbax: CheckpointFormat = {
  id: 'orbax',
  title: 'Orbax checkpoint (a folder with _METADATA)',
  sniff: (head) =>
    /^\s*\{[\s\S]{0,400}"tree_metadata"\s*:/.test(Buffer.from(head).toString('latin1', 0, 500)),
  open: openOrbax,
  part: (name, kind, beside) =>
    beside.has(TREE) && name !== TREE && (kind === 'folder' || PARTS.test(name))
      ? `read through its ${TREE}`
      : // A step of several items has these above the folders of its items.
        beside.has('_CHECKPOINT_METADATA') && kind === 'file' && PARTS.test(name)
        ? 'says when Orbax wrote the checkpoint'
        : undefined,
};

async function openOrbax(source: ByteSource): Promise<Checkpoint> {
  const { path, byteLength } = source;
  const leaves = await leavesOf(source);
  const store = await arraysBeside(path);
  try {
    const { tensors, errors, stored } = await zarrTree(store, path, byteLength, {
      nameOf: (array) => leaves.get(array) ?? array,
      roleOf: (name, { dtype }, names) => roleOfFlax(name, dtype, names),
    });
    const damaged = new Set(errors.map((error) => error.tensor));
    const known = new Set(tensors.map(({ info }) => info.name));
    const absent = [...leaves.values()].filter((name) => !known.has(name) && !damaged.has(name));
    const lost: LostTensors[] = absent.map(() => ({
      reason: 'absent',
      tensors: 1,
      extent: { start: stored.bytes, end: stored.bytes },
    }));
    const metadata = new Map<string, number>();
    const counters = tensors.filter(({ info }) => info.elements === 1 && info.slot === 'step');
    const counter = counters.find(({ info }) => info.name === 'step') ?? counters[0];
    if (counter !== undefined)
      for await (const values of counter.stream()) metadata.set('step', Number(values[0]));
    return lazyCheckpoint(
      {
        path,
        format: orbax.id,
        framework: 'flax',
        step: stepOfFolder(path) ?? stepOf(path, metadata),
        metadata,
        errors: [
          ...errors,
          ...absent.map((name) => malformed(path, `"${name}" is in the tree and has no array`).toRecord()),
        ],
        stored: { ...stored, lost: [...(stored.lost ?? []), ...lost] },
        close: async () => {
          await store.close();
          await source.close();
        },
      },
      tensors,
    );
  } catch (error) {
    await store.close();
    throw error;
  }
}

const malformed = (path: string, problem: string): DiagError =>
  malformedAs('Orbax checkpoint', problem, { path });

/** The names of arrays as they are stored, with the names that their keys make. */
async function leavesOf(source: ByteSource): Promise<ReadonlyMap<string, string>> {
  const { path, byteLength } = source;
  checkLimit('the tree in bytes', byteLength, MAX_TREE_BYTES, { path });
  const text = Buffer.from(await source.slice(0, byteLength)).toString('utf8');
  const { tree_metadata } = parseCheckpointJson(text, path, 'the tree', MAX_DEPTH) as {
    tree_metadata?: unknown;
  };
  if (typeof tree_metadata !== 'object' || tree_metadata === null)
    throw malformed(path, 'its tree_metadata is no object');
  const leaves = new Map<string, string>();
  for (const leaf of Object.values(tree_metadata) as Leaf[]) {
    const keys = leaf?.key_metadata;
    if (!Array.isArray(keys)) throw malformed(path, 'a leaf of its tree has no keys');
    // Leaves that hold nothing (None, an empty node) have no array.
    if (leaf.value_metadata?.skip_deserialize === true || leaf.value_metadata?.value_type === 'string')
      continue;
    const parts = keys.map(({ key }) => String(key));
    leaves.set(parts.join('.'), parts.join('/'));
  }
  return leaves;
}

/** As `_METADATA` says it; untrusted, so that each may be anything. */
interface Leaf {
  readonly key_metadata?: readonly { readonly key?: unknown }[];
  readonly value_metadata?: { readonly value_type?: unknown; readonly skip_deserialize?: unknown };
}

async function arraysBeside(path: string): Promise<KeyStore> {
  let manifest: ByteSource;
  try {
    manifest = await openSibling(path, MANIFEST);
  } catch (error) {
    if (!(error instanceof DiagError) || error.code !== 'file-missing') throw error;
    return folderStore(path);
  }
  try {
    return await ocdbtStore(manifest);
  } finally {
    await manifest.close();
  }
}

/** A CheckpointManager names a step's folder by its number: `<step>/<item>/_METADATA`, `<step>/_METADATA`. */
function stepOfFolder(path: string): number | undefined {
  const [parent = '', above = ''] = path.split(/[\\/]/).slice(-3, -1).reverse();
  const step = [parent, above].find((name) => /^\d{1,15}$/.test(name));
  return step === undefined ? undefined : Number(step);
}
