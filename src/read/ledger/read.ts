/**
 * Reads a ledger, the folder in which a recorder keeps some hundred bytes of every step (docs/compare.md, format.ts).
 *
 * A process that is killed leaves half a line or half a record at the end of a file; what is whole before it is read.
 */
import { join } from 'node:path';
import type { Cell } from '../../model/cell.ts';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import { crc32 } from '../bytes/crc32.ts';
import { listFolder } from '../bytes/folder.ts';
import { openFile } from '../bytes/source.ts';
import {
  ID_KINDS,
  LEDGER_LINES,
  LEDGER_ROLES,
  LEDGER_SKETCH,
  type LedgerRole,
  RECORD_HEAD_BYTES,
  RECORD_MAGIC,
  TENSOR_BYTES,
  type TensorSummary,
} from './format.ts';

export type { LedgerRole, TensorSummary } from './format.ts';

/** A process that trained. */
export interface LedgerSession {
  readonly id: string;
  /** Steps from one with tensors to the next. */
  readonly every: number;
  readonly tensors: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly dtype: string;
  }[];
  /** What else its line holds, flat: `versions.torch`, `options.0.lr`. */
  readonly settings: ReadonlyMap<string, Cell>;
}

/** What is known of a step. */
export interface LedgerStep {
  readonly step: number;
  readonly session: LedgerSession;
  readonly loss: number;
  /** Hash of the batch and of the random state before the forward pass; null where there is none. */
  readonly batch: string | null;
  readonly rng: string | null;
  /** Options that changed at this step. */
  readonly options: ReadonlyMap<string, Cell>;
  readonly gradientNorm: number | null;
  /** Of the gradient as the optimizer took it; that before clipping where nothing clipped. */
  readonly clippedNorm: number | null;
  readonly weightNorm: number | null;
  /** The optimizer took no step. */
  readonly skipped: boolean;
}

export type StepTensors = ReadonlyMap<LedgerRole, readonly TensorSummary[]>;

export interface Ledger {
  readonly path: string;
  readonly sessions: readonly LedgerSession[];
  /** By step; of a step that was taken twice the later one. */
  readonly steps: ReadonlyMap<number, LedgerStep>;
  /** Lines that are no line of a ledger, half a line of a killed process among them. */
  readonly lost: number;
  /** Steps whose tensors are kept, ascending. */
  readonly taken: readonly number[];
  /** Steps whose batch ids are kept, ascending. */
  readonly identified: readonly number[];
  /** Sketches of a step; undefined where they are not kept, or damaged. */
  tensors(step: number): Promise<StepTensors | undefined>;
  /** Ids of the rows of a step's batch, or the one id of the batch; undefined where none were given. */
  ids(step: number): Promise<readonly Cell[] | undefined>;
}

/** A line of a session names every tensor of a model. */
const LINE_LIMIT = 64 << 20;

/** Whether a folder is a ledger: its lines begin with that of a session. */
export async function isLedger(folder: string): Promise<boolean> {
  const names = (await listFolder(folder)) ?? [];
  if (!names.includes(LEDGER_LINES)) return false;
  const file = await openFile(join(folder, LEDGER_LINES));
  try {
    const head = await file.slice(0, Math.min(10, file.byteLength));
    return Buffer.from(head).toString('latin1') === '{"ledger":';
  } finally {
    await file.close();
  }
}

/** Opens a ledger by its folder. @throws ledger-malformed; what opening its files throws */
export async function openLedger(folder: string): Promise<Ledger> {
  const names = (await listFolder(folder)) ?? [];
  const files = [...names.filter((name) => /^steps-\d+\.jsonl$/.test(name)), LEDGER_LINES];
  const read: Lines = { sessions: [], steps: new Map(), lost: 0 };
  for (const name of files) await readLines(join(folder, name), read);
  if (read.sessions.length === 0)
    throw diagError('ledger-malformed', { problem: 'no line of a session' }, { path: folder });
  const tensors = await placesIn(join(folder, 'tensors'));
  const ids = await placesIn(join(folder, 'ids'));
  const sessionOf = new Map(read.sessions.map((session) => [session.id, session]));
  return {
    path: folder,
    sessions: read.sessions,
    steps: read.steps,
    lost: read.lost,
    taken: [...tensors.keys()].sort((a, b) => a - b),
    identified: [...ids.keys()].sort((a, b) => a - b),
    tensors: async (step) => {
      const places = tensors.get(step) ?? [];
      // Of a step that a later process took again without tensors the record is of other tensors.
      const session = sessionOf.get(read.steps.get(step)?.session.id ?? places.at(-1)?.session ?? '');
      const found = new Map<LedgerRole, TensorSummary[]>();
      for (const place of places.filter((one) => one.session === session?.id)) {
        const payload = await payloadOf(place);
        const roles = payload && tensorsOf(payload, place.kind, session!.tensors.length);
        for (const [role, summaries] of roles ?? []) found.set(role, summaries);
      }
      return found.size === 0 ? undefined : found;
    },
    ids: async (step) => {
      const place = ids.get(step)?.at(-1);
      const payload = place && (await payloadOf(place));
      return payload === undefined ? undefined : idsOf(payload, place!.kind);
    },
  };
}

