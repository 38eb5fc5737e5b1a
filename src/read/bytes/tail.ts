/**
 * Follows a file that grows: tells what became of it since the last look, and keeps what a rotation moved away
 * readable. It looks when asked and trusts only what a freshly opened file says: network file systems deliver no
 * events, and their cached sizes are old.
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
  /** The bytes from `start` (default 0) up to `size`. A chunk is valid until the next one is asked for. */
  read(start?: number): AsyncGenerator<Buffer>;
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
  read(start?: number): AsyncGenerator<Buffer>;
}

function generation(handle: FileHandle, inode: number, size: number, marks: Marks): Followed {
  const self: Followed = {
    handle,
    inode,
    size,
    marks,
    gone: false,
    async *read(start = 0) {
      const { size: end } = self;
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
export function followFile(path: string): Follower {
  const generations: Followed[] = [];
  let missing = true;

  /** What a writer still put into the file that was moved away. */
  async function pollMoved(): Promise<boolean> {
    const moved = generations[generations.length - 2];
    if (moved === undefined || moved.gone) return false;
    const { size } = await moved.handle.stat();
    if (size <= moved.size) return false;
    moved.size = size;
    return true;
  }

  async function pollPath(): Promise<boolean> {
    const kind = await kindOfPath(path);
    // A FIFO would hang, a folder cannot be read.
    if (kind !== 'file' && kind !== 'missing') throw diagError('file-not-regular', { path, kind }, { path });
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ESTALE') throw unreadable(path, error);
      missing = true;
      const last = generations[generations.length - 1];
      if (last === undefined || last.gone) return false;
      const { size } = await last.handle.stat();
      const grown = size > last.size;
      last.size = Math.max(size, last.size);
      return grown;
    }
    let kept = false;
    try {
      missing = false;
      const { size, ino } = await handle.stat();
      const last = generations[generations.length - 1];
      if (last === undefined) {
        if (size === 0) return false;
        generations.push(generation(handle, ino, size, await marksOf(handle, size)));
        kept = true;
        return true;
      }
      const now = size >= last.size ? await marksOf(handle, last.size) : undefined;
      const continues =
        !last.gone && now !== undefined && now.head === last.marks.head && now.tail === last.marks.tail;
      if (continues) {
        const grown = size > last.size;
        // The same content under another inode (a copy that replaced the file) goes on as the same log.
        if (ino !== last.inode) {
          await last.handle.close();
          last.handle = handle;
          last.inode = ino;
          kept = true;
        }
        if (grown) {
          last.size = size;
          last.marks = await marksOf(last.handle, size);
        }
        return grown;
      }
      const news = !last.gone || size > 0;
      if (last.gone || ino === last.inode) {
        if (!last.gone) await last.handle.close();
        last.gone = true;
      } else {
        // Moved away: its last bytes were written after the last look.
        last.size = Math.max(last.size, (await last.handle.stat()).size);
      }
      if (size === 0) return news;
      generations.push(generation(handle, ino, size, await marksOf(handle, size)));
      kept = true;
      const older = generations[generations.length - 3];
      if (older !== undefined && !older.gone) {
        older.gone = true;
        await older.handle.close();
      }
      return true;
    } finally {
      if (!kept) await handle.close();
    }
  }

  return {
    generations,
    get missing() {
      return missing;
    },
    poll: async () => {
      const moved = await pollMoved();
      return (await pollPath()) || moved;
    },
    close: async () => {
      for (const { handle, gone } of generations) if (!gone) await handle.close();
    },
  };
}
