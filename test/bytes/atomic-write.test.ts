/** A file is replaced whole or not at all, and nothing stays beside it, whatever ends the process. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { targetOf, writeFileAtomic } from '../../src/read/bytes/atomic-write.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const pieces = async function* (...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
};

const scratch = scratchFolders('atomic-write');

describe('writeFileAtomic', () => {
  it('replaces a file whole, and leaves it as it was where the content fails', async () => {
    const folder = scratch();
    const path = join(folder, 'r.json');
    await writeFileAtomic(path, pieces('a', 'b'));
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('half');
      throw new Error('no more');
    };
    await expect(writeFileAtomic(path, failing())).rejects.toThrow('no more');
    expect(readFileSync(path, 'utf8')).toBe('ab');
    expect(readdirSync(folder)).toEqual(['r.json']);
  });

  it('two processes of one number, as in two containers, do not collide, nor with what one left', async () => {
    const path = join(scratch(), 'r.json');
    // Each has its own module, whose state is as it was at the start.
    const processes: typeof import('../../src/read/bytes/atomic-write.ts')[] = [];
    for (let i = 0; i < 2; i++) {
      vi.resetModules();
      processes.push(await import('../../src/read/bytes/atomic-write.ts'));
    }
    expect(processes[0]!.writeFileAtomic).not.toBe(processes[1]!.writeFileAtomic);
    const lying = new Set<string>();
    const content = async function* (text: string): AsyncGenerator<Uint8Array> {
      yield Buffer.from(text);
      for (let seen = 0; seen < 2; await setTimeout(1)) {
        const names = readdirSync(dirname(path)).filter((name) => name.endsWith('.tmp'));
        for (const name of names) lying.add(name);
        seen = lying.size;
      }
    };
    await Promise.all(processes.map((one, i) => one.writeFileAtomic(path, content(`${i}`))));
    expect(['0', '1']).toContain(readFileSync(path, 'utf8'));
    expect(readdirSync(dirname(path))).toEqual(['r.json']);
    for (const name of lying) expect(name).not.toContain(`.${process.pid}.`);
    for (const name of lying) writeFileSync(join(dirname(path), name), 'left');
    await writeFileAtomic(path, 'new');
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('listens for signals only while a temporary file lies there', async () => {
    const path = join(scratch(), 'r.json');
    const before = process.listenerCount('SIGTERM');
    let during = 0;
    await writeFileAtomic(
      path,
      (async function* () {
        during = process.listenerCount('SIGTERM');
        yield Buffer.from('x');
      })(),
    );
    expect([during, process.listenerCount('SIGTERM')]).toEqual([before + 1, before]);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s in the middle leaves the old file and nothing else, and ends the process',
    async (signal) => {
      const folder = scratch();
      const path = join(folder, 'r.json');
      writeFileSync(path, 'old');
      const script = `
        import { writeFileAtomic } from ${JSON.stringify(join(projectRoot, 'src/read/bytes/atomic-write.ts'))};
        setInterval(() => {}, 1000);
        await writeFileAtomic(${JSON.stringify(path)}, (async function* () {
          yield Buffer.from('half');
          process.stdout.write('ready');
          await new Promise(() => {});
        })());`;
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        cwd: projectRoot,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      expect(readdirSync(folder)).toHaveLength(2);
      const ended = new Promise((resolve) => child.once('exit', (_, by) => resolve(by)));
      child.kill(signal);
      expect(await ended).toBe(signal);
      expect(readdirSync(folder)).toEqual(['r.json']);
      expect(readFileSync(path, 'utf8')).toBe('old');
    },
  );
});

describe('targetOf', () => {
  it('tells one file by every spelling, there or not', async () => {
    const folder = scratch();
    symlinkSync(folder, join(folder, 'link'));
    const spellings = ['a.json', './a.json', 'link/a.json', `${folder}/a.json`];
    for (const there of [false, true]) {
      if (there) writeFileSync(join(folder, 'a.json'), '');
      const found = await Promise.all(
        spellings.map((one) => targetOf(one.startsWith('/') ? one : join(folder, one))),
      );
      expect(new Set(found).size).toBe(1);
    }
  });
});
