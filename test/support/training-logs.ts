/** Logs of a healthy training in eight formats, from rows whose cells a test may change. */
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';

/** A cell as its program would print it; null says that there is no value, undefined is not there at all. */
export type Cell = string | null | undefined;
export interface Row {
  readonly step: number;
  readonly loss: Cell;
  readonly grad_norm: Cell;
  readonly lr: Cell;
}

/** Falls from 2 to 0.5 with a noise of a twentieth. */
export const healthyRows = (count = 200): Row[] =>
  Array.from({ length: count }, (_, k) => ({
    step: k,
    loss: ((0.5 + 1.5 * Math.exp(-k / 40)) * (1 + 0.05 * noise(k))).toFixed(4),
    grad_norm: (1 + 0.3 * noise(k + 7919)).toFixed(4),
    lr: '0.001',
  }));

/** In (-1, 1), the same for the same number. */
function noise(k: number): number {
  const x = Math.sin(k * 12.9898 + 78.233) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}

const COLUMNS = ['step', 'loss', 'grad_norm', 'lr'] as const;

const table =
  (separator: string, mark = '.') =>
  (rows: readonly Row[]): Buffer =>
    Buffer.from(
      [COLUMNS.join(separator)]
        .concat(
          rows.map((row) =>
            COLUMNS.map((name) => {
              const cell = `${row[name] ?? ''}`;
              return mark === ',' && /^-?\d+\.\d+$/.test(cell) ? cell.replace('.', mark) : cell;
            }).join(separator),
          ),
        )
        .join('\n')
        .concat('\n'),
    );

/** A number, what Python writes where JSON has no number, or text. */
const jsonOf = (cell: string | number | null): string =>
  cell === null || /^(-?\d+(\.\d+)?(e-?\d+)?|NaN|-?Infinity)$/.test(`${cell}`)
    ? `${cell}`
    : JSON.stringify(cell);
const record = (row: Row): string =>
  `{${COLUMNS.filter((name) => row[name] !== undefined)
    .map((name) => `"${name}": ${jsonOf(row[name]!)}`)
    .join(', ')}}`;

export function eventOf(step: number, values: readonly (readonly [string, number])[]): Buffer {
  const varint = (value: number): Buffer => {
    const bytes: number[] = [];
    for (let rest = value; ; rest = Math.floor(rest / 128)) {
      if (rest < 128) return Buffer.from([...bytes, rest]);
      bytes.push((rest % 128) | 128);
    }
  };
  const field = (number: number, content: Buffer): Buffer =>
    Buffer.concat([varint(number * 8 + 2), varint(content.length), content]);
  const time = Buffer.alloc(9);
  time[0] = 9;
  time.writeDoubleLE(1.7e9 + step, 1);
  const summary = values.map(([tag, value]) => {
    const simple = Buffer.alloc(5);
    simple[0] = 21;
    simple.writeFloatLE(value, 1);
    return field(1, Buffer.concat([field(1, Buffer.from(tag)), simple]));
  });
  const body = Buffer.concat([time, Buffer.from([16]), varint(step), field(5, Buffer.concat(summary))]);
  const frame = Buffer.alloc(16 + body.length);
  frame.writeBigUInt64LE(BigInt(body.length));
  frame.writeUInt32LE(maskedCrc32c(crc32c(frame, 0, 8)), 8);
  body.copy(frame, 12);
  frame.writeUInt32LE(maskedCrc32c(crc32c(body)), 12 + body.length);
  return frame;
}

const WORDS: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
};

export interface LogFormatOfTests {
  readonly file: string;
  /** Whether its cells may be text, and may say that there is no value. */
  readonly text: boolean;
  readonly write: (rows: readonly Row[]) => Buffer;
}

export const TRAINING_LOGS: Readonly<Record<string, LogFormatOfTests>> = {
  CSV: { file: 'log.csv', text: true, write: table(',') },
  TSV: { file: 'log.tsv', text: true, write: table('\t') },
  'CSV with decimal commas': { file: 'log.csv', text: true, write: table(';', ',') },
  'JSON lines': {
    file: 'log.jsonl',
    text: true,
    write: (rows) => Buffer.from(rows.map((row) => `${record(row)}\n`).join('')),
  },
  'a JSON document': {
    file: 'log.json',
    text: true,
    write: (rows) => Buffer.from(`[\n${rows.map(record).join(',\n')}\n]\n`),
  },
  'the state of a Trainer': {
    file: 'trainer_state.json',
    text: true,
    write: (rows) => Buffer.from(`{"log_history": [\n${rows.map(record).join(',\n')}\n]}\n`),
  },
  'printed pairs': {
    file: 'train.log',
    text: true,
    write: (rows) =>
      Buffer.from(
        rows
          .map(
            (row) =>
              `${COLUMNS.filter((name) => row[name] !== undefined)
                .map((name) => `${name}=${row[name] ?? 'None'}`)
                .join(' ')}\n`,
          )
          .join(''),
      ),
  },
  events: {
    file: 'events.out.tfevents.1700000000.host',
    text: false,
    write: (rows) =>
      Buffer.concat(
        rows.map((row) =>
          eventOf(
            row.step,
            COLUMNS.flatMap((name) => {
              const cell = row[name];
              return name === 'step' || cell === null || cell === undefined
                ? []
                : [[name, WORDS[`${cell}`.toLowerCase()] ?? Number(cell)] as const];
            }),
          ),
        ),
      ),
  },
};
