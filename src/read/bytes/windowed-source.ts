/** Slices that lie close together cost one read of the source. */
import type { ByteSource } from './source.ts';

/**
 * A source that reads at least `window` bytes at a time and keeps the last of them, for walks over small structures.
 * Slices larger than the window are passed on. Closing it leaves the other open.
 */
export function windowedSource(source: ByteSource, window: number): ByteSource {
  let start = 0;
  let bytes: Uint8Array = new Uint8Array(0);
  return {
    path: source.path,
    byteLength: source.byteLength,
    slice: async (from, to) => {
      if (to - from > window) return source.slice(from, to);
      if (from < start || to > start + bytes.length) {
        bytes = await source.slice(from, Math.max(to, Math.min(from + window, source.byteLength)));
        start = from;
      }
      return bytes.subarray(from - start, to - start);
    },
    close: async () => {},
  };
}
