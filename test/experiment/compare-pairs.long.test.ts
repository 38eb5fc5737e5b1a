/** A fixed part of bench/compare: one pair of each change and of each kind of identical code, trained here. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scorePairs } from '../../bench/compare/score.ts';
import { pythonWith } from '../support/python.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('compare-pairs');
const python = pythonWith('torch', 'safetensors');
/** Pairs with one change of each kind but `sums`, whose rounding may come out the same, and of each identical code. */
const PAIRS = ['0-4', '6-11', '60-63'];

it.skipIf(python === undefined)(
  'step, link and tensor of each change are named, and no identical code is called apart (skipped: no PyTorch)',
  async () => {
    const folder = scratch();
    // Pairs that an earlier run of the bench has trained are taken from there.
    const cached = process.env.CLIPPY_DIAG_PAIRS;
    for (const range of PAIRS) {
      const [first, last] = range.split('-').map(Number) as [number, number];
      for (let k = first; k <= last; k++) {
        const name = String(k).padStart(3, '0');
        if (cached !== undefined && existsSync(join(cached, name, 'truth.json')))
          cpSync(join(cached, name), join(folder, name), { recursive: true });
      }
      const { status, stderr } = spawnSync(python!, ['bench/compare/pairs.py', folder, range], {
        cwd: projectRoot,
        encoding: 'utf8',
        env: { ...process.env, PYTHONPATH: 'python/src' },
      });
      expect(status, stderr).toBe(0);
    }
    const scored = await scorePairs(folder);
    expect(scored.length).toBe(15);
    for (const { pair, truth, step, link, tensor, found } of scored) {
      const named = [step, link, tensor].map((one) => one ?? true);
      expect([pair, truth.change, named, found.differsAt]).toEqual([
        pair,
        truth.change,
        [true, true, true],
        found.differsAt,
      ]);
      if (truth.change !== 'seed')
        expect([pair, truth.change, found.verdict === 'apart']).toEqual([pair, truth.change, truth.apart]);
    }
  },
);
