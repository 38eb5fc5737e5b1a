/**
 * Checked writes to standard output and error. `console.log` to a full disk exits 0 and `process.exit` after a piped
 * write loses data; here a write settles when the bytes are with the kernel, a full disk is code 5, and a pipe that
 * its reader closed is quiet.
 */
import { diagError, EXIT } from '../model/errors.ts';

let readerGone = false;

/**
 * Takes over the error events of both streams: oclif's own listener throws what is no EPIPE out of the event loop,
 * where no command can catch it. What went wrong reaches the caller by the callback of its write.
 */
export function ownOutputErrors(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error');
    stream.on('error', () => {});
  }
}

const write = (stream: NodeJS.WriteStream, text: string): Promise<void> =>
  new Promise((resolve, reject) => {
    if (readerGone && stream === process.stdout) {
      resolve();
      return;
    }
    stream.write(text, (error) => {
      const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
      if (!error) resolve();
      else if (code === 'EPIPE') {
        readerGone = true;
        // The verdict's code stands if it is known (docs/exit-codes.md), else the report did not get out.
        process.exitCode ??= EXIT.output;
        resolve();
      } else {
        const reason = code === 'ENOSPC' ? 'no space left on the device' : error.message;
        reject(diagError('output-unwritable', { path: 'standard output', reason }, undefined, error));
      }
    });
  });

/** Writes to standard output. @throws output-unwritable */
export const writeOut = (text: string): Promise<void> => write(process.stdout, text);

/** Writes to standard error; a standard error that is gone is no reason to fail. */
export const writeErr = (text: string): Promise<void> => write(process.stderr, text).catch(() => {});
