/** Logs in compressed files, archives, notebooks and the records of collectors: each reads as the plain file does. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { unaccounted } from '../../src/model/log.ts';
import { compressionOf } from '../../src/read/bytes/compression.ts';
import { tarMembers } from '../../src/read/bytes/tar.ts';
import { notebookOutputs } from '../../src/read/logs/notebook.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { cpuTime } from '../support/cpu-time.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixture = (name: string): string => join(projectRoot, 'fixtures/containers', name);
const plain = await readLogFile(fixture('train.log'));
const losses = plain.runs[0]!.series.find(({ role }) => role === 'loss')!;
const values = Array.from({ length: losses.value.length }, (_, k) => losses.value.at(k)!);

const lossOf = (run: (typeof plain.runs)[number] | undefined) => {
  const loss = run?.series.find(({ role }) => role === 'loss');
  return {
    values: Array.from({ length: loss?.value.length ?? 0 }, (_, k) => loss!.value.at(k)!),
    lastLine: loss?.line?.at(loss.line.length - 1),
    seen: run?.lossRecords?.reduce((sum, { line }) => sum + line.length, 0),
  };
};

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decompress(
  bytes: Uint8Array,
  size = 1000,
): Promise<{ bytes: Buffer; damage: string[]; codes: string[] }> {
  const [damage, codes]: [string[], string[]] = [[], []];
  const parts: Buffer[] = [];
  const chunks = compressionOf(bytes)!.decompress(inPieces(bytes, size), 'a', (error, kind) => {
    damage.push(kind);
    codes.push(error.code);
  });
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length < 1 << 20) parts.push(Buffer.from(chunk));
  }
  return { bytes: Buffer.concat(parts), damage, codes };
}

const folder = mkdtempSync(join(tmpdir(), 'containers-'));
const written = (name: string, bytes: Uint8Array | string): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};

describe('a log in a container', () => {
  it.each([
    ['train.log.xz', 120],
    ['train.log.bz2', 120],
    ['train.log.zst', 120],
    ['docker.log', 120],
    ['cri.log', 122],
    ['message.log', 120],
    ['actions.log', 120],
    ['utf-16.log', 120],
  ])('%s reads as the plain file, with the line numbers of its own lines', async (name, lastLine) => {
    const log = await readLogFile(fixture(name));
    expect(lossOf(log.runs[0])).toEqual({ values, lastLine, seen: 120 });
    expect(log.errors).toEqual([]);
    expect(unaccounted(log.account)).toBe(0);
    if (/\.(xz|bz2|zst)$/.test(name))
      expect(log.account.compressedBytes).toBe(readFileSync(fixture(name)).length);
  });

  it.each([
    ['logs.tar.xz', ['runs/a/train.log', `runs/${'long'.repeat(40)}/train.log`]],
    ['logs.zip', ['1_train.txt', 'eval/2_eval.log']],
    ['notebook.ipynb', ['cell-2', 'cell-3-table-1']],
  ])('%s holds a run for each of its logs', async (name, members) => {
    const { logs, errors } = await collectInputs([fixture(name)]);
    expect(errors).toEqual([]);
    expect(logs.map(({ path }) => path)).toEqual(members.map((one) => `${fixture(name)}!${one}`));
    expect(logs.map(({ runs }) => runs[0]!.id)).toEqual(members.map((one) => `${name}!${one}`));
    expect(lossOf(logs[0]!.runs[0])).toEqual({ values, lastLine: 120, seen: 120 });
  });

  it('is met in a walk, beside what is not in a container', async () => {
    const { logs, skipped } = await collectInputs([join(projectRoot, 'fixtures/containers')]);
    const names = logs.map(({ path }) => basename(path));
    expect(names).toEqual(expect.arrayContaining(['train.log', 'train.log.zst', 'logs.zip!1_train.txt']));
    expect(skipped.map(({ path }) => basename(path))).toContain('make.py');
  });

  it('is not looked for in archives of data that a walk meets', async () => {
    const data = join(folder, 'data');
    mkdirSync(data);
    const tar = (await decompress(readFileSync(fixture('logs.tar.xz')))).bytes;
    writeFileSync(join(data, 'images.tar'), tar.subarray(0, 3000));
    writeFileSync(join(data, 'runs.tar'), tar);
    writeFileSync(join(data, 'images.zip'), readFileSync(fixture('logs.zip')));
    const { logs, errors, skipped } = await collectInputs([data]);
    expect(errors).toEqual([]);
    expect(logs.map(({ path }) => path.slice(data.length + 1))).toEqual([
      'images.zip!eval/2_eval.log',
      'runs.tar!runs/a/train.log',
      `runs.tar!runs/${'long'.repeat(40)}/train.log`,
    ]);
    expect(skipped).toMatchObject([
      { path: join(data, 'images.tar'), reason: expect.stringContaining('name it') },
    ]);
  });

  it('in an archive is read in every compression', async () => {
    const { bytes } = await decompress(readFileSync(fixture('logs.tar.xz')));
    const { logs } = await collectInputs([written('plain.tar', bytes)]);
    expect(logs.map(({ kept }) => kept)).toEqual([120, 120]);
  });
});

describe('a notebook', () => {
  it('gives tables that trainers display, and errors that ended a cell', async () => {
    const outputs = [
      { output_type: 'stream', name: 'stdout', text: 'loss: 1' },
      { output_type: 'error', traceback: ['\u001b[31mRuntimeError\u001b[0m: CUDA out of memory'] },
    ];
    const cells = [{ cell_type: 'code', outputs }];
    expect(notebookOutputs(JSON.stringify({ cells }))).toEqual([
      { name: 'cell-1', text: 'loss: 1\n\u001b[31mRuntimeError\u001b[0m: CUDA out of memory\n' },
    ]);
  });

  it('that is cut is an error that says so', async () => {
    const cut = readFileSync(fixture('notebook.ipynb')).subarray(0, 3000);
    const { logs, errors } = await collectInputs([written('cut.ipynb', cut)]);
    expect(logs).toEqual([]);
    expect(errors.map(({ code }) => code)).toContain('notebook-malformed');
  });
});

describe('records of a collector', () => {
  it('with numbers of their own are rows of a log', async () => {
    const rows = Array.from({ length: 30 }, (_, k) =>
      JSON.stringify({ message: `loss ${k}`, step: k, loss: 1 / (k + 1) }),
    );
    const log = await readLogFile(written('rows.jsonl', rows.join('\n')));
    expect(log.format).toBe('jsonl');
    expect(lossOf(log.runs[0]).values).toEqual(rows.map((_, k) => 1 / (k + 1)));
  });
});

describe('damaged streams', () => {
  const text = readFileSync(fixture('train.log'));
  it.each(['xz', 'bz2', 'zst'])(
    '%s: cut or damaged at every place, gives a part of the text and says so',
    async (ending) => {
      const whole = readFileSync(fixture(`train.log.${ending}`));
      for (let at = 20; at < whole.length; at += 7) {
        const cut = await decompress(whole.subarray(0, at));
        expect(cut.damage, `cut at ${at}`).toHaveLength(1);
        expect(text.subarray(0, cut.bytes.length).equals(cut.bytes)).toBe(true);
        const broken = Buffer.from(whole);
        broken[at]! ^= 0x55;
        // zstd's checksum of the content is not verified: its text may be another one.
        const { bytes, damage } = await decompress(broken);
        // A code that no symbol uses may be another one.
        if (ending !== 'zst') expect(damage.length === 1 || bytes.equals(text), `broken at ${at}`).toBe(true);
      }
    },
  );

  it.each(['xz', 'bz2', 'zst'])(
    '%s: two streams in a row are one text, in pieces of any size',
    async (ending) => {
      const whole = readFileSync(fixture(`train.log.${ending}`));
      const twice = Buffer.concat([whole, whole]);
      for (const size of [61, 1 << 20])
        expect(await decompress(twice, size)).toEqual({
          bytes: Buffer.concat([text, text]),
          damage: [],
          codes: [],
        });
      expect((await decompress(Buffer.concat([whole, Buffer.from('other bytes')]))).damage).toHaveLength(1);
    },
  );

  it('that hold far more than their size tells are left', async () => {
    // A frame of zstd with blocks of one byte repeated 128 kB: four bytes each.
    const block = Buffer.from([0x02, 0x00, 0x10, 0x61]);
    const bomb = Buffer.concat([
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]),
      ...Array.from({ length: 100_000 }, () => block),
    ]);
    const took = cpuTime();
    const { codes, damage } = await decompress(bomb, 4096);
    expect({ codes, damage }).toEqual({ codes: ['limit-exceeded'], damage: ['over-limit'] });
    expect(took()).toBeLessThan(10_000);
  });

  it('that ask for a window of 2 GB get none', async () => {
    const head = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8]), Buffer.alloc(100)]);
    expect((await decompress(head)).codes).toEqual(['limit-exceeded']);
  });
});

describe('hostile archives', () => {
  const header = (name: string, size: string, kind = '0'): Buffer => {
    const block = Buffer.alloc(512);
    block.write(name, 0, 'latin1');
    block.write(size, 124, 'latin1');
    block.write('        ', 148, 'latin1');
    block.write(kind, 156, 'latin1');
    block.write('ustar\x0000', 257, 'latin1');
    const sum = block.reduce((all, byte) => all + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return block;
  };
  const members = async (bytes: Buffer): Promise<{ names: string[]; cut: boolean }> => {
    const names: string[] = [];
    let cut = false;
    const end = (): void => {
      cut = true;
    };
    for await (const { name } of tarMembers(inPieces(bytes, 700), 'a.tar', 1000, end)) names.push(name);
    return { names, cut };
  };

  it.each(['../a.log', '/etc/a.log', 'a/../../b.log', 'C:\\a.log'])(
    'with the name %s are refused',
    async (name) => {
      await expect(members(Buffer.concat([header(name, '00000000001'), Buffer.alloc(512)]))).rejects.toThrow(
        expect.objectContaining({ code: 'path-leaves-folder' }),
      );
    },
  );

  it('that state a size without the bytes allocate nothing and are cut', async () => {
    expect(await members(Buffer.concat([header('a.log', '77777777777'), Buffer.alloc(512, 'a')]))).toEqual({
      names: ['a.log'],
      cut: true,
    });
  });

  it('whose links point anywhere give no file', async () => {
    const link = header('a.log', '00000000000', '2');
    expect(await members(Buffer.concat([link, header('b.log', '00000000000')]))).toEqual({
      names: ['b.log'],
      cut: false,
    });
  });

  it('with a damaged header give what came before it, and an error', async () => {
    const { bytes } = await decompress(readFileSync(fixture('logs.tar.xz')));
    const second = bytes.indexOf('ustar', 2048) - 257;
    bytes[second + 10]! ^= 1;
    const { logs, errors } = await collectInputs([written('damaged.tar', bytes)]);
    expect(logs.map(({ kept }) => kept)).toEqual([120]);
    expect(errors.map(({ code }) => code)).toEqual(['archive-malformed']);
  });

  it('within archives are passed over by name', async () => {
    const zip = readFileSync(fixture('logs.zip'));
    const padding = Buffer.alloc((512 - (zip.length % 512)) % 512);
    const size = zip.length.toString(8).padStart(11, '0');
    const nested = Buffer.concat([header('inner.zip', size), zip, padding, Buffer.alloc(1024)]);
    const path = written('nested.tar', nested);
    await expect(collectInputs([path])).resolves.toMatchObject({
      logs: [],
      errors: [{ code: 'folder-without-inputs' }],
    });
  });
});
