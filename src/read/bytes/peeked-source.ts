/** Sources of which the first bytes were looked at, to tell what they are. */
import type { ByteSource } from './source.ts';

export interface PeekedSource extends ByteSource {
  /** The first bytes; slices of them are not read again. */
  readonly head: Uint8Array;
  /** Frees the memory of the head: from here on its bytes are read where they are asked for. */
  forgetHead(): void;
}

/** Reads the first bytes of a source (at most `length`), which it owns from here on. */
export async function peekSource(source: ByteSource, length: number): Promise<PeekedSource> {
  let head = await source.slice(0, Math.min(length, source.byteLength));
  return {
    path: source.path,
    byteLength: source.byteLength,
    get head() {
      return head;
    },
    forgetHead: () => {
      head = new Uint8Array(0);
    },
    slice: async (start, end) => {
      if (start >= head.length) return source.slice(start, end);
      if (end <= head.length) return head.subarray(start, end);
      const known = head.subarray(start);
      const rest = await source.slice(start + known.length, end);
      const whole = new Uint8Array(end - start);
      whole.set(known);
      whole.set(rest, known.length);
      return whole;
    },
    close: () => source.close(),
  };
}
