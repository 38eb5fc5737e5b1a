/** A stream of bytes from which records are taken; holds what was asked for and nothing else. */
export interface ByteQueue {
  readonly bytes: Buffer<ArrayBufferLike>;
  /** Index in `bytes` of what comes next. */
  readonly at: number;
  /** Offset in the stream of what comes next. */
  readonly position: number;
  available(): number;
  skip(count: number): void;
  /** Pulls until so many bytes are there; false if the stream ends before. Awaiting it costs more than most records. */
  need(count: number): Promise<boolean>;
}

export function byteQueue(chunks: AsyncIterable<Uint8Array>): ByteQueue {
  const iterator = chunks[Symbol.asyncIterator]();
  const queue = {
    bytes: Buffer.alloc(0) as Buffer<ArrayBufferLike>,
    at: 0,
    position: 0,
    available: (): number => queue.bytes.length - queue.at,
    skip(count: number): void {
      queue.at += count;
      queue.position += count;
    },
    async need(count: number): Promise<boolean> {
      // The rest is copied: a chunk is valid only until the next one is asked for.
      const parts: Buffer<ArrayBufferLike>[] = [Buffer.from(queue.bytes.subarray(queue.at))];
      let have = parts[0]!.length;
      while (have < count) {
        const next = await iterator.next();
        if (next.done === true) break;
        const { buffer, byteOffset, byteLength } = next.value;
        const chunk = Buffer.from(buffer, byteOffset, byteLength);
        have += chunk.length;
        parts.push(have < count ? Buffer.from(chunk) : chunk);
      }
      queue.bytes = Buffer.concat(parts);
      queue.at = 0;
      return have >= count;
    },
  };
  return queue;
}
