/**
 * A temporary file for the numbers of logs that are watched: what a watcher holds in memory hardly grows with the logs.
 *
 * It has no name: nobody finds it, and it is gone when the process is. A block is written once: of columns that are made
 * again at each look only what is new.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Away, BLOCK_BYTES, type BlockRoom } from '../../model/column.ts';

/** Where temporary files go that may be large: `/tmp` lies in memory on many a system. */
const folders = (): readonly string[] =>
  process.env.TMPDIR === undefined && process.platform !== 'win32' ? ['/var/tmp', tmpdir()] : [tmpdir()];

/** Makes a folder that only this user can open. */
function newFolder([first, ...others]: readonly string[]): string {
  try {
    return mkdtempSync(join(first!, 'clippy-diag-'));
  } catch (error) {
    if (others.length === 0) throw error;
    return newFolder(others);
  }
}

/** Opens a file that has no name. */
function openNameless(): number {
  const folder = newFolder(folders());
  let file: number | undefined;
  try {
    file = openSync(join(folder, 'numbers'), 'wx+', 0o600);
    return file;
  } finally {
    remove(folder, file);
  }
}

/** Windows removes no file that is open: there it goes with the process. */
function remove(folder: string, file: number | undefined): void {
  const now = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    now();
  } catch {
    process.once('exit', () => {
      try {
        if (file !== undefined) closeSync(file);
        now();
      } catch {
        // It lies among other temporary files.
      }
    });
  }
}

/** FNV-1a over words of four bytes, of which every block has whole ones. */
function hashOf(words: Uint32Array, kind: number): number {
  let hash = 0x811c9dc5 ^ kind;
  for (let k = 0; k < words.length; k++) {
    hash = Math.imul(hash ^ words[k]!, 0x01000193);
    // The upper bits of floats differ: they shall move the lower ones.
    hash ^= hash >>> 15;
  }
  return hash;
}

const bytesAsWritten = Buffer.alloc(BLOCK_BYTES);

export class BlockFile implements BlockRoom {
  private file: number | undefined;
  private isFull = false;
  /** How many places were ever used. */
  private places = 0;
  /** Places of blocks that no column refers to. */
  private readonly free: number[] = [];
  /** By the hash of its bytes; and the hash by its place. */
  private readonly known = new Map<number, WeakRef<Away>>();
  private readonly hashes: number[] = [];
  private readonly forgotten = new FinalizationRegistry<number>((place) => {
    const hash = this.hashes[place]!;
    if (this.known.get(hash)?.deref() === undefined) this.known.delete(hash);
    this.free.push(place);
  });

  /** @param tell gets, once, a sentence that says why numbers stay in memory */
  constructor(private readonly tell: (why: string) => void) {}

  put(bytes: Uint8Array, kind: number): Away | undefined {
    const hash = hashOf(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), kind);
    const known = this.known.get(hash)?.deref();
    if (known?.kind === kind && this.has(known.place, bytes)) return known;
    const place = this.free.pop() ?? this.places++;
    if (!this.write(place, bytes)) {
      this.free.push(place);
      return undefined;
    }
    const away = new Away(this, place, kind);
    this.hashes[place] = hash;
    this.known.set(hash, new WeakRef(away));
    this.forgotten.register(away, place);
    return away;
  }

  get(place: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const read = readSync(this.file!, into, done, into.length - done, place * BLOCK_BYTES + done);
      if (read === 0) throw new Error('the temporary file of numbers was cut');
      done += read;
    }
  }

  /** Whether a block is the one at a place, which has as many bytes. */
  private has(place: number, bytes: Uint8Array): boolean {
    const there = bytesAsWritten.subarray(0, bytes.length);
    this.get(place, there);
    return there.equals(bytes);
  }

  /** @returns false where there is no file, or it takes no more: what is there can still be read */
  private write(place: number, bytes: Uint8Array): boolean {
    if (this.isFull) return false;
    try {
      this.file ??= openNameless();
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.file, bytes, done, bytes.length - done, place * BLOCK_BYTES + done);
      return true;
    } catch (error) {
      this.isFull = true;
      this.tell(
        `numbers of the logs stay in memory from here on: the folder for temporary files takes no more (${(error as Error).message}); TMPDIR sets another`,
      );
      return false;
    }
  }
}
