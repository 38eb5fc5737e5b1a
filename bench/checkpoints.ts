/**
 * Listing and streaming statistics of 1 GB checkpoints, beside reading the same bytes.
 *
 *     npx tsx bench/checkpoints.ts
 *
 * Writes the files to the temporary folder (3 GB free; PyTorch and numpy write theirs, without Python only the
 * safetensors file is measured) and reads them from the page cache: the disk is not what is compared. Every time is
 * the median of five, with the smallest and the largest. `floor` is what any reader of values pays: the bytes read
 * in the same pieces and summed as float32 in one plain loop.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { countingSource, openFile } from '../src/read/bytes/source.ts';
import { openCheckpointSource } from '../src/read/checkpoints/registry.ts';
import { writeSafetensors } from '../src/read/checkpoints/safetensors.ts';
import { tensorStatistics } from '../src/read/checkpoints/statistics.ts';
import { pythonWith } from '../test/support/python.ts';

const LAYERS = 16;
const ELEMENTS = 2 ** 24;
const PIECE = 4 * 2 ** 20;
const RUNS = 5;

const WRITE = `
import sys
import numpy as np
rng = np.random.default_rng(1)
tensors = {f"layer{i}.weight": rng.standard_normal((4096, ${ELEMENTS / 4096}), dtype=np.float32) for i in range(${LAYERS})}
np.savez(sys.argv[1] + "/numpy.npz", **tensors)
try:
    import torch
    torch.save({k: torch.from_numpy(v) for k, v in tensors.items()}, sys.argv[1] + "/torch.pt")
except ImportError:
    pass
`;

interface Timing {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

async function timed(work: () => Promise<void>): Promise<Timing> {
  await work();
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    await work();
    times.push((performance.now() - start) / 1000);
  }
  times.sort((a, b) => a - b);
  return { median: times[RUNS >> 1]!, least: times[0]!, most: times[RUNS - 1]! };
}

async function eachPiece(path: string, use: (bytes: Uint8Array) => void): Promise<void> {
  const source = await openFile(path);
  for (let at = 0; at < source.byteLength; at += PIECE)
    use(await source.slice(at, Math.min(at + PIECE, source.byteLength)));
  await source.close();
}

/** Takes what is computed, so that nothing of it can be left out. Bytes that are no floats may sum to NaN. */
let sink = 0;
const plainSum = (bytes: Uint8Array): void => {
  const values = new Float32Array(bytes.buffer, 0, bytes.byteLength >> 2);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  sink += Number.isFinite(sum) ? sum : 1;
};

async function measure(path: string): Promise<string> {
  const bytes = statSync(path).size;
  let touched = 0;
  const list = await timed(async () => {
    const source = countingSource(await openFile(path));
    const checkpoint = await openCheckpointSource(source);
    touched = source.bytesRead();
    await checkpoint.close();
  });
  const read = await timed(() => eachPiece(path, () => {}));
  const floor = await timed(() => eachPiece(path, plainSum));
  const statistics = await timed(async () => {
    const checkpoint = await openCheckpointSource(await openFile(path));
    for (const { name } of checkpoint.tensors) sink += (await tensorStatistics(checkpoint, name)).sum;
    await checkpoint.close();
  });
  const rate = ({ median, least, most }: Timing): string =>
    `${(bytes / median / 1e9).toFixed(2)} (${(bytes / most / 1e9).toFixed(2)}–${(bytes / least / 1e9).toFixed(2)})`;
  const milliseconds = `${(1000 * list.median).toFixed(1)} (${(1000 * list.least).toFixed(1)}–${(1000 * list.most).toFixed(1)})`;
  return `| ${path.split('.').at(-1)} | ${milliseconds} | ${touched.toLocaleString('en-US')} | ${rate(read)} | ${rate(floor)} | ${rate(statistics)} |`;
}

const folder = mkdtempSync(join(tmpdir(), 'bench-checkpoints-'));
try {
  const file = join(folder, 'model.safetensors');
  const values = Float32Array.from({ length: ELEMENTS }, (_, i) => Math.sin(i));
  await writeSafetensors(
    file,
    Array.from({ length: LAYERS }, (_, i) => ({
      name: `layer${i}.weight`,
      shape: [4096, ELEMENTS / 4096],
      dtype: 'F32' as const,
      values,
    })),
  );
  const python = pythonWith('torch', 'numpy') ?? pythonWith('numpy');
  if (python !== undefined) spawnSync(python, ['-c', WRITE, folder], { stdio: 'inherit' });
  const files = ['model.safetensors', 'torch.pt', 'numpy.npz'].map((name) => join(folder, name));
  process.stdout.write(
    `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}; median (least–most) of ${RUNS}\n\n` +
      '| file | list, ms | bytes touched | read, GB/s | floor, GB/s | statistics, GB/s |\n|---|---|---|---|---|---|\n',
  );
  for (const path of files)
    if (statSync(path, { throwIfNoEntry: false })) process.stdout.write(`${await measure(path)}\n`);
  if (sink === 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
