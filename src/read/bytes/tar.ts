/**
 * tar archives, read from the first byte to the last: ustar, with the long names of GNU and of pax.
 *
 * | bytes of a header | content |
 * |---|---|
 * | 0–99, 345–499 | name; what goes before it |
 * | 124–135 | size in octal digits, or in base 256 where the first bit is set |
 * | 148–155 | sum of the header's bytes, with blanks in these places |
 * | 156 | kind: `0` or zero a file, `5` a folder, `L` a long name (GNU), `x` and `g` fields (pax); others are links and devices |
 * | 257–261 | `ustar` |
 *
 * Content follows in blocks of 512 bytes. Source: POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format".
 */
import { diagError } from '../../model/errors.ts';
import { type ByteFeed, byteFeed } from './byte-feed.ts';

const BLOCK = 512;
/** A name, or fields of pax, of more bytes is not read. */
const LONGEST_NAME = 1 << 16;

export interface TarMember {
  readonly name: string;
  readonly byteLength: number;
  /** The first bytes, at most as many as the limit; fewer where the archive ends within the member. */
  readonly bytes: Uint8Array;
}

const sumOf = (header: Uint8Array): number =>
  header.reduce((sum, byte, k) => sum + (k >= 148 && k < 156 ? 32 : byte), 0);

const textIn = (bytes: Uint8Array, from: number, to: number): string => {
  const part = Buffer.from(bytes.subarray(from, to));
  const end = part.indexOf(0);
  return part.toString('utf8', 0, end < 0 ? part.length : end);
};

/** Whether bytes begin with a header of tar, checked by its sum. */
export function isTar(head: Uint8Array): boolean {
  if (head.length < BLOCK || textIn(head, 257, 262) !== 'ustar') return false;
  return Number.parseInt(textIn(head, 148, 156).trim(), 8) === sumOf(head.subarray(0, BLOCK));
}

function sizeIn(header: Uint8Array): number {
  if ((header[124]! & 0x80) === 0) return Number.parseInt(textIn(header, 124, 136).trim() || '0', 8);
  return header.subarray(125, 136).reduce((size, byte) => size * 256 + byte, header[124]! & 0x7f);
}

/** Fields of pax: `LENGTH KEY=VALUE\n`, the length counted with itself. */
function paxFields(bytes: Uint8Array): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  const all = Buffer.from(bytes);
  for (let at = 0; at < all.length; ) {
    const blank = all.indexOf(32, at);
    const length = Number(all.toString('latin1', at, blank));
    if (blank < 0 || !Number.isInteger(length) || length <= blank - at) break;
    const [, key = '', value = ''] =
      /^([^=]*)=([\s\S]*)\n$/.exec(all.toString('utf8', blank + 1, at + length)) ?? [];
    fields.set(key, value);
    at += length;
  }
  return fields;
}

/** Names lead nowhere, as nothing is written; an archive whose names leave its folder was made to do harm. */
function checkName(name: string, path: string): void {
  if (/^[/\\]|^[A-Za-z]:|\0/.test(name) || name.split(/[/\\]/).includes('..') || name === '')
    throw diagError('path-leaves-folder', { name, folder: 'of the archive' }, { path });
}

/** Takes the content of a member with its padding. @returns its first bytes, at most `most` */
async function takeContent(
  feed: ByteFeed,
  size: number,
  most: number,
  onCut: () => void,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let kept = 0;
  for (let left = Math.ceil(size / BLOCK) * BLOCK, at = 0; left > 0; ) {
    if (!(await feed.need(1))) {
      onCut();
      break;
    }
    const part = feed.bytes().subarray(0, left);
    const wanted = part.subarray(0, Math.max(0, Math.min(size - at, most - kept)));
    if (wanted.length > 0) parts.push(Uint8Array.from(wanted));
    kept += wanted.length;
    at += part.length;
    left -= part.length;
    feed.skip(part.length);
  }
  return Buffer.concat(parts);
}

/** What headers of long names and of pax fields say of the member after them. */
interface Extended {
  readonly name?: string;
  readonly size?: number;
}

function extendedBy(kind: string, content: Uint8Array, before: Extended): Extended {
  if (kind === 'L') return { ...before, name: textIn(content, 0, content.length) };
  if (kind === 'g') return before;
  const fields = paxFields(content);
  const [name, size] = [fields.get('path'), fields.get('size')];
  return {
    ...before,
    ...(name === undefined ? {} : { name }),
    ...(size === undefined ? {} : { size: Number(size) }),
  };
}

/** The name of a member, which is checked. */
function nameOf(header: Uint8Array, long: string | undefined, path: string): string {
  const [before, short] = [textIn(header, 345, 500), textIn(header, 0, 100)];
  const name = (long ?? (before === '' ? short : `${before}/${short}`)).replace(/^(?:\.\/)+/, '');
  checkName(name, path);
  return name;
}

/**
 * The regular files of an archive, in order. Links, devices and folders are skipped.
 *
 * @param limit bytes of a member that are kept
 * @param onCut called where the archive ends within a member or a header
 * @throws path-leaves-folder; archive-malformed for a header that is damaged
 */
export async function* tarMembers(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  limit: number,
  onCut: () => void,
): AsyncGenerator<TarMember> {
  const feed = byteFeed(chunks);
  let extended: Extended = {};
  try {
    while (await feed.need(BLOCK)) {
      const header = Uint8Array.from(feed.bytes().subarray(0, BLOCK));
      feed.skip(BLOCK);
      if (header.every((byte) => byte === 0)) return;
      const size = extended.size ?? sizeIn(header);
      if (!isTar(header) || !Number.isSafeInteger(size) || size < 0)
        throw diagError('archive-malformed', { format: 'tar' }, { path });
      const kind = String.fromCharCode(header[156]!);
      if ('Lxg'.includes(kind)) {
        extended = extendedBy(kind, await takeContent(feed, size, LONGEST_NAME, onCut), extended);
        continue;
      }
      if (kind === '0' || kind === '\0') {
        const name = nameOf(header, extended.name, path);
        yield { name, byteLength: size, bytes: await takeContent(feed, size, limit, onCut) };
      }
      // Links and folders have no content, whatever size they state.
      else if (kind === '7') await takeContent(feed, size, 0, onCut);
      extended = {};
    }
    if (feed.bytes().length > 0) onCut();
  } finally {
    await feed.close();
  }
}
