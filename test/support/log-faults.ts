/** What goes wrong in a training or in its log, done to the logs of training-logs.ts; and what is no fault. */
import { gzipSync } from 'node:zlib';
import { type Cell, healthyRows, type LogFormatOfTests, type Row } from './training-logs.ts';

/** A file of the folder that the gate is asked about. */
export interface LogFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}
/** How large and where it is: numbers in [0, 1). */
export interface Place {
  readonly at: number;
  readonly size: number;
}
type Make = (format: LogFormatOfTests, place: Place) => readonly LogFile[] | undefined;
export interface LogFault {
  /** Whether no rule at all may pass, since something is lost; else the run itself is bad, which `recommended` sees. */
  readonly lost: boolean;
  readonly make: Make;
}

/** The middle of a log of so many rows: neither its start nor its last tenth. */
const within = (count: number, { at }: Place): number => Math.floor(count * (0.45 + 0.3 * at));

const whole =
  (change: (rows: Row[], place: Place) => Row[], needsText = false): Make =>
  (format, place) =>
    needsText && !format.text
      ? undefined
      : [{ name: format.file, bytes: format.write(change(healthyRows(), place)) }];

const cells =
  (
    column: 'loss' | 'grad_norm',
    cell: Cell,
    from: (count: number, place: Place) => number,
    length: number,
    text = true,
  ) =>
  (format: LogFormatOfTests, place: Place): readonly LogFile[] | undefined =>
    whole((rows) => {
      const start = from(rows.length, place);
      return rows.map((row, k) => (k >= start && k < start + length ? { ...row, [column]: cell } : row));
    }, text)(format, place);

const scaled = (factor: (k: number, onset: number) => number): Make =>
  whole((rows, place) => {
    const onset = within(rows.length, place);
    return rows.map((row, k) => ({ ...row, loss: (Number(row.loss) * factor(k, onset)).toFixed(4) }));
  });

const bytes =
  (
    change: (bytes: Buffer, place: Place) => Uint8Array,
    only: (format: LogFormatOfTests) => boolean = () => true,
  ): Make =>
  (format, place) =>
    only(format) ? [{ name: format.file, bytes: change(format.write(healthyRows()), place) }] : undefined;

const beside =
  (name: string, content: Uint8Array | string): Make =>
  (format) => [
    { name: `a/${format.file}`, bytes: format.write(healthyRows()) },
    { name, bytes: Buffer.from(content) },
  ];

const isLines = ({ file }: LogFormatOfTests): boolean => /\.(csv|tsv|jsonl)$/.test(file);
const isTable = ({ file }: LogFormatOfTests): boolean => /\.(csv|tsv)$/.test(file);
const last = (count: number): number => count - 1;

/** The start of the line in which a share of the file lies. */
const lineAt = (content: Buffer, { at }: Place): number =>
  content.lastIndexOf(10, Math.floor(content.length * (0.4 + 0.3 * at))) + 1;
const splice = (content: Buffer, at: number, remove: number, insert: Uint8Array | string = ''): Buffer =>
  Buffer.concat([content.subarray(0, at), Buffer.from(insert), content.subarray(at + remove)]);

/** Spellings of what is no finite number, of Python, NumPy, C, Java and MSVC. */
const NON_FINITE = [
  'nan',
  'NaN',
  'NAN',
  'inf',
  '-inf',
  'Infinity',
  '-Infinity',
  'INF',
  'Inf',
  '1.#QNAN',
  '-1.#IND',
  '1.#INF',
  'tensor(nan)',
  '1e999',
];
const IN_EVENTS = new Set(['nan', 'inf', '-inf']);
/** Text that stands where a loss should. */
const TEXT = ['overflow', '***', '812/s', '2841M', '0x1f', '1.2.3'];

const bad = (make: Make): LogFault => ({ lost: false, make });
const lost = (make: Make): LogFault => ({ lost: true, make });

