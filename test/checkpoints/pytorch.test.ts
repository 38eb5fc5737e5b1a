import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { bytesSource, countingSource } from '../../src/read/bytes/source.ts';
import { openCheckpoint, openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { projectRoot } from '../support/shared-data.ts';
import { makeZip, type ZipEntry } from './make-zip.ts';

const folder = join(projectRoot, 'fixtures/checkpoints/pytorch');
const scratch = mkdtempSync(join(tmpdir(), 'pytorch-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const latin1 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
/** Protocol 0: readable, and any field can be made to lie. */
const tensor = (key: string, numel: number, offset: number, shape: string, stride: string): string =>
  `ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'${key}'\nS'cpu'\nI${numel}\ntQI${offset}\n(${shape}t(${stride}tI00\nNtR`;
const dict = (...entries: [string, string][]): string =>
  `(d${entries.map(([key, value]) => `S'${key}'\n${value}s`).join('')}.`;
const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const archive = (pickle: string, ...storages: Uint8Array[]): Uint8Array =>
  makeZip([
    { name: 'a/data.pkl', data: latin1(pickle) },
    ...storages.map((data, key): ZipEntry => ({ name: `a/data/${key}`, data })),
  ]);
const open = (bytes: Uint8Array) => openCheckpointSource(bytesSource('t.pt', bytes));

describe('PyTorch', () => {
  it('reads only the bytes of the tensor asked for', async () => {
    const wide = new Float32Array(100_000).fill(1);
    const source = countingSource(
      bytesSource(
        't.pt',
        archive(
          dict(
            ['w', tensor('0', 100_000, 0, 'I100000\n', 'I1\n')],
            ['row', tensor('0', 100_000, 500, 'I10\n', 'I1\n')],
            ['b', tensor('1', 2, 0, 'I2\n', 'I1\n')],
          ),
          new Uint8Array(wide.buffer),
          floats(1, 2),
        ),
      ),
    );
    const checkpoint = await openCheckpointSource(source);
    const listed = source.bytesRead();
    expect(listed).toBeLessThan(10_000);
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(1, 2));
    expect(source.bytesRead() - listed).toBe(8);
    expect(await checkpoint.read('row')).toEqual(new Float32Array(10).fill(1));
    expect(source.bytesRead() - listed).toBe(48);
  });

  it.each([
    [
      'a view beyond its storage',
      tensor('0', 2, 1, 'I2\n', 'I1\n'),
      'checkpoint-malformed',
      /element 3 of a storage of 2/,
    ],
    ['a negative stride', tensor('0', 2, 1, 'I2\n', 'I-1\n'), 'checkpoint-malformed', /storage/],
    ['a negative offset', tensor('0', 2, -1, 'I2\n', 'I1\n'), 'checkpoint-malformed', /storage/],
    ['a negative size', tensor('0', 2, 0, 'I-2\n', 'I1\n'), 'checkpoint-malformed', /dimension -2/],
    ['fewer strides than sizes', tensor('0', 2, 0, 'I1\nI1\n', 'I1\n'), 'checkpoint-malformed', /storage/],
    [
      'a storage of another size',
      tensor('0', 3, 0, 'I2\n', 'I1\n'),
      'checkpoint-malformed',
      /12 bytes and has 8/,
    ],
    ['a missing storage', tensor('7', 2, 0, 'I2\n', 'I1\n'), 'checkpoint-malformed', /"7" is missing/],
    [
      'a product beyond 2^53',
      tensor('0', 2, 0, 'I99999999999\nI99999999999\n', 'I0\nI0\n'),
      'limit-exceeded',
      /elements/,
    ],
    [
      'one entry repeated a billion times',
      tensor('0', 2, 0, 'I1000000000\n', 'I0\n'),
      'limit-exceeded',
      /repeats/,
    ],
    ['a forbidden global', 'cposix\nsystem\n(S"id"\ntR', 'pickle-forbidden', /posix\.system/],
    [
      'bytes as a tensor',
      'ctorch._utils\n_rebuild_tensor_v2\n(NtR',
      'checkpoint-malformed',
      /names no storage/,
    ],
  ])('refuses %s', async (_, value, code, message) => {
    await expect(open(archive(dict(['w', value]), floats(1, 2)))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('refuses a dict with a key twice, and two tensors of one name', async () => {
    const one = tensor('0', 2, 0, 'I2\n', 'I1\n');
    await expect(open(archive(dict(['w', one], ['w', one]), floats(1, 2)))).rejects.toMatchObject({
      code: 'checkpoint-ambiguous',
    });
    await expect(
      open(archive(dict(['a.b', one], ['a', dict(['b', one]).slice(0, -1)]), floats(1, 2))),
    ).rejects.toMatchObject({ code: 'checkpoint-ambiguous', message: expect.stringContaining('"a.b"') });
  });

  it('ends on objects that hold themselves, that double at each level, that nest deep', async () => {
    const self = await open(archive('(lp0\ng0\na.'));
    expect(self.tensors).toEqual([]);
    const doubling = `(lp0\n${Array.from({ length: 60 }, (_, i) => `(lp${i + 1}\ng${i}\nag${i}\na`).join('')}.`;
    const levels = doubling.replace(/\(lp/g, '0(lp').slice(1);
    await expect(open(archive(levels))).rejects.toMatchObject({ code: 'limit-exceeded' });
    await expect(open(archive(`${'(l'.repeat(3000)}${'a'.repeat(2999)}.`))).rejects.toMatchObject({
      code: 'limit-exceeded',
      message: expect.stringContaining('depth'),
    });
  });

  it('sees a changed byte by the checksum of the storage', async () => {
    const bytes = archive(dict(['w', tensor('0', 2, 0, 'I2\n', 'I1\n')]), floats(1, 2));
    const at = Buffer.from(bytes).indexOf(Buffer.from(floats(1, 2)));
    bytes[at + 2]! ^= 1;
    const checkpoint = await open(bytes);
    await expect(checkpoint.read('w')).rejects.toMatchObject({ code: 'checksum-mismatch' });
  });

  it('reads a big-endian archive', async () => {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setFloat32(0, 1.5, false);
    new DataView(data.buffer).setFloat32(4, -2, false);
    const pickle = latin1(dict(['w', tensor('0', 2, 0, 'I2\n', 'I1\n')]));
    const members = (order: string): ZipEntry[] => [
      { name: 'a/data.pkl', data: pickle },
      { name: 'a/byteorder', data: latin1(order) },
      { name: 'a/data/0', data },
    ];
    expect(await (await open(makeZip(members('big')))).read('w')).toEqual(Float32Array.of(1.5, -2));
    await expect(open(makeZip(members('middle')))).rejects.toMatchObject({ code: 'checkpoint-malformed' });
  });

  it('names parameters that the optimizer was given by name, and leaves out what it cannot tell', async () => {
    const slot = (id: string) => `(dI${id}\n(dS'sum'\n${tensor('0', 2, 0, 'I2\n', 'I1\n')}ss`;
    const optimizer = (groups: string) => `(dS'state'\n${slot('0')}sS'param_groups'\n(l${groups}as`;
    const named = await open(
      archive(`(dS'o'\n${optimizer("(dS'params'\n(lI0\nasS'param_names'\n(lS'w'\nas")}s.`, floats(1, 2)),
    );
    expect(named.tensors).toMatchObject([{ name: 'o.state.0.sum', slot: 'accumulator', parameter: 'w' }]);
    const unknown = await open(archive(`(dS'o'\n${optimizer("(dS'params'\n(lI0\nas")}s.`, floats(1, 2)));
    expect(unknown.tensors[0]).not.toHaveProperty('parameter');
  });

  it('reads types without a storage class of their own, as PyTorch 2 writes them', async () => {
    const v3 = (dtype: string, numel: number, size: number) =>
      `ctorch._utils\n_rebuild_tensor_v3\n((S'storage'\nctorch.storage\nUntypedStorage\nS'0'\nS'cpu'\nI${numel}\ntQI0\n(I${size}\nt(I1\ntI00\nNctorch\n${dtype}\ntR`;
    const bytes = Uint8Array.of(0x38, 0x40, 0x7f, 0xc0);
    const cases: [string, number, Float32Array | Uint16Array][] = [
      ['float8_e4m3fn', 4, Float32Array.of(1, 2, Number.NaN, -2)],
      ['float8_e5m2', 4, Float32Array.of(0.5, 2, Number.NaN, -2)],
      ['uint16', 2, Uint16Array.of(0x4038, 0xc07f)],
    ];
    for (const [dtype, size, values] of cases)
      expect(await (await open(archive(dict(['w', v3(dtype, 4, size)]), bytes))).read('w'), dtype).toEqual(
        values,
      );
    const unknown = await open(archive(dict(['w', v3('float8_e4m3fnuz', 4, 4)]), bytes));
    expect(unknown.errors).toMatchObject([{ id: 'dtype-unsupported', tensor: 'w' }]);
    await expect(open(archive(dict(['w', v3('uint16', 4, 3)]), bytes))).rejects.toMatchObject({
      code: 'checkpoint-malformed',
    });
  });

  it('names a tensor that was saved alone, and keeps conjugated views out', async () => {
    const alone = await open(archive(`${tensor('0', 2, 0, 'I2\n', 'I1\n')}.`, floats(1, 2)));
    expect(alone.tensors.map(({ name }) => name)).toEqual(['value']);
    const flagged = tensor('0', 2, 0, 'I2\n', 'I1\n').replace(/NtR$/, "N(dS'neg'\nI01\nstR");
    const lazy = await open(archive(dict(['w', flagged]), floats(1, 2)));
    expect(lazy.errors).toMatchObject([{ id: 'dtype-unsupported', tensor: 'w' }]);
  });

  it('does not take the state of a callback for a parameter, and a parameter for one', async () => {
    const value = (key: string): string => tensor(key, 1, 0, '', '');
    const nested = (name: string, at: string, key: string): [string, string] => [
      name,
      `(dS'${at}'\n${value(key)}s`,
    ];
    const rolesOf = async (...entries: [string, string][]): Promise<Record<string, string>> => {
      const { tensors } = await open(
        archive(dict(...entries), ...[0, 1, 2].map(() => floats(Number.POSITIVE_INFINITY))),
      );
      return Object.fromEntries(tensors.map(({ name, role }) => [name, role]));
    };
    const weights = nested('state_dict', 'layer.weight', '0');
    const callback = nested('callbacks', 'kth_value', '1');
    expect(await rolesOf(['pytorch-lightning_version', "S'2.6.0'\n"], weights, callback)).toEqual({
      'state_dict.layer.weight': 'parameter',
      'callbacks.kth_value': 'buffer',
    });
    // A model may have a part of that name.
    expect(await rolesOf(weights, nested('callbacks', 'weight', '2'))).toEqual({
      'state_dict.layer.weight': 'parameter',
      'callbacks.weight': 'parameter',
    });
  });
  it('takes the keys and dicts of Lightning for what they are', async () => {
    const checkpoint = await open(
      archive(
        "(dS'hyper_parameters'\ncpytorch_lightning.utilities.parsing\nAttributeDict\n(tR(S'lr'\nF0.1\nusS'callbacks'\n(dcpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\nI1\nss.",
      ),
    );
    expect(Object.fromEntries(checkpoint.metadata)).toEqual({
      'hyper_parameters.lr': 0.1,
      'callbacks.pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint': 1,
    });
  });

  it('names a TorchScript archive and what to save instead', async () => {
    const bytes = makeZip([
      { name: 'a/data.pkl', data: latin1('N.') },
      { name: 'a/code/__torch__.py', data: latin1('') },
    ]);
    await expect(open(bytes)).rejects.toMatchObject({
      code: 'format-unsupported',
      hint: expect.stringContaining('state_dict'),
    });
  });
});

describe('sharded index', () => {
  const at = join(scratch, 'sharded');
  const write = (map: Record<string, string>): string => {
    const path = join(at, 'model.safetensors.index.json');
    writeFileSync(path, JSON.stringify({ metadata: { total_size: 24 }, weight_map: map }));
    return path;
  };

  it('joins the shards, and says what disagrees', async () => {
    mkdirSync(at);
    const values = Float32Array.of(1, 2, 3);
    for (const name of ['a', 'b'])
      await writeSafetensors(join(at, `${name}.safetensors`), [{ name, shape: [3], dtype: 'F32', values }]);
    await writeSafetensors(
      join(at, 'both.safetensors'),
      ['a', 'b'].map((name) => ({ name, shape: [3], dtype: 'F32' as const, values })),
    );
    const whole = await openCheckpoint(write({ a: 'a.safetensors', b: 'b.safetensors' }));
    expect([whole.format, whole.tensors.map((t) => t.name)]).toEqual(['safetensors-index', ['a', 'b']]);
    expect(await whole.read('b')).toEqual(values);
    await whole.close();
    for (const [map, code, message] of [
      [{ a: 'a.safetensors', c: 'b.safetensors' }, 'checkpoint-malformed', /"c" is not in/],
      [{ a: 'a.safetensors', b: 'a.safetensors' }, 'checkpoint-malformed', /"b" is not in/],
      [
        { a: 'a.safetensors', b: 'both.safetensors' },
        'checkpoint-malformed',
        /"a" in both.* is not in the index/,
      ],
      [{ a: '../a.safetensors' }, 'path-leaves-folder', /points out/],
      [{ a: '/etc/passwd' }, 'path-leaves-folder', /points out/],
      [{ a: 'gone.safetensors' }, 'file-missing', /gone/],
      [{ a: 'model.safetensors.index.json' }, 'format-unknown', /index/],
    ] as const)
      await expect(openCheckpoint(write(map as Record<string, string>))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
  });

  it('joins PyTorch shards', async () => {
    cpSync(join(folder, 'protocol-3.pt'), join(at, 'pytorch_model-1.bin'));
    const whole = await openCheckpoint(write({ w: 'pytorch_model-1.bin' }));
    expect([whole.framework, whole.tensors[0]!.shape]).toEqual(['pytorch', [3, 4]]);
    await whole.close();
  });
});

it.each([
  ['a Git LFS pointer', latin1('version https://git-lfs.github.com/spec/v1\noid sha256:0'), 'git lfs pull'],
  ['another pickle', latin1('\x80\x04N.'), 'safetensors'],
  ['gzip', latin1('\x1f\x8b\x08'), 'gunzip'],
  ['an archive of something else', makeZip([{ name: 'readme.txt', data: latin1('x') }]), 'readme.txt'],
])('names %s', async (_, bytes, hint) => {
  await expect(open(bytes)).rejects.toMatchObject({
    code: 'format-unsupported',
    hint: expect.stringContaining(hint),
  });
});

it('refuses two arrays of one name in an npz', async () => {
  const array = Buffer.from(readFileSync(join(projectRoot, 'fixtures/checkpoints/numpy/scalar.npy')));
  const bytes = makeZip(['a', 'a.npy'].map((name) => ({ name, data: new Uint8Array(array) })));
  await expect(open(bytes)).rejects.toMatchObject({ code: 'checkpoint-ambiguous' });
});
