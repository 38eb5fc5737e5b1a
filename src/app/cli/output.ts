/**
 * Checked writes to standard output and error. `console.log` to a full disk exits 0 and `process.exit` after a piped
 * write loses data; here a write settles when the bytes are with the kernel, a full disk is code 5, and a pipe that
 * its reader closed is quiet. What could not be written ends no command: what it finds out may outrank that.
 */
import { type DiagError, diagError, EXIT, type ExitCode } from '../../model/errors.ts';
import { inert, inertButColours, inertOutput } from '../../model/inert-text.ts';
import { toJson } from '../../model/json.ts';
import type { JsonDocument } from './documents.ts';
import { formatError } from './error-text.ts';
import type { Io, OutputStream } from './io.ts';

/** How a command prints; every promise settles when the bytes are written. */
export interface Output {
  /** Prints text to standard output as it is: a document, or commands to a CI server. */
  write(text: string): Promise<void>;
  /**
   * Prints text to standard output, with a line end; a name in it is no command to a CI server, and nothing but colours
   * steers a terminal.
   */
  print(text: string): Promise<void>;
  /** Prints the one JSON document of `--json`. */
  printJson(document: JsonDocument): Promise<void>;
  /** A quiet remark with the report, on standard error; a closed standard error is no reason to fail. */
  remark(text: string): Promise<void>;
  /** Whether the reader of standard output closed its pipe: nothing more is written to it. */
  readerGone(): boolean;
  /** Reports, once, what cannot be written. The command continues and ends with 5 if nothing else outranks that. */
  unwritten(error: DiagError): Promise<void>;
  /** 5 where something was reported so, else 0. */
  unwrittenCode(): ExitCode;
}

const send = (stream: OutputStream, text: string): Promise<NodeJS.ErrnoException | undefined> =>
  new Promise((resolve) => stream.write(text, (error) => resolve(error ?? undefined)));

export function outputTo({ stdout, stderr }: Pick<Io, 'stdout' | 'stderr'>): Output {
  let gone = false;
  let full = false;
  const told = new Set<DiagError>();
  const line = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`);
  const remark = async (text: string): Promise<void> => {
    await send(stderr, inertOutput(inert(line(text))));
  };
  const unwritten = async (error: DiagError): Promise<void> => {
    if (told.has(error)) return;
    told.add(error);
    await remark(formatError(error));
  };
  const write = async (text: string): Promise<void> => {
    if (gone || full) return;
    const error = await send(stdout, text);
    if (error === undefined) return;
    if (error.code === 'EPIPE') {
      gone = true;
      return;
    }
    full = true;
    const reason = error.code === 'ENOSPC' ? 'no space left on the device' : error.message;
    await unwritten(diagError('output-unwritable', { path: 'standard output', reason }, undefined, error));
  };
  return {
    write,
    print: (text) => write(inertOutput(inertButColours(line(text)))),
    printJson: (document) => write(`${toJson(document)}\n`),
    remark,
    readerGone: () => gone,
    unwritten,
    unwrittenCode: () => (told.size > 0 ? EXIT.output : EXIT.done),
  };
}
