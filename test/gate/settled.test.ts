/** A gate on what is still written to, be it a log, a capture or a saved report. */
import {
  appendFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readGateEvidence } from '../../src/app/gate/evidence.ts';
import { stillWritten } from '../../src/app/gate/settled.ts';
import { cli } from '../support/cli.ts';
import { makeInput } from '../support/inputs.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('settled');
const age = (path: string): void => utimesSync(path, 1e9, 1e9);

/** The warnings of a gate that waits, while something happens. */
async function whileItWaits(path: string, happens: () => void, fresh: string): Promise<string[]> {
  utimesSync(fresh, new Date(), new Date());
  const { report } = await readGateEvidence([path], {
    toolVersion: '0',
    now: () => new Date(),
    settle: 5,
    sleep: async () => happens(),
  });
  return report.warnings.map(({ id }) => id);
}

describe('what is written while a gate waits', () => {
  test('a capture: one of its files, and a step that comes into it', async () => {
    const at = join(scratch(), 'in');
    await makeInput([{ capture: 'of a divergence' }], at);
    const folder = join(at, 'capture');
    age(folder);
    const [step] = readdirSync(folder).filter((name) => name.startsWith('step-'));
    const file = join(folder, step!);
    expect(await whileItWaits(at, () => {}, file)).toEqual([]);
    expect(await whileItWaits(at, () => appendFileSync(file, 'x'), file)).toEqual(['input-still-written']);
    await makeInput([{ capture: 'of a divergence' }], at);
    age(folder);
    const extra = join(folder, 'step-99999999.safetensors');
    expect(await whileItWaits(at, () => writeFileSync(extra, 'x'), file)).toEqual(['input-still-written']);
  });
  test('a saved report that another takes the place of', async () => {
    const at = join(scratch(), 'in');
    await makeInput([{ log: 'healthy' }], at);
    const saved = join(scratch(), 'r.json');
    await cli(['analyze', at, '--report', `json:${saved}`]);
    const next = join(scratch(), 'next.json');
    writeFileSync(next, `${readFileSync(saved, 'utf8')}\n`);
    // It is new, and nothing is waited for.
    const read = (now: () => Date) =>
      readGateEvidence([saved], { toolVersion: '0', now, sleep: () => Promise.reject(new Error('waits')) });
    expect((await read(() => new Date())).report.warnings).toEqual([]);
    // Between the reading and the look at it: the clock is asked there.
    let asked = 0;
    const replacing = (): Date => {
      if (++asked === 2) renameSync(next, saved);
      return new Date();
    };
    const { report } = await read(replacing);
    expect(report.warnings.map(({ id }) => id)).toEqual(['input-still-written']);
  });
});

test('a file of another size than what was read of it is still written to, whatever its time says', async () => {
  const path = join(scratch(), 'log');
  writeFileSync(path, 'four');
  age(path);
  const { size } = statSync(path);
  const look = (bytes: number) =>
    stillWritten([path], new Map([[path, bytes]]), new Date(), { now: () => new Date(), settle: 0 });
  expect(await look(size)).toEqual([]);
  expect((await look(size - 1)).map(({ code, message }) => [code, message])).toEqual([
    ['input-still-written', expect.stringContaining(path)],
  ]);
});

describe('how long, and what counts as written to', () => {
  const START = 1e12;
  /** A file of four bytes that was written to at so many milliseconds from the start of the reading. */
  function fileAt(modified: number): string {
    const path = join(scratch(), 'log');
    writeFileSync(path, 'four');
    utimesSync(path, (START + modified) / 1000, (START + modified) / 1000);
    return path;
  }
  /** What is said of it at `now`, and what was waited for; `happens` while it waits. */
  async function look(path: string, now: number, settle?: number, happens = (): void => {}) {
    const waits: (number | string)[] = [];
    const errors = await stillWritten([path], new Map(), new Date(START), {
      ...(settle === undefined ? {} : { settle }),
      now: () => new Date(START + now),
      sleep: async (milliseconds) => {
        waits.push(milliseconds);
        happens();
      },
      onProgress: (what) => void waits.push(what),
    });
    return { waits, said: errors.map(({ message }) => message) };
  }

  test('until an input is five seconds old, or as old as is asked for; one that is needs no waiting', async () => {
    const waiting = (seconds: number) => `waiting ${seconds} s: an input was written to just now (--settle)`;
    expect((await look(fileAt(-1000), 500)).waits).toEqual([waiting(4), 3500]);
    expect((await look(fileAt(-1000), 500, 3)).waits).toEqual([waiting(2), 1500]);
    expect((await look(fileAt(-4500), 500)).waits).toEqual([]);
    expect((await look(fileAt(-4499), 500)).waits).toEqual([waiting(1), 1]);
    // The clock of another machine.
    expect((await look(fileAt(1000), 500)).waits).toEqual([]);
    // What is none is left out.
    expect(await look(join(scratch(), 'none'), 500)).toEqual({ waits: [], said: [] });
  });

  test('what was written in a later millisecond than the reading began in, up to now', async () => {
    for (const [modified, count] of [
      [0, 0],
      [1, 1],
      [500, 1],
      [501, 0],
    ] as const)
      expect((await look(fileAt(modified), 500, 0)).said, `${modified}`).toHaveLength(count);
  });

  test('a file that comes or goes meanwhile has no bytes where it is not', async () => {
    const comes = join(scratch(), 'comes');
    const beside = fileAt(-1000);
    const errors = await stillWritten([beside, comes], new Map(), new Date(START), {
      now: () => new Date(START + 500),
      sleep: async () => writeFileSync(comes, 'seven..'),
    });
    expect(errors.map(({ message }) => message)).toEqual([expect.stringMatching(/comes.*\b0\b.*\b7\b/s)]);
    const goes = fileAt(-1000);
    const gone = await look(goes, 500, 5, () => rmSync(goes));
    expect(gone.said).toEqual([expect.stringMatching(/\b4\b.*\b0\b/s)]);
  });
});
