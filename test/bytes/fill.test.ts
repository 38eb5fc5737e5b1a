/** Bytes of a file that are read into an array are those that a slice has. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openFile } from '../../src/read/bytes/source.ts';
import { safetensors, writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'fill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is read at once is 4 MiB, four times. */
const MIB = 2 ** 20;

it.each([0, 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 21 * MIB + 5])(
  '%i bytes, of its own and shared',
  async (length) => {
    const path = join(folder, `${length}`);
    const content = Buffer.alloc(length + 9, 0).map((_, i) => (i * 2654435761) >>> 24);
    writeFileSync(path, content);
    const source = await openFile(path);
    for (const memory of [new ArrayBuffer(length + 3), new SharedArrayBuffer(length + 3)]) {
      const bytes = new Uint8Array(memory, 3);
      await source.fill!(bytes, 7);
      expect(Buffer.from(bytes).equals(content.subarray(7, 7 + length))).toBe(true);
      expect([...new Uint8Array(memory, 0, 3)]).toEqual([0, 0, 0]);
    }
    await expect(source.fill!(new Uint8Array(3), length + 7)).rejects.toThrow(RangeError);
    if (length > MIB) {
      truncateSync(path, length - MIB / 2);
      await expect(source.fill!(new Uint8Array(length), 7)).rejects.toMatchObject({ code: 'file-changed' });
    }
    await source.close();
  },
);

it('tensors that lie as in memory are read over an array of their type and length, others are not', async () => {
  const path = join(folder, 'three.safetensors');
  const [single, double] = [Float32Array.of(1, Number.NaN, -0), Float64Array.of(0.1, 1e300)];
  await writeSafetensors(path, [
    { name: 'single', shape: [3], dtype: 'F32', values: single },
    { name: 'double', shape: [2], dtype: 'F64', values: double },
    { name: 'whole', shape: [2], dtype: 'I32', values: Int32Array.of(1, 2) },
  ]);
  const opened = await safetensors.open(await openFile(path));
  const fill = async (name: string, values: Float32Array | Float64Array) => [
    await opened.fill!(name, values),
    values,
  ];
  expect(await fill('single', new Float32Array(3))).toEqual([true, single]);
  expect(await fill('double', new Float64Array(2))).toEqual([true, double]);
  for (const [name, values] of [
    ['single', new Float64Array(3)],
    ['single', new Float32Array(4)],
    ['double', new Float32Array(2)],
    ['whole', new Float32Array(2)],
    ['none', new Float32Array(2)],
  ] as const)
    expect(await fill(name, values)).toEqual([false, values.map(() => 0)]);
  await opened.close();
});
