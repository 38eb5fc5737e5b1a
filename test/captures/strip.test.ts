/** `strip-batches` takes out what it says and leaves every other byte; `inspect --check` says what a capture allows. */
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stripBatches } from '../../src/read/captures/strip.ts';
import { openLedger } from '../../src/read/ledger/read.ts';
import { readTensors } from '../recorders/read-capture.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('strip');
const incident = join(projectRoot, 'fixtures/incident/capture');
const copied = (): string => {
  const to = join(folder(), 'capture');
  cpSync(incident, to, { recursive: true });
  return to;
};

describe('strip-batches', () => {
  it('leaves gradients, parameters and state as they were, and no batch', async () => {
    const path = copied();
    // A file that the manifest does not name holds batches too.
    cpSync(join(path, 'step-00000400.safetensors'), join(path, 'step-00000999.safetensors'));
    const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8')) as Record<string, unknown>;
    writeFileSync(join(path, 'capture.json'), JSON.stringify({ ...manifest, batch: {}, references: [380] }));
    const { files, tensors } = await stripBatches(path);
    expect([files, tensors]).toEqual([57, 57 * 4]);
    for (const file of readdirSync(path).filter((name) => name.endsWith('.safetensors'))) {
      const before = readTensors(join(file === 'step-00000999.safetensors' ? path : incident, file));
      const after = readTensors(join(path, file));
      expect([...after.keys()]).toEqual([...before.keys()].filter((name) => !name.startsWith('batch/')));
      for (const [name, tensor] of after) expect(tensor).toEqual(before.get(name));
    }
    const stripped = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8')) as Record<string, unknown>;
    expect(stripped).toEqual(manifest);
    const again = await cli(['strip-batches', path, '--json']);
    expect(JSON.parse(again.out)).toMatchObject({ files: 0, tensors: 0, bytes: 0 });
  });

  it('does not take a file that is cut short for one without batches', async () => {
    const path = copied();
    const file = join(path, 'step-00000999.safetensors');
    writeFileSync(file, readFileSync(join(path, 'step-00000400.safetensors')).subarray(0, 100));
    expect(await cli(['strip-batches', path])).toMatchObject({ code: 3 });
  });
});

describe('strip-batches of a ledger', () => {
  const ledger = (): string => {
    const to = join(folder(), 'ledger');
    cpSync(join(projectRoot, 'fixtures/ledgers/base/ledger'), to, { recursive: true });
    return to;
  };

  it('deletes ids, and leaves lines, hashes and sketches', async () => {
    const path = ledger();
    const before = await openLedger(path);
    expect(before.identified.length).toBeGreaterThan(0);
    expect(JSON.parse((await cli(['strip-batches', path, '--json'])).out)).toMatchObject({
      files: 1,
      tensors: 0,
    });
    const after = await openLedger(path);
    expect([after.identified, after.taken, after.steps.size]).toEqual([[], before.taken, before.steps.size]);
    expect((await cli(['strip-batches', path])).out).toContain('0 files of batch ids');
  });

  it('follows no link to another folder', async () => {
    const path = ledger();
    const other = folder();
    writeFileSync(join(other, 'mine.bin'), 'mine');
    rmSync(join(path, 'ids'), { recursive: true });
    symlinkSync(other, join(path, 'ids'));
    expect((await cli(['strip-batches', path])).code).toBe(3);
    expect(readFileSync(join(other, 'mine.bin'), 'utf8')).toBe('mine');
  });
});

describe('inspect --check', () => {
  it('a status that is no JSON is told, and is no bug', async () => {
    const path = copied();
    writeFileSync(join(path, 'status.json'), '{"problems": [');
    const { code, out } = await cli(['inspect', '--check', path]);
    expect(code).toBe(1);
    expect(out).toContain('status.json is no JSON');
  });

  const checks = async (path: string) => {
    const { code, out } = await cli(['inspect', '--check', path, '--json']);
    const [capture] = (
      JSON.parse(out) as { captures: { checks: { id: string; ok: boolean | null; message: string }[] }[] }
    ).captures;
    return {
      code,
      ok: Object.fromEntries(capture!.checks.map(({ id, ok }) => [id, ok])),
      all: capture!.checks,
    };
  };

  it('passes a capture that is as it should be', async () => {
    const { code, ok } = await checks(incident);
    expect(code).toBe(0);
    expect(ok).toEqual({ whole: true, follows: true, finite: true, batches: true, clipping: null });
  });

  it('fails one whose clipping was not said, and one whose recorder complains', async () => {
    const path = copied();
    const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8')) as Record<string, unknown>;
    const clipping = { rule: 'global-norm', maxNorm: 0.1 };
    writeFileSync(join(path, 'capture.json'), JSON.stringify({ ...manifest, clipping }));
    writeFileSync(
      join(path, 'status.json'),
      JSON.stringify({ problems: ['batches are not kept'], stopped: null }),
    );
    const { code, ok, all } = await checks(path);
    expect(code).toBe(1);
    expect(ok).toMatchObject({ follows: false, recorder: false, batches: true });
    expect(all.find(({ id }) => id === 'recorder')!.message).toBe('batches are not kept');
  });

  it('says that no closed loop is possible without batches, which is no failure', async () => {
    const path = copied();
    await stripBatches(path);
    const { code, ok } = await checks(path);
    expect([code, ok.batches]).toEqual([0, null]);
  });
});
