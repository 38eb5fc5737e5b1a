/** Takes the batches out of a capture, which may hold personal data, and leaves everything else byte for byte. */
import { join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { writeFileAtomic } from '../bytes/atomic-write.ts';
import { listFolder } from '../bytes/folder.ts';
import { openFile, readText } from '../bytes/source.ts';
import { openCapture } from './read.ts';

export interface Stripped {
  /** The folder. */
  readonly path: string;
  /** Step files that held batches, the tensors that were taken out, and their bytes. */
  readonly files: number;
  readonly tensors: number;
  readonly bytes: number;
}

interface Entry {
  readonly data_offsets: readonly [number, number];
}

/**
 * Rewrites every step file without its `batch/` tensors, listed in the manifest or not, each whole or not at all; then the
 * manifest without what it says of batches. Doing it again changes nothing.
 *
 * @throws what opening the capture throws, capture-malformed for a step file that is no safetensors file, output-unwritable
 */
export async function stripBatches(path: string): Promise<Stripped> {
  const { path: folder } = await openCapture(path);
  const files = ((await listFolder(folder)) ?? []).filter((file) => /^step-.*\.safetensors$/.test(file));
  let [touched, tensors, bytes] = [0, 0, 0];
  for (const file of files) {
    const found = await stripFile(join(folder, file));
    if (found.tensors === 0) continue;
    touched++;
    tensors += found.tensors;
    bytes += found.bytes;
  }
  const manifestPath = join(folder, 'capture.json');
  const {
    batch: _,
    references: __,
    ...manifest
  } = JSON.parse(await readText(manifestPath)) as Record<string, unknown>;
  const steps = (manifest.steps as Record<string, unknown>[]).map(({ batch: ___, ...step }) => step);
  await writeFileAtomic(manifestPath, `${JSON.stringify({ ...manifest, steps }, null, 1)}\n`);
  return { path: folder, files: touched, tensors, bytes };
}

async function stripFile(path: string): Promise<{ readonly tensors: number; readonly bytes: number }> {
  const source = await openFile(path);
  let content: Uint8Array;
  try {
    content = await source.slice(0, source.byteLength);
  } finally {
    await source.close();
  }
  const fail = (problem: string) =>
    diagError('capture-malformed', { problem: `${path}: ${problem}` }, { path });
  if (content.length < 8) throw fail('it is shorter than its header');
  const size = Number(new DataView(content.buffer, content.byteOffset).getBigUint64(0, true));
  if (8 + size > content.length) throw fail('its header is cut short');
  const header: unknown = JSON.parse(new TextDecoder().decode(content.subarray(8, 8 + size)));
  if (!isJsonObject(header)) throw fail('its header is no JSON object');
  const entries = Object.entries(header as Record<string, Entry>);
  const isBatch = ([name]: [string, Entry]): boolean => name.startsWith('batch/');
  const taken = entries.filter(isBatch);
  if (taken.length === 0) return { tensors: 0, bytes: 0 };
  const kept = entries.filter((entry) => !isBatch(entry));
  const parts: Uint8Array[] = [];
  const written: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, entry] of kept) {
    if (name === '__metadata__') {
      written[name] = entry;
      continue;
    }
    const [start, end] = entry.data_offsets;
    if (8 + size + end > content.length) throw fail(`tensor "${name}" is cut short`);
    parts.push(content.subarray(8 + size + start, 8 + size + end));
    written[name] = { ...entry, data_offsets: [offset, offset + end - start] };
    offset += end - start;
  }
  let text = JSON.stringify(written);
  text += ' '.repeat((8 - (new TextEncoder().encode(text).length % 8)) % 8);
  const head = new TextEncoder().encode(text);
  const out = new Uint8Array(8 + head.length + offset);
  new DataView(out.buffer).setBigUint64(0, BigInt(head.length), true);
  out.set(head, 8);
  let at = 8 + head.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  await writeFileAtomic(path, out);
  return {
    tensors: taken.length,
    bytes: taken.reduce(
      (
        sum,
        [
          ,
          {
            data_offsets: [start, end],
          },
        ],
      ) => sum + end - start,
      0,
    ),
  };
}
