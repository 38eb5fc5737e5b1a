/** What a checkpoint holds: a list of tensors whose bytes are read on demand. */
import type { ErrorRecord } from './errors.ts';
import type { Account, LossReason } from './log.ts';

export const DTYPES = [
  'F64',
  'F32',
  'F16',
  'BF16',
  'F8_E4M3',
  'F8_E5M2',
  'I64',
  'I32',
  'I16',
  'I8',
  'U64',
  'U32',
  'U16',
  'U8',
  'BOOL',
  'C64',
  'C128',
] as const;
export type Dtype = (typeof DTYPES)[number];

/** Which axis of a kernel is the output. `none` for vectors, scalars, embeddings and what is unknown. */
export type Layout = 'OI' | 'IO' | 'OIHW' | 'HWIO' | 'none';

export type TensorRole = 'parameter' | 'gradient' | 'optimizer_state' | 'buffer';

export interface TensorInfo {
  /** As stored. Untrusted text. */
  readonly name: string;
  /**
   * The variable's own name where the stored one is a path through an object graph: `sequential/dense/kernel` for
   * `model/_operations/1/_kernel/.ATTRIBUTES/VARIABLE_VALUE`. Untrusted text.
   */
  readonly label?: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Product of the shape, checked against 2^53. */
  readonly elements: number;
  readonly layout: Layout;
  readonly role: TensorRole;
  /** For optimizer state: the slot in our words (accumulator, m, v, v_max, momentum, step) and its parameter. */
  readonly slot?: string;
  readonly parameter?: string;
}

/**
 * Values of a tensor. Floating types narrower than 64 bits are exact in Float32Array, F64 in Float64Array; integers
 * keep their width, 64-bit ones are BigInt arrays.
 */
export type TensorData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/** State of an optimizer that numbers its parameters (PyTorch). */
export interface SavedOptimizer {
  /** Ids of the parameters of each group. */
  readonly groups: readonly (readonly string[])[];
  /** The tensors of its state, and the id of the parameter that each belongs to. */
  readonly slots: readonly {
    readonly tensor: string;
    readonly id: string;
    readonly shape: readonly number[];
  }[];
}

/** A checkpoint: opening it reads headers only. */
export interface Checkpoint {
  /** Names of the files in its folder that hold its tensors, where it is an index of such. */
  readonly shards?: readonly string[];
  readonly kind: 'checkpoint';
  readonly path: string;
  readonly format: string;
  /** "pytorch", "keras", "tensorflow", "tfjs", "onnx", "flax" or null where the container does not tell. */
  readonly framework: string | null;
  /** Training step, where the file or its name says it. */
  readonly step: number | null;
  readonly tensors: readonly TensorInfo[];
  /** Scalars and texts next to the tensors (epoch, global_step, versions). Keys are untrusted text. */
  readonly metadata: ReadonlyMap<string, string | number | boolean | null>;
  /** What the file is where it holds neither weights nor an optimizer's state: "state of a scheduler". */
  readonly withoutWeights?: string;
  /** The parameters of each state_dict in the order of the model, tied ones once (PyTorch). */
  readonly stateDicts?: readonly (readonly TensorInfo[])[];
  /** Optimizers whose parameters are not in this file: their names may be in another file of its folder. */
  readonly unnamedOptimizers?: readonly SavedOptimizer[];
  /** Damage that leaves the rest readable. */
  readonly errors: readonly ErrorRecord[];
  /** Reads one whole tensor, in row-major order. Touches only the bytes of this tensor. */
  read(name: string): Promise<TensorData>;
  /**
   * Where the bytes of its files went: tensors are its records. Several files count as one after another, an index before
   * its shards.
   *
   * @param unreadable tensors that turned out damaged when they were read, and how
   */
  account(unreadable?: ReadonlyMap<string, LossReason>): Promise<Account>;
  /**
   * The same in pieces of at most a few MiB, for tensors larger than memory should hold.
   *
   * @param as `bits`: floats of 16 bits come as they are stored, in a Uint16Array, from a format that stores them plainly
   */
  stream(name: string, as?: 'bits'): AsyncIterable<TensorData>;
  /**
   * Reads a tensor into an array of its length, from a format that may store it as it lies in memory.
   *
   * @returns whether it did: not where the type is another, or the order of the bytes
   */
  fill?(name: string, values: Float32Array | Float64Array): Promise<boolean>;
  /** Reads what holds the tensors to its end, where a container has a checksum over it. @throws checksum-mismatch */
  verify?(): Promise<void>;
  close(): Promise<void>;
}

export interface TensorStatistics {
  /** Numbers looked at; a complex element counts as its two parts. */
  readonly count: number;
  /** Float64 sum of the finite entries. */
  readonly sum: number;
  /** Euclidean norm of the finite entries. */
  readonly norm: number;
  /** Of the finite entries; null where there is none. 64-bit integers are rounded to float64. */
  readonly min: number | null;
  readonly max: number | null;
  readonly nan: number;
  readonly posInf: number;
  readonly negInf: number;
}

/** `non-finite`, `all-zero` and `constant` (more than one entry) are exact; `exploding` is a size that trained networks stay far below. */
export type TensorFlag = 'non-finite' | 'all-zero' | 'constant' | 'exploding';

/** A tensor; without statistics where only the headers were read or where it cannot be read. */
export interface InspectedTensor extends TensorInfo, Partial<Omit<TensorStatistics, 'count'>> {
  readonly flags: readonly TensorFlag[];
}

export interface InspectedCheckpoint {
  readonly path: string;
  readonly kind: 'checkpoint';
  readonly format: string;
  readonly framework: string | null;
  readonly step: number | null;
  /** What the file is where it holds neither weights nor an optimizer's state. */
  readonly withoutWeights?: string;
  readonly metadata: Checkpoint['metadata'];
  readonly errors: readonly ErrorRecord[];
  readonly account: Account;
  readonly tensors: readonly InspectedTensor[];
}
