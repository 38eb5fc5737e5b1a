/**
 * What the cells of a study share, as bytes for workers on other machines: a line of JSON, then the arrays that it refers to,
 * one after the other, compressed. Nothing in it is run.
 */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { isJsonObject } from '../../model/json.ts';
import type { StudySetup } from './train-cell.ts';

/** Replaces an array in the JSON: its kind, its first byte and its number of entries. */
const MARK = '$array';
const LIMIT = 2 ** 32 - 1;

/** @returns bytes that {@link setupFromBytes} reads: the same on every machine, as all processors that Node runs on are little-endian */
export async function setupToBytes(setup: StudySetup): Promise<Buffer> {
  const arrays: Buffer[] = [];
  let next = 0;
  const text = JSON.stringify(setup, (_, value: unknown) => {
    const kind = value instanceof Float32Array ? 'float32' : value instanceof Int32Array ? 'int32' : null;
    if (kind === null) return value;
    const { buffer, byteOffset, byteLength, length } = value as Float32Array;
    arrays.push(Buffer.from(buffer, byteOffset, byteLength));
    next += byteLength;
    return { [MARK]: [kind, next - byteLength, length] };
  });
  return promisify(gzip)(Buffer.concat([Buffer.from(`${text}\n`), ...arrays]), { level: 1 });
}

/** The setup, its arrays in memory that threads share. @throws Error where the bytes are not from {@link setupToBytes} */
export async function setupFromBytes(bytes: Uint8Array): Promise<StudySetup> {
  const whole = await promisify(gunzip)(bytes, { maxOutputLength: LIMIT });
  const start = whole.indexOf('\n') + 1;
  return JSON.parse(whole.subarray(0, start).toString(), (_, value: unknown) => {
    if (!isJsonObject(value) || !Array.isArray(value[MARK])) return value;
    const [kind, at, length] = value[MARK] as ['float32' | 'int32', number, number];
    const from = start + at;
    if (!(at >= 0 && length >= 0 && from + 4 * length <= whole.length)) throw new Error('it is cut off');
    const shared = new SharedArrayBuffer(4 * length);
    new Uint8Array(shared).set(whole.subarray(from, from + 4 * length));
    return kind === 'int32' ? new Int32Array(shared) : new Float32Array(shared);
  }) as StudySetup;
}