// ---- lines

interface Lines {
  readonly sessions: LedgerSession[];
  readonly steps: Map<number, LedgerStep>;
  lost: number;
}

async function readLines(path: string, read: Lines): Promise<void> {
  const file = await openFile(path);
  try {
    let left = '';
    for (let at = 0; at < file.byteLength; at += 1 << 22) {
      const part = await file.slice(at, Math.min(file.byteLength, at + (1 << 22)));
      const lines = (left + Buffer.from(part).toString('latin1')).split('\n');
      left = lines.pop()!;
      if (left.length > LINE_LIMIT)
        throw diagError('ledger-malformed', { problem: `a line of more than ${LINE_LIMIT} bytes` }, { path });
      for (const line of lines) readLine(line, read);
    }
    if (left !== '') readLine(left, read);
  } finally {
    await file.close();
  }
}

function readLine(line: string, read: Lines): void {
  if (line === '') return;
  let entry: unknown;
  try {
    entry = JSON.parse(Buffer.from(line, 'latin1').toString('utf8'));
  } catch {
    read.lost++;
    return;
  }
  if (!isJsonObject(entry)) read.lost++;
  else if ('ledger' in entry) {
    const session = sessionOf(entry);
    const last = read.sessions.at(-1);
    // A new file begins with the line of the session that goes on.
    if (last?.id !== session.id) read.sessions.push(session);
  } else if (typeof entry.step === 'number' && Number.isSafeInteger(entry.step) && read.sessions.length > 0)
    read.steps.set(entry.step, stepOf(entry, entry.step, read.sessions.at(-1)!));
  else if (!('thinned' in entry)) read.lost++;
}

function sessionOf(entry: Record<string, unknown>): LedgerSession {
  const { ledger: _, session, every, lateBy: _late, tensors, ...settings } = entry;
  return {
    id: textOf(session),
    every: typeof every === 'number' && every >= 1 ? every : 1,
    tensors: (Array.isArray(tensors) ? tensors : []).map((tensor: unknown) => {
      const [name, shape, dtype] = Array.isArray(tensor) ? tensor : [];
      return {
        name: textOf(name),
        shape: Array.isArray(shape)
          ? shape.map((size) => (typeof size === 'number' ? size : Number.NaN))
          : [],
        dtype: textOf(dtype),
      };
    }),
    settings: new Map(flat(settings, '')),
  };
}

/** `String` throws for an object whose own `toString` is no function, as a hostile line may have one. */
const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '' : jsonOf(value);

/** Mappings within mappings that are entered; what lies deeper is one value. */
const DEEPEST = 16;

/** Members by their path; lists of plain values are one value. */
function flat(value: Record<string, unknown>, prefix: string, depth = 0): [string, Cell][] {
  return Object.entries(value).flatMap(([key, member]) =>
    isJsonObject(member) && depth < DEEPEST
      ? flat(member, `${prefix}${key}.`, depth + 1)
      : [[`${prefix}${key}`, cellOf(member)]],
  );
}

const cellOf = (value: unknown): Cell =>
  value === null || ['string', 'number', 'boolean'].includes(typeof value) ? (value as Cell) : jsonOf(value);

/** Text of a value; a value too deep for `JSON.stringify` has none. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return '(too deep)';
  }
}

function stepOf(entry: Record<string, unknown>, step: number, session: LedgerSession): LedgerStep {
  const { loss, batch, rng, options, skipped } = entry;
  const gradientNorm = numberOf(entry.gradientNorm);
  return {
    step,
    session,
    loss: lossOf(loss),
    batch: typeof batch === 'string' ? batch : null,
    rng: typeof rng === 'string' ? rng : null,
    options: new Map(isJsonObject(options) ? flat(options, '') : []),
    gradientNorm,
    clippedNorm: numberOf(entry.clippedNorm) ?? gradientNorm,
    weightNorm: numberOf(entry.weightNorm),
    skipped: skipped === true,
  };
}

/** The float64 of 16 hex digits; NaN for anything else. */
function lossOf(text: unknown): number {
  if (typeof text !== 'string' || !/^[\da-f]{16}$/.test(text)) return Number.NaN;
  return Buffer.from(text, 'hex').readDoubleBE(0);
}

const numberOf = (value: unknown): number | null =>
  typeof value === 'number'
    ? value
    : ['NaN', 'Infinity', '-Infinity'].includes(value as string)
      ? Number(value)
      : null;

// ---- records

interface Place {
  readonly path: string;
  readonly at: number;
  readonly size: number;
  readonly session: string;
  readonly kind: number;
  readonly crc: number;
}

