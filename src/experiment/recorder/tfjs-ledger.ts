/**
 * The ledger of a TensorFlow.js training: a line of every step and sketches of every N-th, which `compare`, `who` and
 * `analyze` read (docs/compare.md). ledger.py of the Python package writes the same files; it imports nothing of Node.
 */
import { crc32Plain } from '../../read/bytes/crc32-plain.ts';
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
} from '../../read/ledger/format.ts';
import { checksum, seedOf, sketch, type Words } from '../../step/tensor/sketch.ts';
import { numberOf } from './number-of.ts';

/** Up to so many parameters every step has its tensors; beyond that every N-th. */
const EVERY_STEP_UP_TO = 5_000;
const EVERY = 256;
/** The first steps have their tensors however large the model is: most differences are there already. */
const FIRST_STEPS = 4;
/** Records in a file; steps at the beginning and at the end that are all kept; of those between, every so-manieth. */
const BLOCK = 64;
const WINDOW = 1_000;
const BETWEEN = 10;
/** Bytes of the lines at which a new file begins, and of the whole ledger. */
const ROTATE = 16_000_000;
const BUDGET = 200_000_000;
const TWO_64 = 2n ** 64n;

/** Where a ledger goes. Names are paths with slashes. */
export interface LedgerFiles {
  exists(path: string): boolean;
  /** Adds bytes to the end of a file; folders are made. */
  append(path: string, bytes: Uint8Array): void;
  remove(path: string): void;
  rename(from: string, to: string): void;
}

/** Values of tensors by name; of a tensor without any, such as a missing gradient, null. */
export type LedgerTensors = Readonly<Record<string, Words | null>>;

/** A step before its update. */
export interface LedgerEntry {
  readonly step: number;
  readonly loss: number;
  readonly weights: LedgerTensors;
  readonly gradients: LedgerTensors;
  /** State of the optimizer by `slot/tensor`; computed only where it is kept. */
  state(): Readonly<Record<string, Words>>;
  readonly batch: Readonly<Record<string, Words>>;
  readonly batchId?: number | string | readonly (number | string)[] | undefined;
  readonly options: Readonly<Record<string, unknown>>;
}

export interface LedgerSettings {
  readonly framework: string;
  readonly optimizer: string;
  /** Trained tensors in forward order. */
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** N; by the number of parameters where it is not given. */
  readonly every?: number | undefined;
}

export interface TfjsLedger {
  /** Writes the line of a step, and its sketches where they are due. @throws what writing throws */
  take(entry: LedgerEntry): void;
}

/** Entries of all tensors. */
export const parametersOf = (tensors: readonly { readonly shape: readonly number[] }[]): number =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** A ledger in `folder`; its first step writes the line of this session. */
export function tfjsLedger(folder: string, files: LedgerFiles, settings: LedgerSettings): TfjsLedger {
  const { tensors, framework, optimizer } = settings;
  const parameters = parametersOf(tensors);
  const every = settings.every ?? (parameters <= EVERY_STEP_UP_TO ? 1 : EVERY);
  const names = tensors.map(({ name }) => name);
  const session = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const records = blocks(`${folder}/tensors`, files, session);
  const ids = blocks(`${folder}/ids`, files, session);
  const lines = lineFile(folder, files);
  let taken = 0;
  let options: Readonly<Record<string, unknown>> = {};
  /** The step with tensors that was taken last, until the next shows what it did. */
  let open: { readonly step: number } | null = null;

  const begin = (entry: LedgerEntry): void => {
    options = entry.options;
    lines.begin({
      ledger: 1,
      session: session.toString(16).padStart(8, '0'),
      every,
      framework,
      parameters,
      optimizers: [optimizer],
      options,
      world: 1,
      tensors: tensors.map(({ name, shape }) => [name, shape, 'float32']),
    });
  };

  const summarise = (entry: LedgerEntry, due: boolean): void => {
    if (!due && open === null) return;
    const now = { weights: summariesOf(names, entry.weights), state: stateOf(names, entry) };
    const roles = (suffix: string): Map<LedgerRole, TensorSummary[]> =>
      new Map([
        [`weights${suffix}` as LedgerRole, now.weights],
        [`state${suffix}` as LedgerRole, now.state],
      ]);
    if (open !== null) records.add(open.step, ...payloadOf(roles('Next')));
    if (due)
      records.add(
        entry.step,
        ...payloadOf(new Map([['gradient', summariesOf(names, entry.gradients)], ...roles('')])),
      );
    open = due ? { step: entry.step } : null;
  };

  return {
    take(entry) {
      if (taken === 0) begin(entry);
      const changed = changedOf(options, entry.options);
      options = entry.options;
      lines.add({
        step: entry.step,
        loss: bitsOf(entry.loss),
        batch: hashOf(entry.batch),
        options: changed,
        gradientNorm: numberOf(normOf(entry.gradients)),
        weightNorm: numberOf(normOf(entry.weights)),
      });
      summarise(entry, entry.step % every === 0 || taken < FIRST_STEPS);
      if (entry.batchId !== undefined) ids.add(entry.step, ...idsOf(entry.batchId));
      taken++;
      const full = records.isOver(BUDGET - lines.size() - ids.size());
      if (full) lines.add({ thinned: { step: entry.step, window: 0, between: 0, full } });
    },
  };
}

