/** What broken and hostile logs get: a coded message with its place, the rest of the file, the right code. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { inputsOf } from '../../src/app/engine/evidence.ts';
import { ERROR_TEXTS, type ErrorCode } from '../../src/model/errors.ts';
import type { LogInput } from '../../src/model/log.ts';
import type { TimeSeries } from '../../src/model/run.ts';
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-logs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
const file = (content: string | Uint8Array, name = `log-${number++}`): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const read = (content: string | Uint8Array, options = {}): Promise<LogInput> =>
  readLogFile(file(content), { sidecars: false, ...options });
const seriesOf = (log: LogInput, name: string): TimeSeries =>
  log.runs[0]!.series.find((one) => one.name === name)!;
const values = (log: LogInput, name: string): number[] => Array.from(seriesOf(log, name).value);
const codes = (log: LogInput): ErrorCode[] => log.errors.map((error) => error.id);
const refusal = async (path: string): Promise<ErrorCode | undefined> => {
  const { errors } = await collectInputs([path]);
  return errors[0]?.code;
};
const jsonLines = (rows: readonly string[]): string => rows.map((row) => `${row}\n`).join('');

describe('files', () => {
  it('missing, empty, a folder without logs, rubbish', async () => {
    expect(await refusal(join(folder, 'absent.csv'))).toBe('file-missing');
    expect(await refusal(file(''))).toBe('file-empty');
    const empty = join(folder, 'empty-folder');
    mkdirSync(empty);
    expect(await refusal(empty)).toBe('folder-without-inputs');
    const bytes = Uint8Array.from({ length: 5000 }, (_, k) => (k * 7919 + (k >> 3) * 104729) & 0xff);
    expect(await refusal(file(bytes))).toBe('format-unknown');
    expect(await refusal(file('just some prose,\nwithout any numbers to it\n'))).toBe('format-unknown');
  });
  it('a FIFO and a device are refused without being opened', async () => {
    const fifo = join(folder, 'fifo');
    if (spawnSync('bash', ['-c', 'mkfifo "$0"', fifo]).status === 0)
      expect(await refusal(fifo)).toBe('file-not-regular');
    expect(await refusal('/dev/zero')).toBe('file-not-regular');
  });
  it.skipIf(process.getuid?.() === 0)('an unreadable file is named', async () => {
    const path = file('{"step":1,"loss":1}\n');
    chmodSync(path, 0o000);
    expect(await refusal(path)).toBe('file-unreadable');
  });
  it('a walk lists what it passes over, and ends where links go round', async () => {
    const root = join(folder, 'walk');
    mkdirSync(join(root, 'run'), { recursive: true });
    writeFileSync(join(root, 'run', 'log.jsonl'), '{"step":1,"loss":1}\n{"step":2,"loss":0.5}\n');
    writeFileSync(join(root, 'run', 'hparams.json'), '{"lr": 0.1, "nested": {"beta": 0.9}, "name": "x"}');
    writeFileSync(join(root, 'notes.txt'), 'nothing');
    writeFileSync(join(root, 'empty.csv'), '');
    symlinkSync(root, join(root, 'run', 'round'));
    symlinkSync('itself', join(root, 'itself'));
    symlinkSync('nowhere', join(root, 'dangling'));
    const found = await collectInputs([root]);
    expect(found.errors).toEqual([]);
    expect(found.logs.map((log) => log.runs[0]!.id)).toEqual(['run/log.jsonl']);
    expect([...found.logs[0]!.runs[0]!.hyperparameters]).toEqual([
      ['lr', 0.1],
      ['nested.beta', 0.9],
      ['name', 'x'],
    ]);
    expect(found.skipped.map((one) => one.reason).sort()).toEqual([
      'empty (0 bytes)',
      'in no known format',
      'not a regular file (loop of links)',
      'not a regular file (missing)',
    ]);
  });
  it('what is recognised and not read is named, with what to do instead', async () => {
    for (const [content, format, instead] of [
      ['SQLite format 3\0 and so on', 'SQLite', 'mlflow'],
      [':W&B\u00e1\u00be\u0001 and so on', 'W&B', 'scan_history'],
    ] as const) {
      const { errors } = await collectInputs([file(Buffer.from(content, 'latin1'))]);
      expect(errors[0]!.code).toBe('format-unsupported');
      expect(errors[0]!.message).toContain(format);
      expect(errors[0]!.hint).toContain(instead);
    }
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 151250\n';
    const { errors } = await collectInputs([file(pointer)]);
    expect(errors[0]!.code).toBe('log-is-lfs-pointer');
    expect(errors[0]!.message).toContain('151,250');
  });
  it('several inputs: one that cannot be read does not take the others along', async () => {
    const found = await collectInputs([join(folder, 'absent'), file('{"step":1,"loss":1}\n')]);
    expect(found.errors).toHaveLength(1);
    expect(found.logs).toHaveLength(1);
  });
  it('--format forces a reading, --map a role; a name that is not there is an error', async () => {
    const path = file('a,b\n1,2\n3,4\n');
    expect((await readLogFile(path, { format: 'csv' })).format).toBe('csv');
    await expect(readLogFile(path, { format: 'nonsense' })).rejects.toMatchObject({ code: 'unknown-id' });
    const mapped = await collectInputs([path], { roles: new Map([['b', 'loss' as const]]) });
    expect(seriesOf(mapped.logs[0]!, 'b').role).toBe('loss');
    await expect(collectInputs([path], { roles: new Map([['c', 'loss' as const]]) })).rejects.toMatchObject({
      code: 'map-name-missing',
    });
  });
});

describe('a file that is being written to', () => {
  it('is read up to where it was, and says by how much it grew', async () => {
    const path = join(folder, 'live.jsonl');
    const line = '{"step": 1, "loss": 0.5}\n';
    writeFileSync(path, line.repeat(200_000));
    let done = false;
    const reading = readLogFile(path).finally(() => {
      done = true;
    });
    while (!done) {
      appendFileSync(path, line);
      await new Promise(setImmediate);
    }
    const log = await reading;
    expect(log.grownBytes).toBeGreaterThan(0);
    expect(log.grownBytes! % line.length).toBe(0);
    expect(inputsOf(log)).toMatchObject([{ grownBytes: log.grownBytes, sha256: expect.any(String) }]);
    expect(await readLogFile(path)).not.toHaveProperty('grownBytes');
  });
});

describe('event files', () => {
  const events = readFileSync(join(projectRoot, 'fixtures/formats/tfevents-v1/input.tfevents'));
  /** Where each record begins. */
  const starts = ((): number[] => {
    const offsets: number[] = [];
    for (let at = 0; at < events.length; at += 16 + events.readUInt32LE(at)) offsets.push(at);
    return offsets;
  })();
  it('a bad checksum loses one record and says so', async () => {
    const broken = Buffer.from(events);
    broken[starts[6]! + 20]! ^= 1;
    const log = await read(broken);
    expect(codes(log)).toEqual(['tfevents-bad-record']);
    expect(log.errors[0]!.byteOffset).toBe(starts[6]);
    expect(log.lost).toBe(1);
    expect(seriesOf(log, 'loss').value.length).toBe(11);
  });
  it('a bad length is passed over to the next record', async () => {
    const broken = Buffer.from(events);
    broken[starts[6]!]! ^= 1;
    const log = await read(broken);
    expect(codes(log)).toEqual(['tfevents-lost-bytes']);
    expect(log.errors[0]!.message).toContain(`${starts[7]! - starts[6]!} bytes`);
    expect(seriesOf(log, 'loss').value.length).toBe(11);
  });
  it('damage to the very first length does not hide the format', async () => {
    const broken = Buffer.from(events);
    broken[0]! ^= 1;
    const log = await read(broken);
    expect(codes(log)).toEqual(['tfevents-lost-bytes']);
    expect(seriesOf(log, 'loss').value.length).toBe(12);
  });
  it('rubbish in the middle, and zeros at the end (a disk that was full)', async () => {
    const log = await read(
      Buffer.concat([
        events.subarray(0, starts[6]),
        Buffer.alloc(1000, 0x55),
        events.subarray(starts[6]),
        Buffer.alloc(500),
      ]),
    );
    expect(codes(log)).toEqual(['tfevents-lost-bytes']);
    expect(seriesOf(log, 'loss').value.length).toBe(12);
  });
  it('a valid checksum on an absurd length allocates nothing', async () => {
    for (const length of [2 ** 30, 2 ** 45]) {
      const header = Buffer.alloc(12);
      header.writeBigUInt64LE(BigInt(length));
      header.writeUInt32LE(maskedCrc32c(crc32c(header, 0, 8)), 8);
      const before = process.memoryUsage().arrayBuffers;
      const log = await read(
        Buffer.concat([events.subarray(0, starts[6]), header, events.subarray(starts[6])]),
      );
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
      expect(log.unreadBytes + log.lost).toBeGreaterThan(0);
      expect(seriesOf(log, 'loss').value.length).toBeGreaterThanOrEqual(3);
    }
  });
  it('a record that is still being written is unread, not lost', async () => {
    const log = await read(events.subarray(0, events.length - 5));
    expect(log).toMatchObject({ errors: [], lost: 0, unreadBytes: events.length - 5 - starts.at(-1)! });
  });
});

