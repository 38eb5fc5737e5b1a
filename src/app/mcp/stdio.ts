/** The protocol over the streams of a command: one JSON message a line. */
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/sdk/shared/stdio.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';

/** Bytes of a message, at most. */
const MOST_MESSAGE = 4 * 2 ** 20;

/**
 * A transport over a stream that is read and a function that writes.
 *
 * @returns the transport, and a promise that settles when the stream ended and every request was answered
 */
export function streamTransport(
  input: AsyncIterable<Uint8Array>,
  write: (text: string) => Promise<void>,
): { readonly transport: Transport; readonly ended: Promise<void> } {
  let finish = (): void => {};
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const unanswered = new Set<string | number>();
  let isOver = false;
  const settle = (): void => {
    if (isOver && unanswered.size === 0) finish();
  };
  const transport: Transport = {
    async start() {
      const read = async (): Promise<void> => {
        const buffer = new ReadBuffer();
        let waiting = 0;
        for await (const part of input) {
          waiting += part.length;
          if (waiting > MOST_MESSAGE) throw new Error('a message of more than 4 MiB');
          buffer.append(Buffer.from(part));
          for (let message = next(buffer); message !== null; message = next(buffer)) {
            waiting = 0;
            if (message === 'unreadable') continue;
            if ('method' in message && 'id' in message && message.id !== undefined)
              unanswered.add(message.id);
            if ('method' in message && message.method === 'notifications/cancelled')
              unanswered.delete((message.params as { requestId: string | number }).requestId);
            transport.onmessage?.(message);
          }
        }
      };
      read()
        .catch((error: unknown) => transport.onerror?.(error as Error))
        .finally(() => {
          isOver = true;
          settle();
        });
    },
    async send(message) {
      await write(serializeMessage(message));
      if ('id' in message && !('method' in message) && message.id !== undefined)
        unanswered.delete(message.id);
      settle();
    },
    async close() {
      transport.onclose?.();
      finish();
    },
  };
  return { transport, ended };
}

function next(buffer: ReadBuffer): ReturnType<ReadBuffer['readMessage']> | 'unreadable' {
  try {
    return buffer.readMessage();
  } catch {
    return 'unreadable';
  }
}
