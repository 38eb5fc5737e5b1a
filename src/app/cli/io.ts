/**
 * What a command sees of the world around it: streams, environment, clock, signals. The process gives it its own
 * ({@link processIo}), a test whatever it wants to look at.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { EXIT, type ExitCode } from '../../model/errors.ts';

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
  /** Milliseconds of processor time that the process took so far. */
  processorTime(): number;
  /** Of a process that goes on for long: collects garbage sooner, so that memory stays near what is in use. */
  readonly saveMemory?: () => void;
  /** Settles after so many milliseconds, or as soon as the signal is aborted. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Calls the listener with the exit code of a signal that asks the program to end; returns how to stop that. */
  onEnd(listener: (code: ExitCode) => void): () => void;
  /**
   * Takes the keyboard of the terminal, where there is one: the listener gets what is typed as it is typed, and nothing
   * (`''`) where the screen must be drawn anew: after another size, and after the program was stopped and goes on. Writes
   * `open` to the terminal, and `close` on every way out, signals included. Returns how to give the keyboard back.
   */
  readonly takeTerminal?: (
    screen: { readonly open: string; readonly close: string },
    listener: (typed: string) => void,
  ) => () => void;
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

/** Percent of what is in use by which {@link Io.saveMemory} has the heap grow before a collection; V8 by itself takes up to 300. */
const GARBAGE = 20;

/** V8's room for what is new grows to 33 MB where a look makes much at once, and then stays so. This keeps it small. */
function saveMemory(): void {
  setFlagsFromString(`--heap-growing-percent=${GARBAGE}`);
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** The streams, the environment, the clock and the signals of this process. */
export function processIo(): Io {
  const listeners = new Set<(code: ExitCode) => void>();
  const end = (code: ExitCode): void => {
    for (const listener of listeners) listener(code);
  };
  return {
    stdout: checked(process.stdout),
    stderr: checked(process.stderr),
    // Opened only where it is read.
    stdin: { [Symbol.asyncIterator]: () => process.stdin[Symbol.asyncIterator]() },
    env: process.env,
    now: Date.now,
    processorTime: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    saveMemory,
    sleep: (milliseconds, signal) => wait(milliseconds, undefined, { signal }).catch(() => {}),
    onEnd(listener) {
      const interrupted = (): void => listener(EXIT.interrupted);
      const terminated = (): void => listener(EXIT.terminated);
      process.once('SIGINT', interrupted);
      process.once('SIGTERM', terminated);
      listeners.add(listener);
      return () => {
        process.off('SIGINT', interrupted);
        process.off('SIGTERM', terminated);
        listeners.delete(listener);
      };
    },
    ...(process.stdin.isTTY === true && process.stdout.isTTY === true
      ? { takeTerminal: (screen, listener) => takeTerminal(screen, listener, end) }
      : {}),
  };
}

const CTRL_C = '\u0003';
const CTRL_Z = '\u001a';
/** Windows stops no process for a while. */
const HAS_STOP = process.platform !== 'win32';

/** {@link Io.takeTerminal}; `end` gets the signals that otherwise end the process silently. */
function takeTerminal(
  { open, close }: { readonly open: string; readonly close: string },
  listener: (typed: string) => void,
  end: (code: ExitCode) => void,
): () => void {
  const { stdin, stdout } = process;
  let taken = false;
  const take = (): void => {
    taken = true;
    stdin.setRawMode(true);
    stdout.write(open);
  };
  const giveBack = (): void => {
    if (!taken) return;
    taken = false;
    stdin.setRawMode(false);
    stdout.write(close);
  };
  const typed = (text: string): void => {
    // In raw mode the terminal makes no signals of keys.
    if (text.includes(CTRL_C)) end(EXIT.interrupted);
    else if (text.includes(CTRL_Z) && HAS_STOP) {
      giveBack();
      process.kill(process.pid, 'SIGTSTP');
    } else listener(text);
  };
  const continued = (): void => {
    take();
    listener('');
  };
  const resized = (): void => listener('');
  const lost = (): void => end(EXIT.terminated);
  // A closed terminal sends a signal too.
  const ignore = (): void => {};
  take();
  stdin.setEncoding('utf8').on('data', typed).on('error', ignore).resume();
  stdout.on('resize', resized);
  process.on('SIGCONT', continued);
  for (const signal of ['SIGHUP', 'SIGQUIT'] as const) process.on(signal, lost);
  process.on('exit', giveBack);
  return () => {
    giveBack();
    stdin.off('data', typed).off('error', ignore).pause();
    stdout.off('resize', resized);
    process.off('SIGCONT', continued);
    for (const signal of ['SIGHUP', 'SIGQUIT'] as const) process.off(signal, lost);
    process.off('exit', giveBack);
  };
}