describe('JSON lines', () => {
  it('lines that are none are counted with their numbers, the others read', async () => {
    const log = await read(
      jsonLines([
        '{"step":1,"loss":1}',
        'Traceback',
        '{"step":2,"loss":',
        '',
        '{"step":3,"loss":0.5}',
        '[1]',
      ]),
    );
    expect(codes(log)).toEqual(['log-lines-bad']);
    expect(log.errors[0]).toMatchObject({ line: 2 });
    expect(log.errors[0]!.message).toContain('3 lines are not JSON objects (lines 2, 3, 6)');
    expect(log).toMatchObject({ kept: 2, lost: 3 });
    expect(Array.from(seriesOf(log, 'loss').line!)).toEqual([1, 5]);
  });
  it('a torn last line is unread', async () => {
    const log = await read('{"step":1,"loss":1}\n{"step":2,"lo');
    expect(log).toMatchObject({ errors: [], lost: 0, unreadBytes: 13 });
    // A whole object without a line end is whole.
    expect(values(await read('{"step":1,"loss":1}\n{"step":2,"loss":2}'), 'loss')).toEqual([1, 2]);
  });
  it('NaN and infinities in every spelling, 1e400, numbers as strings; null and text are no points', async () => {
    const log = await read(
      jsonLines(
        [
          'NaN',
          'Infinity',
          '-Infinity',
          '1e400',
          '"nan"',
          '"-inf"',
          '"0.25"',
          'null',
          '"soon"',
          'true',
          '-0',
        ].map((value, k) => `{"step": ${k}, "loss": ${value}}`),
      ),
    );
    expect(values(log, 'loss')).toEqual([NaN, Infinity, -Infinity, Infinity, NaN, -Infinity, 0.25, -0]);
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual([0, 1, 2, 3, 4, 5, 6, 10]);
  });
  it('a key that is there twice is ambiguous: neither value is taken', async () => {
    const log = await read(
      jsonLines([
        '{"step":1,"loss":1,"loss":9}',
        '{"step":2,"loss":2}',
        '{"a":{"b":1},"a.b":2,"step":3,"loss":3}',
      ]),
    );
    expect(codes(log)).toEqual(['log-duplicate-key', 'log-duplicate-key']);
    expect(values(log, 'loss')).toEqual([2, 3]);
  });
  it('__proto__ and its kin are names like others', async () => {
    const log = await read(
      jsonLines(
        [1, 2].map((k) => `{"step":${k},"__proto__":${k},"constructor":{"prototype":${k}},"loss":1}`),
      ),
    );
    expect(values(log, '__proto__')).toEqual([1, 2]);
    expect(values(log, 'constructor.prototype')).toEqual([1, 2]);
    expect(({} as Record<string, unknown>).loss).toBeUndefined();
  });
  it('escapes and control characters in a key are decoded; nesting is flattened with a dot', async () => {
    const log = await read(
      jsonLines(['{"step":1,"a\\u001b[2J\\"b":1,"n":{"é":{"x":2}},"l":[1,{"loss":3}]}']),
    );
    expect(log.runs[0]!.series.map((one) => one.name)).toEqual(['step', 'a\u001b[2J"b', 'n.é.x']);
  });
  it('a line of 64 MiB is passed over and named', async () => {
    const log = await read(
      Buffer.concat([
        Buffer.from('{"step":1,"loss":1}\n{"x":"'),
        Buffer.alloc(64 << 20, 97),
        Buffer.from('"}\n{"step":2,"loss":2}\n'),
      ]),
    );
    expect(codes(log)).toEqual(['limit-exceeded']);
    expect(log.errors[0]).toMatchObject({ line: 2 });
    expect(values(log, 'loss')).toEqual([1, 2]);
  });
  it('nesting without end is a bad line, not a crash', async () => {
    const log = await read(
      jsonLines([
        '{"step":1,"loss":1}',
        `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
        `{"a":${'['.repeat(100_000)}}`,
      ]),
    );
    expect(log).toMatchObject({ kept: 1, lost: 2 });
  });
  it('rows without a step are shown at that of the row before, and the log says so', async () => {
    const log = await read(
      jsonLines(['{"step":5,"loss":1}', '{"val_loss":2}', '{"step":6,"loss":1}', '{"step":7,"loss":1}']),
    );
    expect(Array.from(seriesOf(log, 'val_loss').step)).toEqual([5]);
    expect(log.runs[0]!.notes.join()).toContain('1 of 4 rows has no step; it is');
  });
  it('a batch number that starts again in every epoch is no restart', async () => {
    const log = await read(
      jsonLines(
        Array.from({ length: 30 }, (_, k) => `{"epoch":${Math.floor(k / 10)},"step":${k % 10},"loss":1}`),
      ),
    );
    expect(log.runs[0]!.attempts).toHaveLength(1);
    // Where the text reader joins a batch with its epoch, a table does too.
    expect(log.runs[0]!.stepUnit).toBe('step');
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual(Array.from({ length: 30 }, (_, k) => k));
  });
  it('batches of an epoch that has no number are counted as rows', async () => {
    const rows = Array.from(
      { length: 30 },
      (_, k) => `{"epoch":${Math.floor(k / 10) + 0.5},"step":${k % 10},"loss":1}`,
    );
    expect((await read(jsonLines(rows))).runs[0]!.stepUnit).toBe('row');
  });
  it('an evaluation that counts its own batches is no restart', async () => {
    const rows = Array.from({ length: 60 }, (_, k) =>
      k % 6 < 4 ? `{"step":${k},"loss":1}` : `{"step":${k % 6},"val_loss":1}`,
    );
    expect((await read(jsonLines(rows))).runs[0]!.attempts).toHaveLength(1);
  });
});

describe('CSV', () => {
  it.each([
    ['comma', 'step,loss\n1,0.5\n2,0.25\n'],
    ['semicolon and decimal comma', 'step;loss\n1;0,5\n2;0,25\n'],
    ['tab', 'step\tloss\n1\t0.5\n2\t0.25\n'],
    ['CRLF', 'step,loss\r\n1,0.5\r\n2,0.25\r\n'],
    ['byte order mark', '\ufeffstep,loss\n1,0.5\n2,0.25\n'],
    ['Excel line', 'sep=;\nstep;loss\n1;0,5\n2;0,25\n'],
    ['quotes', '"step","loss"\n"1","0.5"\n"2","0.25"\n'],
    ['a quoted cell over two lines', 'step,note,loss\n1,"a, ""b""\nc",0.5\n2,,0.25\n'],
    ['blanks', 'step, loss\n1, 0.5\n2, 0.25 \n'],
    ['no line end', 'step,loss\n1,0.5\n2,0.25'],
    ['comments', '# made by hand\nstep,loss\n1,0.5\n2,0.25\n'],
    ['step last', 'loss,epoch,step\n0.5,0,1\n0.25,0,2\n'],
    ['tensors as they print', 'step,loss\n1,"tensor(0.5000, device=\'cuda:0\')"\n2,tensor(0.2500)\n'],
  ])('%s', async (_, text) => {
    const log = await read(text);
    expect(log).toMatchObject({ format: 'csv', errors: [], lost: 0, unreadBytes: 0 });
    expect(values(log, 'loss')).toEqual([0.5, 0.25]);
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual([1, 2]);
  });
  it('UTF-16 and Latin-1 are read', async () => {
    expect(values(await read(Buffer.from('step,loss\n1,0.5\n2,0.25\n', 'utf16le')), 'loss')).toEqual([
      0.5, 0.25,
    ]);
    expect(values(await read(Buffer.from('\ufeffstep,loss\n1,0.5\n', 'utf16le')), 'loss')).toEqual([0.5]);
    expect(values(await read(Buffer.from('step,größe,loss\n1,2,0.5\n', 'latin1')), 'größe')).toEqual([2]);
  });
  it('an empty cell, NA and null are missing; nan is NaN', async () => {
    const log = await read('step,loss\n1,0.5\n2,\n3,NA\n4,null\n5,nan\n6,-inf\n7,1e400\n');
    expect(values(log, 'loss')).toEqual([0.5, NaN, -Infinity, Infinity]);
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual([1, 5, 6, 7]);
    expect(log.runs[0]!.notes.join()).toContain('"loss" in 3 of 7 rows');
    expect(log.errors).toEqual([]);
  });
  it('a column that is named twice is ambiguous and not read', async () => {
    const log = await read('step,loss,loss,auc\n1,0.5,9,0.7\n');
    expect(codes(log)).toEqual(['log-duplicate-column']);
    expect(log.runs[0]!.series.map((one) => one.name)).toEqual(['step', 'auc']);
  });
  it('rows that do not fit and cells that are no numbers are counted with their lines', async () => {
    const log = await read('step,loss\n1,0.5\n2\n3,0.3,9\n4,oops\n5,0.2\n');
    expect(codes(log)).toEqual(['log-lines-bad', 'log-cells-bad']);
    expect(log.errors[0]!.message).toContain('lines 3, 4');
    expect(log.errors[1]).toMatchObject({
      message: 'a value of "loss" is not a number: "oops"',
      line: 5,
    });
    expect(values(log, 'loss')).toEqual([0.5, 0.2]);
  });
  it('a column of text is no series', async () => {
    const log = await read('step,name,betas,loss\n1,a,"[0.9, 0.99]",0.5\n2,b,"[0.9, 0.99]",0.4\n');
    expect(log.errors).toEqual([]);
    expect(log.runs[0]!.series.map((one) => one.name)).toEqual(['step', 'loss']);
  });
  it('a torn last row is unread; a number that lost its exponent is not believed', async () => {
    expect(await read('step,loss,auc\n1,0.5,0.7\n2,0.')).toMatchObject({ kept: 1, lost: 0, errors: [] });
    const log = await read('step,lr\n1,1.5e-05\n2,1.25');
    expect(values(log, 'lr')).toEqual([1.5e-5]);
    expect(log.unreadBytes).toBe(6);
  });
  it('a header that comes again is a restart', async () => {
    const log = await read('step,loss\n1,0.5\n2,0.4\nstep,loss\n3,0.5\n4,0.4\n');
    expect(log.runs[0]!.attempts.map((one) => one.reason)).toEqual(['start', 'restart-line']);
    expect(log.errors).toEqual([]);
  });
  it('a chart exported from W&B is a run for each of its runs', async () => {
    const log = await read(
      '"Step","a-1 - train/loss","a-1 - train/loss__MIN","a-1 - train/loss__MAX","b-2 - train/loss","b-2 - train/loss__MIN","b-2 - train/loss__MAX"\n"1","0.5","0.5","0.5","0.7","0.7","0.7"\n"2","0.4","0.4","0.4","","",""\n',
    );
    expect(log.runs.map((run) => run.id.replace(/^.*#/, ''))).toEqual(['a-1', 'b-2']);
    expect(
      log.runs.map((run) =>
        run.series.filter((one) => one.role === 'loss').map((one) => Array.from(one.value)),
      ),
    ).toEqual([[[0.5, 0.4]], [[0.7]]]);
  });
  it('a header alone, or no loss, is read as what it is', async () => {
    expect((await read('step,loss\n')).runs[0]!.series).toEqual([]);
    expect((await read('step,auc\n1,0.5\n2,0.6\n')).runs[0]!.series.map((one) => one.role)).toEqual([
      'other',
      'metric',
    ]);
  });
});

describe('other texts', () => {
  it('trainer_state.json that was cut keeps its whole records', async () => {
    const text = readFileSync(join(projectRoot, 'fixtures/formats/hf-trainer-state/input.json'), 'utf8');
    const log = await read(text.slice(0, text.indexOf('"step": 50') + 4));
    expect(codes(log)).toEqual(['log-document-damaged']);
    expect(seriesOf(log, 'loss').value.length).toBe(5);
    expect(log.unreadBytes).toBeGreaterThan(0);
  });
  it('gzip that was cut gives its part, and says so', async () => {
    const text = jsonLines(Array.from({ length: 5000 }, (_, k) => `{"step":${k},"loss":${Math.sin(k)}}`));
    const zipped = gzipSync(text);
    const whole = await read(zipped);
    expect(seriesOf(whole, 'loss').value.length).toBe(5000);
    expect(whole.sha256).toMatch(/^[0-9a-f]{64}$/);
    const log = await read(zipped.subarray(0, zipped.length >> 1));
    expect(codes(log)).toContain('gzip-damaged');
    expect(seriesOf(log, 'loss').value.length).toBeGreaterThan(1000);
    expect(log.sha256).toBeNull();
  });
  it('a printed line of more than 64 KiB is taken for other text, and the log says so', async () => {
    const log = await read(
      `step 1: train loss 3.5, val loss 3.6\n${'x'.repeat(65 << 10)}\nstep 2: train loss 3.4, val loss 3.5\n`,
    );
    expect(log.lost).toBe(0);
    expect(log.runs[0]!.notes).toContainEqual(
      expect.stringMatching(/^1 line of more than 64 KiB was read as other text \(first in line 2\)$/),
    );
  });
  it('a printed log with a hole in its head, at its start or at its end keeps its lines', async () => {
    const lines = Array.from({ length: 40 }, (_, k) => `step ${k} loss ${(2 / (k + 1)).toFixed(4)} lr 0.1\n`);
    const [start, end] = [lines.slice(0, 20).join(''), lines.slice(20).join('')];
    for (const text of [
      `${start}${'\0'.repeat(300)}\n${end}`,
      `${'\0'.repeat(300)}\n${start}${end}`,
      `${start}${end}${'\0'.repeat(300)}`,
    ]) {
      const log = await read(text);
      expect(values(log, 'loss')).toHaveLength(40);
      expect(log.account.lost).toMatchObject([{ reason: 'hole' }]);
      expect(codes(log)).toEqual(['log-hole']);
    }
    // Zero bytes that stand alone are binary data.
    await expect(read(`${start}\0${end}`)).rejects.toMatchObject({ code: 'format-unknown' });
    await expect(read('\0'.repeat(500))).rejects.toMatchObject({ code: 'format-unknown' });
  });
  it('--pattern reads any line by its named groups, and a pattern that is none is refused', async () => {
    const text = 'it 1: L=0.5\nit 2: L=nan\nnothing\nit 3: L=0.25\n';
    const log = await read(text, { pattern: 'it (?P<step>\\d+): L=(?<loss>\\S+)' });
    expect(values(log, 'loss')).toEqual([0.5, NaN, 0.25]);
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual([1, 2, 3]);
    for (const pattern of ['(', 'it (\\d+)'])
      await expect(read(text, { pattern })).rejects.toMatchObject({ code: 'log-pattern-bad' });
  });
  it.each([
    ['(?=it)it (?<loss>\\d+)', /look-ahead/],
    ['(?<loss>\\d+) \\1', /reference to a group/],
    ['(?<loss>\\d+) \\k<loss>', /reference to a group/],
    [`(?<loss>a)${'x'.repeat(1000)}`, /1010 characters, and 1000/],
    ['(?<loss>(?:.{0,30}){0,30})z$', /1835 instructions of it, and 500/],
  ])('--pattern %s is refused: it may cost more than its line is long', async (pattern, reason) => {
    await expect(read('it 1: L=0.5\n', { pattern })).rejects.toMatchObject({
      code: 'log-pattern-bad',
      message: expect.stringMatching(reason),
    });
  });
  it('--pattern on the line that hangs a matcher which backtracks', async () => {
    const line = `loss ${'a'.repeat(5000)}!`;
    // 2^5000 steps, were they taken one by one: the test would never end.
    const log = await read(`loss aa\n${line}\nloss 0.5\n`, { pattern: '^loss (?<loss>(?:a+)+|[\\d.]+)$' });
    expect(seriesOf(log, 'loss')).toMatchObject({ refused: 1 });
    expect(values(log, 'loss')).toEqual([0.5]);
  });
  it.each<[string, string, string, { value: number; missing: number; refused: number }]>([
    ['a unit glued on', '0.4nats', '(?<loss>[\\d.]+)', { value: 3, missing: 0, refused: 1 }],
    ['a thousands separator', '1,234.5', '(?<loss>\\d+\\.?\\d*)', { value: 3, missing: 0, refused: 1 }],
    ['text', 'overflow', '(?<loss>\\S+)', { value: 3, missing: 0, refused: 1 }],
    ['a NaN that it does not match', 'nan', '(?<loss>[\\d.]+)', { value: 3, missing: 0, refused: 1 }],
    ['a missing cell', 'None', '(?<loss>\\S+)', { value: 3, missing: 1, refused: 0 }],
    ['a unit that it says', '0.4nats', '(?<loss>[\\d.]+)(?:nats)?', { value: 4, missing: 0, refused: 0 }],
    ['a comma after it', '0.4,', '(?<loss>\\S+)', { value: 4, missing: 0, refused: 0 }],
    [
      'another text behind the same word',
      'improved',
      '(?<loss>[\\d.]+)',
      { value: 3, missing: 0, refused: 0 },
    ],
  ])('--pattern: %s', async (_, cell, group, { value, ...counts }) => {
    const text = [1, 2, 3].map((k) => `it ${k} loss ${1 / k} .\n`);
    const log = await read(`${text.join('')}it 4 loss ${cell} .\n`, {
      pattern: `it (?<step>\\d+) loss ${group}`,
    });
    const loss = seriesOf(log, 'loss');
    expect(loss).toMatchObject(counts);
    expect(loss.value).toHaveLength(value);
    expect(log.errors.length).toBe(loss.refused);
  });
  it('lists of different lengths in one document have their own axes; a list that was cut keeps its whole numbers', async () => {
    const log = await read(
      '{"loss": [3, 2, null, 1], "val": {"loss": [2.5, 1.5]}, "epoch": [1, 2, 3, 4], "best": 0.9}',
    );
    expect(Array.from(seriesOf(log, 'loss').step)).toEqual([1, 2, 4]);
    expect(Array.from(seriesOf(log, 'val.loss').step)).toEqual([0, 1]);
    expect(seriesOf(log, 'val.loss').role).toBe('eval_loss');
    const cut = await read('{"loss": [3, 2, 1.5', { format: 'json' });
    expect(codes(cut)).toEqual(['log-document-damaged']);
    expect(values(cut, 'loss')).toEqual([3, 2]);
  });
});

describe('event files of one run', () => {
  const fixture = readFileSync(join(projectRoot, 'fixtures/formats/tfevents-v1/input.tfevents'));
  const walk = async (files: Record<string, Uint8Array>) => {
    const root = mkdtempSync(join(folder, 'events-'));
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(root, name, '..'), { recursive: true });
      writeFileSync(join(root, name), content);
    }
    return collectInputs([root]);
  };
  it('are one run with attempts', async () => {
    const { logs } = await walk({ 'a/events.out.tfevents.1': fixture, 'a/events.out.tfevents.2': fixture });
    expect(logs).toHaveLength(1);
    const run = logs[0]!.runs[0]!;
    expect(run).toMatchObject({ id: 'a', attempts: [{ reason: 'start' }, { reason: 'new-file' }] });
    expect(run.paths).toHaveLength(2);
    const inputs = logs.flatMap(inputsOf);
    const sha256 = createHash('sha256').update(fixture).digest('hex');
    expect(inputs.map((input) => input.path)).toEqual(run.paths);
    expect(inputs).toMatchObject([
      { sha256, kept: logs[0]!.kept / 2 },
      { sha256, lost: 0 },
    ]);
    const loss = run.series.find((one) => one.name === 'loss')!;
    expect(loss).toMatchObject({ attemptOffsets: [0, 12], pathOffsets: [0, 12] });
  });
  it('a folder of evaluation beside that of training belongs to its run', async () => {
    const { logs } = await walk({
      'r/train/events.out.tfevents.1': fixture,
      'r/validation/events.out.tfevents.2': fixture,
    });
    expect(logs).toHaveLength(1);
    const run = logs[0]!.runs[0]!;
    expect(run.attempts).toHaveLength(1);
    expect(run.series.map((one) => [one.name, one.role])).toEqual([
      ['loss', 'loss'],
      ['lr', 'learning_rate'],
      ['validation/loss', 'eval_loss'],
      ['validation/lr', 'learning_rate'],
    ]);
  });
});

it('every code of a log has an exit code that is no success', () => {
  for (const [code, text] of Object.entries(ERROR_TEXTS))
    if (/^(log|tfevents|gzip|limit)-/.test(code)) expect(text.exitCode, code).not.toBe(0);
});
