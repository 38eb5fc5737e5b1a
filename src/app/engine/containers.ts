/** Files that hold other files: archives, whose members are files, and notebooks, whose cells are texts. */
import { DiagError, diagError } from '../../model/errors.ts';
import { readChunks } from '../../read/bytes/chunks.ts';
import { compressionOf } from '../../read/bytes/compression.ts';
import { isBinary } from '../../read/bytes/encoding.ts';
import { type ByteSource, bytesSource } from '../../read/bytes/source.ts';
import { isTar, tarMembers } from '../../read/bytes/tar.ts';
import { looksLikeZip, openZip } from '../../read/bytes/zip.ts';
import { isNotebook, notebookOutputs } from '../../read/logs/notebook.ts';

/** A file in a file, a file in it that was not read and why, or what is wrong with the container. */
export type Contained =
  | { readonly kind: 'member'; readonly source: ByteSource }
  | { readonly kind: 'passed'; readonly path: string; readonly reason: string }
  | { readonly kind: 'error'; readonly error: DiagError };

export interface Container {
  readonly kind: 'archive' | 'notebook';
  /** What it holds, in order, one at a time in memory; of an archive only members with names that are wanted. */
  contents(isWanted?: (name: string) => boolean): AsyncIterable<Contained>;
  /** Names of the members, where the archive lists them without being read through. */
  names(): Promise<readonly string[]>;
}

/** Bytes of a member: one is kept in memory while it is read. */
const LARGEST_MEMBER = 256 << 20;
/** Bytes of all members of an archive that are looked at. */
const LARGEST_ARCHIVE = 4 * 2 ** 30;
/** Bytes of a notebook, pictures included. */
const LARGEST_NOTEBOOK = 256 << 20;

/**
 * The container that a file is; undefined for any other file.
 *
 * @param head its first bytes, decompressed
 */
export function containerOf(
  source: ByteSource,
  head: Uint8Array,
  rawHead: Uint8Array,
): Container | undefined {
  const names = async (): Promise<readonly string[]> => [];
  if (looksLikeZip(rawHead))
    return {
      kind: 'archive',
      contents: (isWanted) => withinLimit(zipContents(source, isWanted)),
      names: () =>
        openZip(source).then(
          (members) => [...members.keys()],
          () => [],
        ),
    };
  if (isTar(head))
    return { kind: 'archive', contents: () => withinLimit(tarContents(source, rawHead)), names };
  if (isNotebook(head)) return { kind: 'notebook', contents: () => cellContents(source, rawHead), names };
  return undefined;
}

const memberOf = (container: ByteSource, name: string, bytes: Uint8Array): Contained => ({
  kind: 'member',
  source: bytesSource(`${container.path}!${name}`, bytes),
});

const tooLarge = (path: string, found: number, limit: number): Contained => ({
  kind: 'error',
  error: diagError(
    'limit-exceeded',
    { what: `the number of bytes of ${path}`, found, limit, hint: 'unpack it and name the file' },
    { path },
  ),
});

/** Ends an archive that holds more than any would. */
async function* withinLimit(contents: AsyncIterable<Contained>): AsyncGenerator<Contained> {
  let bytes = 0;
  for await (const one of contents) {
    yield one;
    if (one.kind !== 'member') continue;
    bytes += one.source.byteLength;
    if (bytes > LARGEST_ARCHIVE) {
      yield tooLarge(one.source.path.replace(/!.*$/s, ''), bytes, LARGEST_ARCHIVE);
      return;
    }
  }
}

async function* zipContents(
  source: ByteSource,
  isWanted: (name: string) => boolean = () => true,
): AsyncGenerator<Contained> {
  for (const member of (await openZip(source)).values()) {
    if (!isWanted(member.name)) continue;
    const path = `${source.path}!${member.name}`;
    if (member.byteLength > LARGEST_MEMBER) {
      yield tooLarge(path, member.byteLength, LARGEST_MEMBER);
      continue;
    }
    try {
      yield memberOf(source, member.name, await member.read(LARGEST_MEMBER));
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      yield { kind: 'error', error };
    }
  }
}

async function* tarContents(source: ByteSource, rawHead: Uint8Array): AsyncGenerator<Contained> {
  const { path } = source;
  let damage: DiagError | undefined;
  const compression = compressionOf(rawHead);
  const chunks =
    compression?.decompress(readChunks(source), path, (error) => {
      damage = error;
    }) ?? readChunks(source);
  const torn = (): void => {
    damage ??= diagError('archive-torn', { format: 'tar', path }, { path });
  };
  for await (const { name, byteLength, bytes } of tarMembers(chunks, path, LARGEST_MEMBER, torn)) {
    if (byteLength <= LARGEST_MEMBER) yield memberOf(source, name, bytes);
    else if (isBinary(bytes.subarray(0, 1 << 16)))
      yield { kind: 'passed', path: `${path}!${name}`, reason: 'a large binary file in an archive' };
    else yield tooLarge(`${path}!${name}`, byteLength, LARGEST_MEMBER);
  }
  if (damage !== undefined) yield { kind: 'error', error: damage };
}

async function* cellContents(source: ByteSource, rawHead: Uint8Array): AsyncGenerator<Contained> {
  const { path } = source;
  const compression = compressionOf(rawHead);
  const chunks = compression?.decompress(readChunks(source), path, () => {}) ?? readChunks(source);
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > LARGEST_NOTEBOOK) {
      yield tooLarge(path, bytes, LARGEST_NOTEBOOK);
      return;
    }
    parts.push(Buffer.from(chunk));
  }
  const outputs = notebookOutputs(Buffer.concat(parts).toString('utf8'));
  if (outputs === undefined) {
    yield { kind: 'error', error: diagError('notebook-malformed', { path }, { path }) };
    return;
  }
  for (const { name, text } of outputs) yield memberOf(source, name, Buffer.from(text));
}
