/**
 * Follows a growing file: reports what changed since the last look, and keeps what a rotation moved away readable. It looks
 * when asked and trusts only a freshly opened file: network file systems deliver no events, and their cached sizes are old.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { diagError } from '../../model/errors.ts';
import { kindOfPath, unreadable } from './source.ts';

/** A stretch of content under one path, from its appearance to its rotation or truncation. */
export interface Generation {
  /** Bytes that it had at the last look. */
  readonly size: number;
  /** Its bytes are no more: the file was truncated or overwritten in place. */
  readonly gone: boolean;
  /** The bytes from `start` (default 0) up to `end` (default and at most `size`). A chunk is valid until the next one is asked for. */
  read(start?: number, end?: number): AsyncGenerator<Buffer>;
}

export interface Follower {
  /**
   * Looks at the file; whether any generation has other bytes than at the last look.
   *
   * @throws file-unreadable, file-not-regular
   */
  poll(): Promise<boolean>;
  /** Oldest first. */
  readonly generations: readonly Generation[];
  /** The file is not there (yet, or between a rotation and the new file). */
  readonly missing: boolean;
  close(): Promise<void>;
}

const CHUNK_BYTES = 1 << 20;
/** Bytes at either end by which content is recognised. */
const MARK_BYTES = 4096;

interface Marks {
  readonly head: string;
  readonly tail: string;
}

async function readFully(handle: FileHandle, from: number, to: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.max(0, to - from));
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, from + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');

/** What identifies the first `size` bytes. */
async function marksOf(handle: FileHandle, size: number): Promise<Marks> {
  return {
    head: digest(await readFully(handle, 0, Math.min(size, MARK_BYTES))),
    tail: digest(await readFully(handle, Math.max(0, size - MARK_BYTES), size)),
  };
}

interface Followed {
  size: number;
  gone: boolean;
  handle: FileHandle;
  inode: number;
  marks: Marks;
  read(start?: number, end?: number): AsyncGenerator<Buffer>;
}

function generation(handle: FileHandle, inode: number, size: number, marks: Marks): Followed {
  const self: Followed = {
    handle,
    inode,
    size,
    marks,
    gone: false,
    async *read(start = 0, to = self.size) {
      const end = Math.min(to, self.size);
      const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(CHUNK_BYTES, end - start)));
      for (let at = start; at < end; ) {
        const { bytesRead } = await self.handle.read(buffer, 0, Math.min(buffer.length, end - at), at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    },
  };
  return self;
}

/** Follows the file at a path, which need not exist yet. */
export const followFile = (path: string): Follower => new FileFollower(path);

class FileFollower implements Follower {
  readonly generations: Followed[] = [];
  missing = true;

  constructor(private readonly path: string) {}

  async poll(): Promise<boolean> {
    const moved = await this.#pollMoved();
    return (await this.#pollPath()) || moved;
  }

  async close(): Promise<void> {
    for (const { handle, gone } of this.generations) if (!gone) await handle.close();
  }

  /** What a writer still put into the file that was moved away. */
  async #pollMoved(): Promise<boolean> {
    const moved = this.generations.at(-2);
    return moved !== undefined && !moved.gone && hasGrown(moved);
  }

  async #pollPath(): Promise<boolean> {
    const handle = await this.#open();
    this.missing = handle === undefined;
    if (handle === undefined) {
      const last = this.generations.at(-1);
      return last !== undefined && !last.gone && hasGrown(last);
    }
    try {
      return await this.#compare(handle);
    } finally {
      if (!this.generations.some((kept) => kept.handle === handle)) await handle.close();
    }
  }

  /** Undefined where the file is not there. */
  async #open(): Promise<FileHandle | undefined> {
    const { path } = this;
    const kind = await kindOfPath(path);
    // A FIFO would hang, a folder cannot be read.
    if (kind !== 'file' && kind !== 'missing') throw diagError('file-not-regular', { path, kind }, { path });
    try {
      return await open(path, 'r');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ESTALE') throw unreadable(path, error);
      return undefined;
    }
  }

  /** Whether the file that is there now has other bytes than the one at the last look. */
  async #compare(handle: FileHandle): Promise<boolean> {
    const { size, ino } = await handle.stat();
    const last = this.generations.at(-1);
    if (last === undefined) {
      if (size > 0) await this.#begin(handle, ino, size);
      return size > 0;
    }
    if (await continues(last, handle, size)) return goOn(last, handle, ino, size);
    const news = !last.gone || size > 0;
    if (last.gone || ino === last.inode) {
      if (!last.gone) await last.handle.close();
      last.gone = true;
    }
    // Moved away: its last bytes were written after the last look.
    else await hasGrown(last);
    if (size === 0) return news;
    await this.#begin(handle, ino, size);
    const older = this.generations.at(-3);
    if (older !== undefined && !older.gone) {
      older.gone = true;
      await older.handle.close();
    }
    return true;
  }

  async #begin(handle: FileHandle, inode: number, size: number): Promise<void> {
    this.generations.push(generation(handle, inode, size, await marksOf(handle, size)));
  }
}

/** Whether a file has more bytes than at the last look, which are its own from here on. */
async function hasGrown(file: Followed): Promise<boolean> {
  const { size } = await file.handle.stat();
  const grown = size > file.size;
  if (grown) file.size = size;
  return grown;
}

/** Whether a file begins with the bytes that the last one had. */
async function continues(last: Followed, handle: FileHandle, size: number): Promise<boolean> {
  if (size < last.size) return false;
  const { head, tail } = await marksOf(handle, last.size);
  return !last.gone && head === last.marks.head && tail === last.marks.tail;
}

/** The last file goes on in the one that was opened; whether it has grown. */
async function goOn(last: Followed, handle: FileHandle, inode: number, size: number): Promise<boolean> {
  const grown = size > last.size;
  // The same content under another inode (a copy that replaced the file) goes on as the same log.
  if (inode !== last.inode) {
    await last.handle.close();
    last.handle = handle;
    last.inode = inode;
  }
  if (grown) {
    last.size = size;
    last.marks = await marksOf(last.handle, size);
  }
  return grown;
}