// ---- what is kept of tensors

function summariesOf(names: readonly string[], values: LedgerTensors): TensorSummary[] {
  return names.map((name) => {
    const own = values[name] ?? null;
    return own === null
      ? { sketch: new Float64Array(LEDGER_SKETCH), checksum: 0n }
      : { sketch: sketch(own as Float32Array, name), checksum: checksum(own) };
  });
}

/** The state of each tensor: the sum over its slots, each under a name of its own; a counter is in the checksum only. */
function stateOf(names: readonly string[], { state, weights }: LedgerEntry): TensorSummary[] {
  const slots = Object.entries(state());
  return names.map((name) => {
    const sums = new Float64Array(LEDGER_SKETCH);
    let total = 0n;
    for (const [path, values] of slots) {
      if (!path.endsWith(`/${name}`)) continue;
      const slot = path.slice(0, path.length - name.length - 1);
      if (values.length === weights[name]?.length)
        for (const [k, sum] of sketch(values as Float32Array, `${name}/${slot}`).entries()) sums[k]! += sum;
      total += checksum(values) * BigInt(2 * seedOf(slot) + 1);
    }
    return { sketch: sums, checksum: BigInt.asUintN(64, total) };
  });
}

/** 64 bits of the tensors of a batch, in any order, as 16 hex digits; undefined where none are there. */
function hashOf(batch: Readonly<Record<string, Words>>): string | undefined {
  const entries = Object.entries(batch);
  if (entries.length === 0) return undefined;
  let total = 0n;
  for (const [name, values] of entries) total += checksum(values) * BigInt(2 * seedOf(name) + 1);
  return (total % TWO_64).toString(16).padStart(16, '0');
}

function normOf(tensors: LedgerTensors): number {
  let squares = 0;
  for (const values of Object.values(tensors)) {
    const own = (values ?? []) as ArrayLike<number>;
    for (let i = 0; i < own.length; i++) squares += own[i]! * own[i]!;
  }
  return Math.sqrt(squares);
}

