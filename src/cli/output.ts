/**
 * Checked writes to standard output and error. `console.log` to a full disk exits 0 and `process.exit` after a piped
 * write loses data; here a write settles when the bytes are with the kernel, a full disk is code 5, and a pipe that
 * its reader closed is quiet.
 */
import { diagError, EXIT } from '../model/errors.ts';

let readerGone = false;

const write = (stream: NodeJS.WriteStream, text: string): Promise<void> =>
  new Promise((resolve, reject) => {
    if (readerGone && stream === process.stdout) {
      resolve();
      return;
    }
    const fail = (error: Error): void => {
      stream.off('error', fail);
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') {
        readerGone = true;
        // The verdict's code stands if it is known (product.md), else the report did not get out.
        process.exitCode ??= EXIT.output;
        resolve();
      } else {
        const reason =
          (error as NodeJS.ErrnoException).code === 'ENOSPC' ? 'no space left on the device' : error.message;
        reject(diagError('output-unwritable', { path: 'standard output', reason }, undefined, error));
      }
    };
    // Stays on the stream: an error may also be emitted after the callback, and unheard it would be an exception.
    stream.on('error', fail);
    stream.write(text, (error) => {
      if (error) fail(error);
      else {
        stream.off('error', fail);
        resolve();
      }
    });
  });

/** Writes to standard output. @throws output-unwritable */
export const writeOut = (text: string): Promise<void> => write(process.stdout, text);

/** Writes to standard error; a standard error that is gone is no reason to fail. */
export const writeErr = (text: string): Promise<void> => write(process.stderr, text).catch(() => {});
