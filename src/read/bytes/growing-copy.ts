/** A copy of a file that grows elsewhere. */
import { open, rm } from 'node:fs/promises';
import { renameOver } from './rename-over.ts';

/** Writes a new file that only this user can read. @returns how many bytes came */
export async function writeStream(path: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const handle = await open(path, 'w', 0o600);
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      await handle.writeFile(piece);
      bytes += piece.length;
    }
  } finally {
    await handle.close();
  }
  return bytes;
}

/** Puts a file in the place of another: whoever has that one open keeps its content. */
export const replaceFile = (path: string, by: string): Promise<void> => renameOver(by, path);

export const removeFile = (path: string): Promise<void> => rm(path, { force: true });

/**
 * Adds what a file has more than a copy to the copy, where all that both have is the same.
 *
 * @param size bytes of the copy
 * @param more a file that holds the bytes from `from` on
 * @returns how many bytes were added; −1 where the two differ, and nothing was
 */
export async function appendNews(path: string, size: number, more: string, from: number): Promise<number> {
  const [old, added] = [await open(path, 'r+'), await open(more, 'r')];
  try {
    const piece = Buffer.alloc(1 << 16);
    const own = Buffer.alloc(1 << 16);
    for (let at = from; at < size; ) {
      const wanted = Math.min(piece.length, size - at);
      const { bytesRead } = await added.read(piece, 0, wanted, at - from);
      const { bytesRead: ownRead } = await old.read(own, 0, wanted, at);
      if (bytesRead !== wanted || ownRead !== wanted) return -1;
      if (!piece.subarray(0, wanted).equals(own.subarray(0, wanted))) return -1;
      at += wanted;
    }
    let at = size;
    for (;;) {
      const { bytesRead } = await added.read(piece, 0, piece.length, at - from);
      if (bytesRead === 0) return at - size;
      await old.write(piece, 0, bytesRead, at);
      at += bytesRead;
    }
  } finally {
    await old.close();
    await added.close();
  }
}
