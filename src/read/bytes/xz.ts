/** xz streams, decoded by xz-embedded (WebAssembly), which allows dictionaries of at most 64 MiB. */
import xz from 'xz-decompress';
import { diagError } from '../../model/errors.ts';
import type { OnDamage } from './stream-damage.ts';

/** Bytes that are decoded at once: what was decoded of a damaged piece is lost. */
const PIECE_BYTES = 16 << 10;
/** What xz-embedded says when input ends within a stream. */
const NO_PROGRESS = /error code 8\b/;

/** The decoder works on one stream at a time: another one would wait for it without end. */
let isBusy = false;

/** The content of an xz stream; see {@link OnDamage} for what happens at damage. */
export async function* xzChunks(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  onDamage: OnDamage,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let ended = false;
  const fail = (reason: string, damage: 'torn' | 'damaged'): void =>
    onDamage(diagError('stream-damaged', { path, format: 'xz', bytes, reason }, { path }), damage);
  if (isBusy) return fail('it lies within another xz file', 'damaged');
  const iterator = pieces(chunks)[Symbol.asyncIterator]();
  const input = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await iterator.next();
        ended = next.done === true;
        // The decoder does not ask whether there is more: an empty piece makes it say that it got nowhere.
        controller.enqueue(next.done === true ? new Uint8Array(0) : next.value);
      },
      async cancel() {
        await iterator.return?.(undefined);
      },
    },
    { highWaterMark: 0 },
  );
  isBusy = true;
  const reader = new xz.XzReadableStream(input).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      bytes += value.length;
      if (value.length > 0) yield value;
    }
  } catch (error) {
    const isTorn = ended && NO_PROGRESS.test(String(error));
    fail(isTorn ? 'unexpected end of file' : 'its data is damaged', isTorn ? 'torn' : 'damaged');
  } finally {
    isBusy = false;
    await reader.cancel(undefined).catch(() => {});
    await iterator.return?.(undefined);
  }
}

async function* pieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += PIECE_BYTES)
      yield Uint8Array.from(chunk.subarray(at, at + PIECE_BYTES));
}
