/** The account of a log by hand: the faults that were dropped in silence, each told with its reason, count and place. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { lostRecords, unaccounted, unreadBytes } from '../../src/model/log.ts';
import { missingCells } from '../../src/model/missing-cells.ts';
import { attemptOf, type TimeSeries } from '../../src/model/run.ts';
import { openLedger } from '../../src/read/bytes/ledger.ts';
import { finishLog, type ReadLogOptions, readRawStream } from '../../src/read/logs/read-log.ts';
import { cli } from '../support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-account-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.slice(at, at + 1000);
}
async function read(content: string | Uint8Array, options: ReadLogOptions = {}, path = 'log') {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const log = await finishLog(await readRawStream(once(bytes), path, options), { sidecars: false });
  expect(unaccounted(log.account)).toBe(0);
  const series = (name: string): TimeSeries => log.runs[0]!.series.find((one) => one.name === name)!;
  return { ...log, codes: log.errors.map(({ id }) => id), series };
}
const rows = (count: number, row: (step: number) => string): string =>
  Array.from({ length: count }, (_, k) => `${row(k)}\n`).join('');
const fine = (step: number): string => `${step},0.4`;

describe('what an unclosed quote takes', () => {
  it('299 rows: lost, with their count and the line of the quote', async () => {
    const head = `step,loss\n${rows(300, fine)}`;
    const rest = `300,"0.4\n${rows(299, (k) => `${301 + k},147.2`)}`;
    const log = await read(head + rest);
    expect(log.codes).toEqual(['log-quote-open']);
    expect(log.errors[0]).toMatchObject({ line: 302, message: expect.stringContaining('takes 300 lines') });
    expect(log.account).toEqual({
      bytes: head.length + rest.length,
      records: rows(300, fine).length - 300,
      overhead: 'step,loss\n'.length + 300,
      passedOver: 0,
      lost: [{ reason: 'unclosed-quote', records: 300, bytes: rest.length, at: head.length }],
    });
    expect(log).toMatchObject({ kept: 300, lost: 300, unreadBytes: 0 });
  });
  it('rows up to a quote further on, which closes it: lost, and the rows after them read', async () => {
    const log = await read(
      `step,loss,note\n${rows(100, (k) => `${k},${[20, 60].includes(k) ? '"' : ''}0.4,ok`)}`,
    );
    expect(log.codes).toEqual(['log-quote-open']);
    expect(log).toMatchObject({ kept: 59, lost: 41 });
    expect([...log.series('loss').step]).toEqual([
      ...Array(20).keys(),
      ...Array.from({ length: 39 }, (_, k) => 61 + k),
    ]);
  });
  it('a cell of text over lines is a cell, whatever stands in it', async () => {
    const log = await read('step,note,loss\n1,"two\nlines, and ""quotes""\n\nof text",0.5\n2,"",0.4\n', {
      format: 'csv',
    });
    expect(log).toMatchObject({ codes: [], kept: 2, lost: 0 });
    expect([...log.series('loss').value]).toEqual([0.5, 0.4]);
  });
  it('text after a closing quote makes no number of the cell', async () => {
    const log = await read('step,loss\n1,"0.4"5\n2,0.4\n3,0.3\n');
    expect(log.codes).toEqual(['log-cells-bad']);
    expect(log.series('loss')).toMatchObject({ refused: 1, firstRefused: { line: 2, text: '"0.4"5' } });
  });
  it('each character is looked at a few times, however many lines the quote takes', async () => {
    // Counted in characters that are searched for a quote: splitting again at every line would be 10,000 times this.
    const text = `step,loss\n0,"0.4\n${rows(20_000, fine)}`;
    const { indexOf } = String.prototype;
    let looked = 0;
    String.prototype.indexOf = function (search: string, from = 0) {
      looked += this.length - from;
      return indexOf.call(this, search, from);
    };
    try {
      expect((await read(text, { format: 'csv' })).lost).toBe(20_001);
    } finally {
      String.prototype.indexOf = indexOf;
    }
    expect(looked).toBeGreaterThan(text.length / 2);
    expect(looked).toBeLessThan(10 * text.length);
  });
});

describe('holes', () => {
  it('zero bytes over 200 of 600 lines are lost', async () => {
    for (const line of [fine, (k: number) => `{"step":${k},"loss":0.4}`]) {
      const [head, lost, tail] = [
        rows(200, line),
        rows(200, (k) => line(200 + k)),
        rows(200, (k) => line(400 + k)),
      ];
      const header = line === fine ? 'step,loss\n' : '';
      const hole = Buffer.alloc(lost.length);
      const log = await read(Buffer.concat([Buffer.from(header + head), hole, Buffer.from(tail)]));
      expect(log.codes).toEqual(['log-hole']);
      // No line feed is left between the hole and the first line after it.
      const bytes = lost.length + line(400).length;
      expect(log.account.lost).toEqual([{ reason: 'hole', bytes, at: header.length + head.length }]);
      expect(log).toMatchObject({ kept: 399, lost: 1 });
    }
  });
  it('zero bytes are no blanks in a document, and no part of a value', async () => {
    const state = `{"log_history": [${Array.from({ length: 9 }, (_, k) => `{"step": ${k}, "loss": 0.5}`)}]}`;
    for (const [text, from, to] of [
      ['{"epoch": [1, 2, 3, 4], "auc": [0.5, 0.4, 0.3, 0.2]}', ', 0.4', '0.2'],
      ['{"epoch": [1, 2, 3, 4], "auc": [0.5, 0.4, 0.3, 0.2]}', ' 0.4', ' 0.2'],
      ['{"epoch": [1, 2, 3, 4], "auc": [0.5, 0.4, 0.3, 0.2]}', '2, 3', '"auc"'],
      ['[{"epoch": 1, "auc": 0.5}, {"epoch": 2, "auc": 0.5}, {"epoch": 3, "auc": 0.5}]', '2', ' {"epoch": 3'],
      [state, '3, "loss"', '{"step": 6'],
    ] as const) {
      const bytes = Buffer.from(text);
      bytes.fill(0, text.indexOf(from), text.indexOf(to));
      const log = await read(bytes);
      expect([text, log.codes]).toEqual([text, expect.arrayContaining(['log-document-damaged'])]);
      expect(log.account.lost.some(({ reason }) => reason === 'hole')).toBe(true);
    }
  });
});

describe('missing and refused cells', () => {
  const BURST = (k: number): boolean => (k >= 300 && k < 360) || k === 599;
  it.each<[string, (loss: (k: number) => boolean) => string]>([
    ['null', (gone) => rows(600, (k) => `{"step":${k},"loss":${gone(k) ? 'null' : '0.4'}}`)],
    ['empty cells', (gone) => `step,loss\n${rows(600, (k) => `${k},${gone(k) ? '' : '0.4'}`)}`],
    ['NA', (gone) => `step,loss\n${rows(600, (k) => `${k},${gone(k) ? 'NA' : '0.4'}`)}`],
    [
      'null in a list',
      (gone) =>
        `{"step":[${[...Array(600).keys()]}],"loss":[${[...Array(600).keys()].map((k) => (gone(k) ? 'null' : '0.4'))}]}`,
    ],
    [
      'null in a trainer state',
      (gone) =>
        `{"log_history":[${[...Array(600).keys()].map((k) => `{"step":${k},"loss":${gone(k) ? 'null' : '0.4'}}`)}]}`,
    ],
  ])('%s over 60 steps and in the last', async (_, write) => {
    const loss = (await read(write(BURST))).series('loss');
    expect(loss).toMatchObject({ missing: 61, refused: 0 });
    expect(loss.value.length).toBe(539);
    expect(missingCells(loss)).toEqual({ total: 61, unexplained: 61, longest: 60, atEnd: 1, rhythm: 'none' });
    // Every second row is a rhythm.
    const second = (await read(write((k) => k % 2 === 1))).series('loss');
    expect(missingCells(second)).toMatchObject({ total: 300, unexplained: 0, rhythm: 'rare' });
    expect((await read(write(() => false))).series('loss').gaps).toBeUndefined();
  });
  it('rows of an evaluation lack the training loss, and are no gaps of it', async () => {
    const evaluated = (k: number): boolean => k % 7 === 3;
    const log = await read(
      `step,loss,lr,val_loss\n${rows(100, (k) => (evaluated(k) ? `${k},,,0.5` : `${k},${[40, 41].includes(k) ? '' : '0.4'},0.1,`))}`,
    );
    expect(missingCells(log.series('loss'))).toMatchObject({ total: 16, unexplained: 2, longest: 2 });
    expect(missingCells(log.series('val_loss'))).toMatchObject({ unexplained: 0 });
  });
  it('a last row of totals is of another kind', async () => {
    const log = await read(
      `step,loss,lr,mem,time,ips,score\n${rows(50, (k) => `${k},0.4,0.1,7,${k},9,1`)}50,,,,,,1\n`,
    );
    expect(missingCells(log.series('loss'))).toMatchObject({ total: 1, unexplained: 0 });
    // One in the middle of the same columns is not.
    const inside = await read(
      `step,loss,lr,mem,time,ips,score\n${rows(50, (k) => (k === 30 ? '30,,0.1,7,30,9,1' : `${k},0.4,0.1,7,${k},9,1`))}`,
    );
    expect(missingCells(inside.series('loss'))).toMatchObject({ total: 1, unexplained: 1 });
  });
  it('text in a loss is an error of its file, with the line; in another series it is counted', async () => {
    const log = await read(
      rows(
        20,
        (k) => `{"step":${k},"loss":${k === 4 ? '"1,234.5"' : '0.4'},"ips":${k === 9 ? '"812/s"' : '800'}}`,
      ),
    );
    expect(log.errors).toMatchObject([
      { id: 'log-cells-bad', line: 5, message: expect.stringContaining('1,234.5') },
    ]);
    expect(log.series('loss')).toMatchObject({ refused: 1, missing: 0 });
    expect(log.series('ips')).toMatchObject({ refused: 1, firstRefused: { text: '812/s', line: 10 } });
    expect(log.series('loss').value).not.toContain(1);
  });
  it('a word before the first step is a setting; in a step, after a value, or with a digit it is refused', async () => {
    const steps = rows(30, (step) => JSON.stringify({ step, loss: 0.4 }));
    const head = `${JSON.stringify({ loss: 'mse', lr: 0.1 })}\n`;
    const log = await read(head + steps);
    expect(log.codes).toEqual([]);
    expect(log.series('loss')).toMatchObject({ refused: 0 });
    expect(log.runs[0]!.notes.join('\n')).toContain(
      '"loss" is "mse" before the first step: read as a setting',
    );
    for (const bad of [
      `${JSON.stringify({ step: 0, loss: 'mse' })}\n${steps}`,
      `${JSON.stringify({ loss: '1,234.5' })}\n${steps}`,
      steps + head,
      `${head}${JSON.stringify({ step: 0, loss: 'diverged' })}\n${steps}`,
    ])
      expect((await read(bad)).codes).toEqual(['log-cells-bad']);
  });
  it('columns of text are no series, and are listed', async () => {
    const log = await read(`step,device,speed,loss,loss_fn\n${rows(10, (k) => `${k},cuda:0,812/s,0.4,mse`)}`);
    expect(log.codes).toEqual([]);
    expect(log.runs[0]!.series.map(({ name }) => name)).toEqual(['step', 'loss']);
    expect(log.runs[0]!.notes).toContain('columns of text, which are no series: device, speed, loss_fn');
  });
  it('a loss that says nothing but text is a series of no points, and an error', async () => {
    const log = await read(`step,lr,loss\n${rows(10, (k) => `${k},0.1,overflow`)}`);
    expect(log.codes).toEqual(['log-cells-bad']);
    expect(log.series('loss')).toMatchObject({ role: 'loss', refused: 10 });
    // Beside a loss with numbers the words of another one do not take its place.
    const two = await read(`step,loss,train/loss\n${rows(10, (k) => `${k},mse,0.4`)}`);
    expect(two.series('train/loss').role).toBe('loss');
  });
  it('the attempts of a series share its missing cells', async () => {
    const log = await read(
      `step,loss\n${rows(60, (k) => `${k},${k < 5 && k > 2 ? '' : '0.4'}`)}${rows(60, (k) => `${30 + k},${k > 56 ? '' : '0.4'}`)}`,
    );
    const loss = log.series('loss');
    expect(loss.attemptOffsets.length).toBe(2);
    expect([0, 1].map((k) => attemptOf(loss, k).missing)).toEqual([2, 3]);
  });
});

describe('the attempts of a series share its refused cells', () => {
  const cell = (k: number): string => (k === 2 || k === 3 || k === 57 ? 'oops' : '0.4');
  it.each<[string, string]>([
    [
      'a table',
      `step,loss\n${rows(60, (k) => `${k},${cell(k)}`)}${rows(60, (k) => `${30 + k},${k < 20 ? '0.4' : cell(k)}`)}`,
    ],
    [
      'printed lines',
      rows(60, (k) => `step ${k} | loss: ${cell(k)} | lr 0.1`) +
        rows(60, (k) => `step ${30 + k} | loss: ${k < 20 ? '0.4' : cell(k)} | lr 0.1`),
    ],
  ])('of %s', async (_, text) => {
    const loss = (await read(text)).series('loss');
    expect(loss.refused).toBe(4);
    const parts = [0, 1].map((k) => attemptOf(loss, k));
    expect(parts.map(({ refused }) => refused)).toEqual([3, 1]);
    expect(parts.map(({ firstRefused }) => firstRefused?.text)).toEqual(['oops', undefined]);
    expect(parts.map(({ value, refusedAt }) => [value.length, [...refusedAt!]])).toEqual([
      [57, [2, 2, 55]],
      [59, [57]],
    ]);
  });
});

describe('other losses', () => {
  it('torn last records of every text format are told', async () => {
    for (const [text, torn] of [
      ['step,loss\n1,0.5\n2,0.4\n3', '3'],
      ['step,loss\n1,0.5\n2,0.4\n3,"0.', '3,"0.'],
      ['{"step":1,"loss":0.5}\n{"step":2,"lo', '{"step":2,"lo'],
      ['{"loss": [0.5, 0.4, 0.3', '0.3'],
      ['{"log_history": [{"step": 1, "loss": 0.5}, {"step": 2, "lo', '{"step": 2, "lo'],
    ] as const) {
      const log = await read(text);
      expect([text, log.account.lost]).toEqual([
        text,
        [
          expect.objectContaining({
            reason: 'torn-record',
            bytes: torn.length,
            at: text.length - torn.length,
          }),
        ],
      ]);
      expect(log).toMatchObject({ lost: 0, unreadBytes: torn.length });
    }
    const metric = await read('1700000000000 0.5 1\n1700000000000 0.4', {}, 'metrics/loss');
    expect(metric).toMatchObject({ lost: 0, unreadBytes: '1700000000000 0.4'.length });
  });
  it('lines that are no records of the format: one entry for those in a row', async () => {
    const text = '{"step":1,"loss":1}\noops\n{"step":\n{"step":2,"loss":1}\n[]\n{"step":3,"loss":1}\n';
    const log = await read(text, { format: 'jsonl' });
    expect(log.account.lost).toEqual([
      { reason: 'damaged', records: 2, bytes: 12, at: 20 },
      { reason: 'damaged', records: 1, bytes: 2, at: 54 },
    ]);
  });
  it('rows with other cells, and values of MLflow that are none', async () => {
    const log = await read('step,loss\n1,0.5\n2\n3,0.3,9\n4,0.2\n', { format: 'csv' });
    expect(log.account.lost).toEqual([{ reason: 'wrong-cells', records: 2, bytes: 8, at: 16 }]);
    const metric = await read(
      '1700000000000 0.5 1\n1700000000000 oops 2\n',
      { format: 'mlflow' },
      'metrics/loss',
    );
    expect(metric.account.lost).toEqual([{ reason: 'refused-value', records: 1, bytes: 20, at: 20 }]);
    expect(metric.series('loss')).toMatchObject({ refused: 1, role: 'loss' });
  });
  it('what follows the end of a document', async () => {
    for (const text of [
      '{"loss": [0.5, 0.4]} {"loss": [147.2]}',
      '{"log_history": [{"step": 1, "loss": 1}]} [9]',
    ]) {
      const log = await read(text);
      expect(log.codes).toEqual(['log-document-damaged']);
      expect(log.lost).toBe(1);
    }
  });
  it('bytes are those of the file: a mark, UTF-16 with half a character at its end, a gzip stream', async () => {
    const text = 'step,loss,µ\n1,0.5,1\n2,x,1\n3,0.4,1\n4\n';
    const plain = await read(text);
    expect(plain.account.bytes).toBe(Buffer.byteLength(text));
    const marked = await read(`\ufeff${text}`);
    expect(marked.account).toEqual({
      ...plain.account,
      bytes: plain.account.bytes + 3,
      overhead: plain.account.overhead + 3,
      lost: plain.account.lost.map((one) => ({ ...one, at: one.at + 3 })),
    });
    const wide = Buffer.from(`\ufeff${text}`, 'utf16le');
    const utf16 = await read(wide);
    expect(utf16.account).toMatchObject({ bytes: wide.length, records: 2 * plain.account.records });
    expect(utf16.account.lost).toEqual([
      { reason: 'wrong-cells', records: 1, bytes: 2, at: wide.length - 4 },
    ]);
    const odd = await read(Buffer.concat([wide, Buffer.from('x')]));
    expect(odd.account.bytes).toBe(wide.length + 1);
    expect(odd.account.lost.at(-1)).toMatchObject({ reason: 'torn-record', bytes: 1, at: wide.length });
    const packed = gzipSync(text);
    expect((await read(packed)).account).toEqual({ ...plain.account, compressedBytes: packed.length });
  });
  it('a document tells its records, its frame, and what is no metric of it', async () => {
    const text = '{"name": "a", "loss": [0.5, null], "tags": ["x"], "n": 3}';
    const { account } = await read(text);
    expect(account).toMatchObject({
      records: '0.5'.length + 'null'.length + '3'.length,
      passedOver: '"a"'.length + '"x"'.length,
      lost: [],
    });
  });
});

describe('what a command says of it', () => {
  const loss = (k: number): number => 2 / Math.sqrt(k + 1) + 0.02 * Math.sin(3 * k);
  const line = (value: (k: number) => unknown) => (k: number) =>
    JSON.stringify({ step: k, loss: value(k), val_loss: k % 10 === 0 ? loss(k) : undefined });
  const inside = (k: number): boolean => k >= 300 && k < 360;
  it.each<[string, string, number, number]>([
    ['a healthy log', rows(600, line(loss)), 0, 0],
    [
      'every second loss',
      rows(
        600,
        line((k) => (k % 2 === 0 ? loss(k) : null)),
      ),
      0,
      0,
    ],
    [
      '60 losses that are null',
      rows(
        600,
        line((k) => (inside(k) ? null : loss(k))),
      ),
      1,
      0,
    ],
    [
      'no loss at all, beside an evaluation',
      rows(
        600,
        line(() => null),
      ),
      4,
      4,
    ],
    [
      'text in the loss',
      rows(
        600,
        line((k) => (inside(k) ? '1,234.5' : loss(k))),
      ),
      3,
      3,
    ],
    [
      'infinity as MSVC writes it',
      rows(
        600,
        line((k) => (inside(k) ? '1.#INF' : loss(k))),
      ),
      1,
      0,
    ],
    [
      'a quote over 299 rows',
      `step,loss\n${rows(600, (k) => `${k},${k === 300 ? '"' : ''}${loss(k)}`)}`,
      3,
      3,
    ],
    ['a hole', `${rows(200, line(loss))}${'\0'.repeat(5000)}${rows(200, (k) => line(loss)(400 + k))}`, 3, 3],
    ['a torn last line', `${rows(600, line(loss))}{"step":600,"lo`, 4, 0],
  ])('%s', async (_, text, gate, analyze) => {
    const path = join(folder, 'log');
    writeFileSync(path, text);
    const judged = await cli(['gate', path], { cwd: folder });
    expect(judged.code).toBe(gate);
    expect(judged.out + judged.err).not.toContain('NaN');
    expect((await cli(['analyze', path], { cwd: folder })).code).toBe(analyze);
  });
});

describe('the ledger', () => {
  it('stays short however much is lost, and its sums stay whole', () => {
    const ledger = openLedger();
    for (let k = 0; k < 1_000_000; k++) {
      ledger.lose(k % 2 === 0 ? 'damaged' : 'hole', 3, 10 * k, k % 2 === 0 ? 1 : undefined);
      ledger.record(7);
    }
    const account = ledger.account();
    expect(account.lost.length).toBeLessThanOrEqual(102);
    expect(unaccounted({ ...account, bytes: 10_000_000 })).toBe(0);
    expect(account.lost.reduce((sum, { pieces }) => sum + (pieces ?? 1), 0)).toBe(1_000_000);
    expect(lostRecords(account)).toBe(1_000_000);
    expect(account.lost.slice(0, 2)).toEqual([
      { reason: 'damaged', records: 1, bytes: 3, at: 0 },
      { reason: 'hole', bytes: 3, at: 10 },
    ]);
  });
  it('a torn record is unread and not lost', () => {
    const ledger = openLedger();
    ledger.lose('torn-record', 9, 0, 1);
    expect([lostRecords(ledger.account()), unreadBytes(ledger.account())]).toEqual([0, 9]);
  });
});