/** Where the records of each step lie: only the heads of records are read. */
async function placesIn(folder: string): Promise<Map<number, Place[]>> {
  const places = new Map<number, Place[]>();
  const names = (await listFolder(folder).catch(() => null)) ?? [];
  for (const name of names.filter((one) => one.endsWith('.bin'))) {
    const path = join(folder, name);
    const file = await openFile(path);
    try {
      for (let at = 0; at + RECORD_HEAD_BYTES <= file.byteLength; ) {
        const head = Buffer.from(await file.slice(at, at + RECORD_HEAD_BYTES));
        const size = head.readUInt32LE(20);
        if (head.toString('latin1', 0, 4) !== RECORD_MAGIC || at + RECORD_HEAD_BYTES + size > file.byteLength)
          break;
        const session = head.readUInt32LE(8).toString(16).padStart(8, '0');
        const step = Number(head.readBigInt64LE(12));
        const [kind, crc] = [head.readUInt32LE(24), head.readUInt32LE(4)];
        places.set(step, [...(places.get(step) ?? []), { path, at, size, session, kind, crc }]);
        at += RECORD_HEAD_BYTES + size;
      }
    } finally {
      await file.close();
    }
  }
  return places;
}

/** The payload of a record; undefined where its checksum is another. */
async function payloadOf({ path, at, size, crc }: Place): Promise<Buffer | undefined> {
  const file = await openFile(path);
  try {
    const rest = await file.slice(at + 8, at + RECORD_HEAD_BYTES + size);
    return crc32(rest) >>> 0 === crc ? Buffer.from(rest.subarray(RECORD_HEAD_BYTES - 8)) : undefined;
  } finally {
    await file.close();
  }
}

function tensorsOf(
  payload: Buffer,
  kind: number,
  count: number,
): Map<LedgerRole, TensorSummary[]> | undefined {
  const roles = LEDGER_ROLES.filter((_, bit) => (kind >> bit) & 1);
  if (payload.byteLength !== roles.length * count * TENSOR_BYTES) return undefined;
  const found = new Map<LedgerRole, TensorSummary[]>();
  for (const [r, role] of roles.entries()) {
    const summaries = Array.from({ length: count }, (_, tensor) => {
      const at = (r * count + tensor) * TENSOR_BYTES;
      const sketch = Float64Array.from({ length: LEDGER_SKETCH }, (__, k) =>
        payload.readDoubleLE(at + 8 * k),
      );
      return { sketch, checksum: payload.readBigUInt64LE(at + 8 * LEDGER_SKETCH) };
    });
    found.set(role, summaries);
  }
  return found;
}

/** No batch has so many rows: a damaged record asks for no more memory than this. */
const MOST_ROWS = 1 << 22;

function idsOf(payload: Buffer, kind: number): readonly Cell[] | undefined {
  if (kind === ID_KINDS.rows)
    return Array.from({ length: payload.byteLength >> 3 }, (_, k) => Number(payload.readBigInt64LE(8 * k)));
  if (kind !== ID_KINDS.ranges) {
    let value: unknown;
    try {
      value = JSON.parse(payload.toString('utf8'));
    } catch {
      return undefined;
    }
    return (Array.isArray(value) ? value : [value]).map(cellOf);
  }
  const ids: number[] = [];
  for (let at = 0; at + 16 <= payload.byteLength; at += 16) {
    const [start, count] = [Number(payload.readBigInt64LE(at)), Number(payload.readBigInt64LE(at + 8))];
    if (count < 0 || ids.length + count > MOST_ROWS) return undefined;
    for (let k = 0; k < count; k++) ids.push(start + k);
  }
  return ids;
}

// ---- as a run

/** A ledger as the run that it is of: loss, norms and learning rate of every step, as a log would have them. */
export function runOfLedger({ path, sessions, steps }: Ledger): Run {
  const inOrder = [...steps.values()].sort((a, b) => a.step - b.step);
  const series = (
    name: string,
    role: TimeSeries['role'],
    of: (step: LedgerStep) => number | null,
  ): TimeSeries[] => {
    const points = inOrder.flatMap((one) => {
      const value = of(one);
      return value === null ? [] : [[one.step, value] as const];
    });
    return points.length === 0
      ? []
      : [
          {
            name,
            role,
            step: Float64Array.from(points, ([step]) => step),
            value: Float64Array.from(points, ([, value]) => value),
            missing: 0,
            refused: 0,
            attemptOffsets: [0],
            pathOffsets: [0],
          },
        ];
  };
  return {
    id: path,
    paths: [path],
    format: 'ledger',
    stepUnit: 'step',
    series: [
      ...series('loss', 'loss', ({ loss }) => loss),
      ...series('gradientNorm', 'grad_norm', ({ gradientNorm }) => gradientNorm),
      ...series('weightNorm', 'param_norm', ({ weightNorm }) => weightNorm),
    ],
    attempts: [
      { index: 0, firstStep: inOrder[0]?.step ?? 0, lastStep: inOrder.at(-1)?.step ?? 0, reason: 'start' },
    ],
    hyperparameters: new Map(sessions.at(-1)!.settings),
    notes: [],
  };
}
