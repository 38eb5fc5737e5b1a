/** A damaged checkpoint beside a healthy log is damaged input (3), whatever is left of it; what is none passes, with a word. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('damaged-checkpoints');
const fixture = (name: string): string => join(projectRoot, 'fixtures/checkpoints', name);

/** The gate on a folder with a healthy log and these files. */
async function gated(files: Readonly<Record<string, string | Uint8Array>>) {
  const folder = scratch();
  const rows = Array.from(
    { length: 200 },
    (_, step) => `{"step":${step},"loss":${1 + 0.01 * Math.sin(1.7 * step)}}\n`,
  );
  writeFileSync(join(folder, 'log.jsonl'), rows.join(''));
  mkdirSync(join(folder, 'saved'));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, 'saved', name), bytes);
  return cli(['gate', folder, '--settle', '0']);
}

const CUTS: readonly [string, (bytes: Buffer) => Uint8Array][] = [
  ['whole', (bytes) => bytes],
  ['its first 8 bytes', (bytes) => bytes.subarray(0, 8)],
  ['nine tenths of it', (bytes) => bytes.subarray(0, Math.floor(bytes.length * 0.9))],
  ['all but the last byte', (bytes) => bytes.subarray(0, -1)],
  ['other bytes at its start', (bytes) => Buffer.concat([Buffer.alloc(16, 0x55), bytes.subarray(16)])],
  ['nothing', () => new Uint8Array()],
];

it.each([
  ['keras3/adam.keras'],
  ['keras3/adagrad.weights.h5'],
  ['safetensors/capture-state.safetensors'],
  ['pytorch/lightning-zip.ckpt'],
])('%s', async (name) => {
  const bytes = readFileSync(fixture(name));
  for (const [what, cut] of CUTS) {
    const { code, out } = await gated({ [basename(name)]: cut(bytes) });
    expect([what, code], out).toEqual([what, what === 'whole' ? 0 : 3]);
  }
});

it('a bundle of TensorFlow: its index and its data', async () => {
  const [index, data] = ['index', 'data-00000-of-00001'].map((end) =>
    readFileSync(fixture(`tensorflow/tf1.ckpt-1.${end}`)),
  ) as [Buffer, Buffer];
  const flipped = Buffer.from(data);
  flipped[flipped.length >> 1]! ^= 1;
  const names = ['m.ckpt-1.index', 'm.ckpt-1.data-00000-of-00001'] as const;
  for (const [what, files, code] of [
    ['whole', [index, data], 0],
    ['half of the index', [index.subarray(0, index.length >> 1), data], 3],
    ['an empty index', [new Uint8Array(), data], 3],
    ['no index', [undefined, data], 3],
    ['half of the data', [index, data.subarray(0, data.length >> 1)], 3],
    ['no data', [index, undefined], 3],
    ['a bit in the data', [index, flipped], 3],
  ] as const) {
    const there = names.flatMap((name, k) => (files[k] === undefined ? [] : [[name, files[k]] as const]));
    const result = await gated(Object.fromEntries(there));
    expect([what, result.code], result.out).toEqual([what, code]);
  }
});

it('one bit of the weights of an archive, by its checksum', async () => {
  const bytes = readFileSync(fixture('keras3/adam.keras'));
  for (const at of [0.3, 0.5, 0.7]) {
    const flipped = Buffer.from(bytes);
    flipped[Math.floor(at * flipped.length)]! ^= 1;
    expect([at, (await gated({ 'adam.keras': flipped })).code]).toEqual([at, 3]);
  }
});

it('what is no checkpoint passes, and is told', async () => {
  const { code, out } = await gated({
    // A pickle of something else, a pointer to a file that was not fetched, an index of another kind, a cut archive of data.
    'vocab.pt': Buffer.from([0x80, 4, 0x7d, 0x94, 0x2e]),
    'model.pth': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n',
    'items.index': Buffer.from('IxFI\0\0\0\0'),
    'images.zip': Buffer.from('PK\u0003\u0004cut'),
  });
  expect(code, out).toBe(0);
  for (const [name, reason] of [
    ['vocab.pt', 'a Python pickle that PyTorch did not write'],
    ['model.pth', 'a Git LFS pointer'],
    ['items.index', 'in no known format'],
    ['images.zip', 'an archive: name it to have the logs in it read'],
  ] as const)
    expect(out.split('\n').find((line) => line.includes(name)) ?? '').toContain(reason);
});
