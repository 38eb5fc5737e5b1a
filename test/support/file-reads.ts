/** Counts what is read of each file: used with `vi.mock('node:fs/promises', countingFiles)`. */
import type { FileHandle } from 'node:fs/promises';

interface FileReads {
  opens: number;
  /** Reads as [start, end), in the order in which they came. */
  readonly ranges: (readonly [number, number])[];
}

/** By path, as it was opened. */
export const fileReads = new Map<string, FileReads>();

export async function countingFiles(
  original: () => Promise<typeof import('node:fs/promises')>,
): Promise<typeof import('node:fs/promises')> {
  const real = await original();
  const open: typeof real.open = async (path, ...rest) => {
    const handle = await real.open(path, ...rest);
    const reads = fileReads.get(String(path)) ?? { opens: 0, ranges: [] };
    fileReads.set(String(path), reads);
    reads.opens++;
    const read = handle.read.bind(handle) as (...args: unknown[]) => Promise<{ bytesRead: number }>;
    handle.read = (async (...args: unknown[]) => {
      const result = await read(...args);
      const position = args[3] as number;
      reads.ranges.push([position, position + result.bytesRead]);
      return result;
    }) as FileHandle['read'];
    return handle;
  };
  const readFile: typeof real.readFile = (async (path: string, ...rest: unknown[]) => {
    const reads = fileReads.get(String(path)) ?? { opens: 0, ranges: [] };
    fileReads.set(String(path), reads);
    reads.opens++;
    const content = await (real.readFile as (...args: unknown[]) => Promise<Buffer | string>)(path, ...rest);
    reads.ranges.push([0, content.length]);
    return content;
  }) as typeof real.readFile;
  return { ...real, default: { ...real, open, readFile }, open, readFile } as typeof real;
}

/** How often a byte among the first `length` was read at most, and how many bytes were read of the whole file. */
export function readTotals(
  { ranges }: FileReads,
  length = Number.POSITIVE_INFINITY,
): { readonly bytes: number; readonly most: number } {
  const edges = ranges
    .filter(([from]) => from < length)
    .flatMap(([from, to]): [number, number][] => [
      [from, 1],
      [Math.min(to, length), -1],
    ]);
  // An end comes before a start at the same place.
  edges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let depth = 0;
  let most = 0;
  for (const [, step] of edges) {
    depth += step;
    most = Math.max(most, depth);
  }
  return { bytes: ranges.reduce((sum, [from, to]) => sum + to - from, 0), most };
}
