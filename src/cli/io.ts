/**
 * What a command sees of the world around it: streams, environment, clock, signals. The process gives it its own
 * ({@link processIo}), a test whatever it wants to look at.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { EXIT, type ExitCode } from '../model/errors.ts';

/** A stream that is written to; `done` is called when the bytes are with the kernel, or with what went wrong. */
export interface OutputStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  /** Where it has one: a child process may write there too. */
  readonly fd?: number | undefined;
  write(text: string, done?: (error?: Error | null) => void): unknown;
}

export interface Io {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since 1970. */
  now(): number;
  /** Settles after so many milliseconds, or as soon as the signal is aborted. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Calls the listener with the exit code of a signal that asks the program to end; returns how to stop that. */
  onEnd(listener: (code: ExitCode) => void): () => void;
}

/**
 * A stream of the process. Whatever goes wrong reaches the writer by the callback of its write: oclif, wherever it is
 * loaded, adds a listener that throws it out of the event loop instead, where nothing can catch it.
 */
const checked = (stream: NodeJS.WriteStream & { readonly fd: number }): OutputStream => ({
  get isTTY() {
    return stream.isTTY;
  },
  get columns() {
    return stream.columns;
  },
  get rows() {
    return stream.rows;
  },
  fd: stream.fd,
  write(text, done) {
    stream.removeAllListeners('error').on('error', () => {});
    return stream.write(text, done);
  },
});

/** The streams, the environment, the clock and the signals of this process. */
export const processIo = (): Io => ({
  stdout: checked(process.stdout),
  stderr: checked(process.stderr),
  // Opened only where it is read.
  stdin: { [Symbol.asyncIterator]: () => process.stdin[Symbol.asyncIterator]() },
  env: process.env,
  now: Date.now,
  sleep: (milliseconds, signal) => wait(milliseconds, undefined, { signal }).catch(() => {}),
  onEnd(listener) {
    const interrupted = (): void => listener(EXIT.interrupted);
    const terminated = (): void => listener(EXIT.terminated);
    process.once('SIGINT', interrupted);
    process.once('SIGTERM', terminated);
    return () => {
      process.off('SIGINT', interrupted);
      process.off('SIGTERM', terminated);
    };
  },
});