export const LOG_FAULTS: Readonly<Record<string, LogFault>> = {
  ...Object.fromEntries(
    NON_FINITE.flatMap((word) => [
      [`${word} to the end`, bad(cells('loss', word, within, 1e9, !IN_EVENTS.has(word)))],
      [`${word} once`, bad(cells('loss', word, within, 1, !IN_EVENTS.has(word)))],
    ]),
  ),
  'NaN as the last loss': bad(cells('loss', 'nan', last, 1, false)),
  ...Object.fromEntries(
    TEXT.map((word) => [`the text ${word} for losses`, lost(cells('loss', word, within, 5))]),
  ),
  'a missing loss': bad(cells('loss', null, within, 1)),
  'sixty missing losses': bad(cells('loss', null, within, 40)),
  'a missing last loss': bad(cells('loss', null, last, 1)),
  'losses that end as missing cells': bad(cells('loss', null, within, 1e9)),
  'losses that are no longer logged': bad(cells('loss', undefined, within, 1e9, false)),
  'a jump that stays': bad(scaled((k, onset) => (k < onset ? 1 : 12))),
  'a jump that stays, a hundredfold': bad(scaled((k, onset) => (k < onset ? 1 : 100))),
  'an explosion': bad(scaled((k, onset) => (k < onset ? 1 : Math.min(1e12, 1.3 ** (k - onset))))),
  'a loss of 0 to the end with a norm of NaN': bad(
    whole((rows, place) => {
      const onset = within(rows.length, place);
      return rows.map((row, k) => (k < onset ? row : { ...row, loss: '0', grad_norm: 'nan' }));
    }),
  ),
  'a resume at another level': bad(
    whole((rows, place) => {
      const onset = within(rows.length, place);
      return [
        ...rows,
        ...rows.slice(onset).map((row) => ({ ...row, loss: (Number(row.loss) * 300).toFixed(3) })),
      ];
    }),
  ),
  'a resume of ten rows at another level': bad(
    whole((rows) => [
      ...rows,
      ...rows.slice(-10).map((row) => ({ ...row, loss: (Number(row.loss) * 300).toFixed(3) })),
    ]),
  ),
  'three rows': bad(whole((rows) => rows.slice(0, 3))),
  'one row': bad(whole((rows) => rows.slice(0, 1))),
  'no rows': lost(whole(() => [])),
  'no bytes': lost(bytes(() => Buffer.alloc(0))),
  // A printed line that has lost its last pair is one of fewer pairs.
  'a cut within its last record': lost(
    bytes(
      (content) => content.subarray(0, content.length - 9),
      ({ file }) => !file.endsWith('.log'),
    ),
  ),
  'a cut within a record': lost(
    bytes(
      (content, place) => content.subarray(0, lineAt(content, place) + 11),
      (format) => !isTable(format),
    ),
  ),
  'a hole of zero bytes': lost(
    bytes((content, place) => {
      const start = lineAt(content, place);
      return splice(content, start, 400, Buffer.alloc(400));
    }),
  ),
  'zero bytes at the end': lost(bytes((content) => Buffer.concat([content, Buffer.alloc(512)]))),
  'a garbage line': lost(
    bytes((content, place) => splice(content, lineAt(content, place), 0, '{"step": 3, "los\n'), isLines),
  ),
  'half a row': lost(bytes((content, place) => splice(content, lineAt(content, place), 9), isLines)),
  'an unclosed quote': lost(
    bytes((content, place) => splice(content, lineAt(content, place), 0, '"'), isTable),
  ),
  'a row with a cell more': lost(
    bytes(
      (content, place) =>
        splice(content, lineAt(content, place), 0, '3,3;3\t3,3;3\t3,3;3\t3,3;3\t3,3;3\t3\n'),
      isTable,
    ),
  ),
  'a column twice': lost(bytes((content) => Buffer.from(content.toString().replace('lr', 'loss')), isTable)),
  'a key twice': lost(
    bytes(
      (content) => Buffer.from(content.toString().replaceAll('"lr"', '"loss"')),
      ({ file }) => file.endsWith('.jsonl'),
    ),
  ),
  'a flipped byte in an event': lost(
    bytes(
      (content, place) => {
        const copy = Buffer.from(content);
        copy[Math.floor(content.length * (0.4 + 0.3 * place.at))]! ^= 0x40;
        return copy;
      },
      ({ text }) => !text,
    ),
  ),
  'a gzip stream that ends': lost((format) => {
    const packed = gzipSync(format.write(healthyRows()));
    return [{ name: `${format.file}.gz`, bytes: packed.subarray(0, packed.length - 60) }];
  }),
  'a dead run beside it, no bytes': lost(beside('b/train.jsonl', '')),
  'a dead run beside it, a header': lost(beside('b/metrics.csv', 'step,loss\n')),
  'a dead run beside it, a traceback': lost(
    beside('b/train.log', 'Traceback (most recent call last):\nKeyError: 1\n'),
  ),
  'a dead run beside it, garbage events': lost(beside('b/events.out.tfevents.1.h', 'x'.repeat(99))),
  'a dead run beside it, torn gzip': lost(beside('b/log.jsonl.gz', gzipSync('{"step": 1}').subarray(0, 6))),
  'a dead run beside it, torn JSON': lost(beside('b/history.json', '{"loss": [1, 0.5')),
};

/** Logs of which nothing is wrong, however they look. */
export const LOG_CONTROLS: Readonly<Record<string, Make>> = {
  'a healthy run': whole((rows) => rows),
  'norms of infinity, of a loss scaler': cells('grad_norm', 'inf', () => 3, 2, false),
  'a step every hundredth': whole((rows) => rows.map((row) => ({ ...row, step: 100 * row.step }))),
  'a run that was resumed at its level': whole((rows) => [...rows.slice(0, 150), ...rows.slice(140)]),
  'a loss in every second row': whole(
    (rows) => rows.map((row, k) => (k % 2 === 0 ? row : { ...row, loss: null })),
    true,
  ),
  'no norms': whole((rows) => rows.map((row) => ({ ...row, grad_norm: undefined }))),
  'a loss without noise': whole((rows) =>
    rows.map((row, k) => ({ ...row, loss: (0.5 + 1.5 * Math.exp(-k / 40)).toFixed(6) })),
  ),
  'a loss that falls fast': whole((rows) =>
    rows.map((row, k) => ({ ...row, loss: (Number(row.loss) * (1 + 30 * Math.exp(-k / 4))).toFixed(4) })),
  ),
  compressed: (format) => [{ name: `${format.file}.gz`, bytes: gzipSync(format.write(healthyRows())) }],
  'two runs': (format) =>
    ['a', 'b'].map((run) => ({ name: `${run}/${format.file}`, bytes: format.write(healthyRows()) })),
  'a README, labels and a vocabulary beside it': (format) => [
    { name: format.file, bytes: format.write(healthyRows()) },
    { name: 'README.md', bytes: Buffer.from('epoch 3: loss nan\n') },
    { name: 'labels.csv', bytes: Buffer.from('file,label\na.png,1\nb.png,2\nc.png,3\n') },
    { name: 'vocab.json', bytes: Buffer.from('{"the": 0, "loss": 1, "nan": 2}') },
  ],
  'line ends of Windows': bytes(
    (content) => Buffer.from(content.toString('latin1').replaceAll('\n', '\r\n'), 'latin1'),
    ({ text }) => text,
  ),
  'a byte order mark': bytes(
    (content) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), content]),
    ({ text }) => text,
  ),
};
