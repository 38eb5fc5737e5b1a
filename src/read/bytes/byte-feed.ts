/** Streams of bytes of which a few are looked at, or skipped, at a time. */
export interface ByteFeed {
  /** What is at hand; valid until more is asked for. */
  bytes(): Uint8Array;
  /** Bytes skipped so far. */
  position(): number;
  skip(count: number): void;
  /** Pulls until so many bytes are at hand; false if the stream ends before. */
  need(count: number): Promise<boolean>;
  close(): Promise<void>;
}

/** A stream of bytes of which a few are looked at, or skipped, at a time. */
export function byteFeed(chunks: AsyncIterable<Uint8Array>): ByteFeed {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array(0);
  let position = 0;
  return {
    bytes: () => held,
    position: () => position,
    skip(count) {
      held = held.subarray(count);
      position += count;
    },
    async need(count) {
      while (held.length < count) {
        // What is left is copied: a chunk is valid only until the next one is asked for.
        const left = Buffer.from(held);
        const next = await iterator.next();
        if (next.done === true) {
          held = left;
          return false;
        }
        held = left.length === 0 ? next.value : Buffer.concat([left, next.value]);
      }
      return true;
    },
    close: async () => {
      await iterator.return?.();
    },
  };
}

/** Reads on to the end; how many bytes there were. */
export async function restOf(feed: ByteFeed): Promise<number> {
  let count = 0;
  while (await feed.need(1)) {
    count += feed.bytes().length;
    feed.skip(feed.bytes().length);
  }
  return count;
}
