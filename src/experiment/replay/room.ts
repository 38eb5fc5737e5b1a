/** The arrays that a step works on: made once, grown to the largest tensor, used again for the next. */
import type { Heap } from '../../step/kernels/heap.ts';
import type { Slots } from '../../step/optimizers/optimizer.ts';
import { allocate, elementsOf, type Precision, type Values } from '../../step/tensor/values.ts';
import type { Gradient, TensorState } from './tensors.ts';

/** The arrays that a step works on for one tensor. */
export interface View {
  readonly g: Values;
  readonly w: Values;
  readonly slots: Slots;
  /** Of a dry step, where `slots` are the tensor's own: a copy that may be written to. */
  readonly copySlots: (() => Slots) | undefined;
  /** Index in the whole tensor of an entry, or of a unit, of this view. */
  entry(index: number): number;
  unit(index: number): number;
  /** Puts gathered rows back. */
  store(): void;
}

const same = (index: number): number => index;
const nothing = (): void => {};

const MOST_VIEWS = 64;

export type Room = ReturnType<typeof createRoom>;

/** Buffers by name that grow to the largest tensor and stay. */
export function createRoom(precision: Precision, heap?: Heap) {
  // The views of each buffer stay too: making one costs more than a step of a small tensor.
  const buffers = new Map<string, { readonly buffer: Values; readonly views: Map<number, Values> }>();
  const get = (name: string, length: number): Values => {
    let kept = buffers.get(name);
    if (kept === undefined || kept.buffer.length < length) {
      kept = { buffer: heap?.allocate(length) ?? allocate(precision, length), views: new Map() };
      buffers.set(name, kept);
    }
    let view = kept.views.get(length);
    if (view === undefined) {
      view = kept.buffer.subarray(0, length);
      // Rows of embeddings come in any number.
      if (kept.views.size >= MOST_VIEWS) kept.views.clear();
      kept.views.set(length, view);
    }
    return view;
  };

  /** Rows of an array, gathered into a buffer. */
  const gather = (name: string, from: Values, rows: Int32Array, width: number): Values => {
    const to = get(name, rows.length * width);
    for (let k = 0; k < rows.length; k++) {
      const start = rows[k]! * width;
      to.set(from.subarray(start, start + width), k * width);
    }
    return to;
  };

  const slotNames = (tensor: TensorState): string[] => Object.keys(tensor.slots);
  const mapSlots = (tensor: TensorState, map: (name: string, slot: Values) => Values): Slots =>
    Object.fromEntries(slotNames(tensor).map((name) => [name, map(name, tensor.slots[name]!)]));

  const copied = (name: string, slot: Values): Values => {
    const copy = get(`slot/${name}`, slot.length);
    copy.set(slot);
    return copy;
  };

  /** A tensor as its step sees it. `byRows`: a sparse gradient touches its rows alone. */
  function view(tensor: TensorState, gradient: Gradient, byRows: boolean, dry: boolean): View {
    const { values, rows } = gradient;
    if (rows === undefined || !byRows) {
      let g = values;
      if (rows !== undefined) {
        const width = rows.length === 0 ? 0 : values.length / rows.length;
        g = get('dense', tensor.w.length).fill(0);
        for (let k = 0; k < rows.length; k++)
          g.set(values.subarray(k * width, (k + 1) * width), rows[k]! * width);
      }
      return {
        g,
        w: tensor.w,
        slots: tensor.slots,
        copySlots: dry ? () => mapSlots(tensor, copied) : undefined,
        entry: same,
        unit: same,
        store: nothing,
      };
    }
    return viewOfRows(tensor, values, rows);
  }

  /** The rows of a tensor that a sparse gradient touches. */
  function viewOfRows(tensor: TensorState, values: Values, rows: Int32Array): View {
    const width = elementsOf(tensor.shape.slice(1));
    const w = gather('w', tensor.w, rows, width);
    const slots = mapSlots(tensor, (name, slot) => gather(`slot/${name}`, slot, rows, width));
    const scatter = (from: Values, to: Values): void => {
      for (let k = 0; k < rows.length; k++)
        to.set(from.subarray(k * width, (k + 1) * width), rows[k]! * width);
    };
    return {
      g: values,
      w,
      slots,
      copySlots: undefined,
      entry: (index) => (rows.length === 0 ? 0 : rows[Math.floor(index / width)]! * width + (index % width)),
      unit: (index) => rows[index] ?? 0,
      store: () => {
        scatter(w, tensor.w);
        for (const name of slotNames(tensor)) scatter(slots[name]!, tensor.slots[name]!);
      },
    };
  }
  return { get, view };
}