function changedOf(
  before: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
): Record<string, unknown> | undefined {
  const changed = Object.entries(now).filter(([key, value]) => !Object.is(before[key], value));
  const gone = Object.keys(before).filter((key) => !(key in now));
  const found = [...changed, ...gone.map((key) => [key, null] as const)];
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

/** The 16 hex digits of a float64. */
function bitsOf(value: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}

// ---- files

/** Lines, in a file that begins anew at a size. */
function lineFile(folder: string, files: LedgerFiles) {
  const path = `${folder}/${LEDGER_LINES}`;
  let head: object = {};
  let inFile = 0;
  let older = 0;
  const add = (line: object, before = ''): void => {
    const bytes = new TextEncoder().encode(`${before}${JSON.stringify(line)}\n`);
    files.append(path, bytes);
    inFile += bytes.length;
  };
  const nextName = (): string => {
    let n = 1;
    const nameOf = (): string => `${folder}/steps-${String(n).padStart(6, '0')}.jsonl`;
    while (files.exists(nameOf())) n++;
    return nameOf();
  };
  return {
    begin(line: object): void {
      head = line;
      // A process that was killed may have left half a line.
      add(line, files.exists(path) ? '\n' : '');
    },
    add(line: object): void {
      add(line);
      if (inFile <= ROTATE) return;
      older += inFile;
      inFile = 0;
      files.rename(path, nextName());
      add(head);
    },
    size: (): number => older + inFile,
  };
}

/**
 * Records in files of BLOCK each. What the first steps, and every tenth after them, leave is kept; the rest is in files of
 * its own, which go once they are older than the window.
 */
function blocks(folder: string, files: LedgerFiles, session: number) {
  let number = 0;
  let written = 0;
  let full = false;
  let first: number | null = null;
  /** The files that are written to: of steps that stay, and of those that go. */
  const open: Record<'stays' | 'goes', { path: string; records: number; bytes: number } | null> = {
    stays: null,
    goes: null,
  };
  const leaving: { path: string; last: number; bytes: number }[] = [];

  const append = (to: 'stays' | 'goes', step: number, record: Uint8Array): void => {
    let file = open[to];
    if (file === null) {
      const nameOf = (): string => `${folder}/${String(number).padStart(6, '0')}.bin`;
      do number++;
      while (files.exists(nameOf()));
      file = { path: nameOf(), records: 0, bytes: 0 };
      open[to] = file;
    }
    files.append(file.path, record);
    written += record.length;
    file.records++;
    file.bytes += record.length;
    if (file.records < BLOCK) return;
    open[to] = null;
    if (to === 'goes') leaving.push({ path: file.path, last: step, bytes: file.bytes });
  };

  return {
    add(step: number, kind: number, payload: Uint8Array): void {
      if (full) return;
      first ??= step;
      const between = BETWEEN * (step < 100_000 ? 1 : 10);
      append(
        step < first + WINDOW || step % between === 0 ? 'stays' : 'goes',
        step,
        recordOf(session, step, kind, payload),
      );
      while (leaving.length > 0 && leaving[0]!.last <= step - WINDOW) {
        const old = leaving.shift()!;
        files.remove(old.path);
        written -= old.bytes;
      }
    },
    /** Whether from now on nothing is added, since more bytes are there than `budget`; true once. */
    isOver(budget: number): boolean {
      if (full || written <= budget) return false;
      full = true;
      return true;
    },
    size: (): number => written,
  };
}

function recordOf(session: number, step: number, kind: number, payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(RECORD_HEAD_BYTES + payload.length);
  const view = new DataView(record.buffer);
  record.set(new TextEncoder().encode(RECORD_MAGIC));
  view.setUint32(8, session, true);
  view.setBigInt64(12, BigInt(step), true);
  view.setUint32(20, payload.length, true);
  view.setUint32(24, kind, true);
  record.set(payload, RECORD_HEAD_BYTES);
  view.setUint32(4, crc32Plain(record.subarray(8)), true);
  return record;
}

/** Kind and payload of a record of tensors. */
function payloadOf(roles: ReadonlyMap<LedgerRole, readonly TensorSummary[]>): [number, Uint8Array] {
  let kind = 0;
  const there = LEDGER_ROLES.flatMap((role, bit) => {
    if (roles.has(role)) kind |= 1 << bit;
    return roles.get(role) ?? [];
  });
  const payload = new Uint8Array(there.length * TENSOR_BYTES);
  const view = new DataView(payload.buffer);
  for (const [k, summary] of there.entries()) {
    for (const [i, sum] of summary.sketch.entries()) view.setFloat64(k * TENSOR_BYTES + 8 * i, sum, true);
    view.setBigUint64(k * TENSOR_BYTES + 8 * LEDGER_SKETCH, summary.checksum, true);
  }
  return [kind, payload];
}

/** Kind and payload of a record of ids: whole numbers as such, all else as JSON. */
function idsOf(id: number | string | readonly (number | string)[]): [number, Uint8Array] {
  if (!Array.isArray(id) || !id.every((one) => Number.isSafeInteger(one)))
    return [ID_KINDS.text, new TextEncoder().encode(JSON.stringify(id))];
  return [ID_KINDS.rows, new Uint8Array(BigInt64Array.from(id as number[], BigInt).buffer)];
}
