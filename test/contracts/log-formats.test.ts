/** What every log format owes: it claims its own fixtures and no others, and a cut file is a partial result or a coded error. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import type { LogFormat } from '../../src/read/logs/format.ts';
import { readRawStream } from '../../src/read/logs/read-log.ts';
import { LOG_FORMATS } from '../../src/read/logs/registry.ts';
import { cpuLimit } from '../support/cpu-time.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Fixture {
  readonly name: string;
  readonly path: string;
  readonly format: string | undefined;
}

const filesUnder = (path: string): string[] =>
  statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => filesUnder(join(path, name))) : [path];

/** The format that a fixture was written in: stated where a writer has one name, by its ending otherwise. */
const BY_ENDING: Record<string, string> = { '.jsonl': 'jsonl', '.csv': 'csv', '.tfevents': 'tfevents' };

const fixtures: Fixture[] = ['fixtures/formats', 'fixtures/logs'].flatMap((part) =>
  readdirSync(join(projectRoot, part)).flatMap((name) => {
    const folder = join(projectRoot, part, name);
    const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as { format?: string };
    const input = readdirSync(folder).filter((file) => file.startsWith('input'));
    return input
      .flatMap((file) => filesUnder(join(folder, file)))
      .filter((path) => !/meta\.yaml$|\/params\/|\.gz$/.test(path))
      .map((path) => ({
        name: `${name}/${basename(path)}`,
        path,
        format: expected.format ?? BY_ENDING[/\.\w+$/.exec(path)?.[0] ?? ''],
      }));
  }),
);

const chunked = async function* (bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
};

/**
 * In how many places a file is cut, at even distances behind its first 32 bytes: in a quarter of CLIPPY_DIAG_FUZZ where that is set.
 * Cuts are among the 200,000 mutants of test/logs/account-*.long.test.ts, too.
 */
const CUTS = Number(process.env.CLIPPY_DIAG_FUZZ ?? 1000) / 4;

const formats: LogFormat[] = Object.values(LOG_FORMATS);

describe('log formats', () => {
  it('are named as their keys, and have a page', () => {
    const index = readFileSync(join(projectRoot, 'docs/formats.md'), 'utf8');
    for (const [id, format] of Object.entries(LOG_FORMATS)) {
      expect(format.id).toBe(id);
      expect(index).toContain(`[${id}](formats/${id}.md)`);
      expect(readFileSync(join(projectRoot, `docs/formats/${id}.md`), 'utf8').length).toBeGreaterThan(200);
    }
  });

  it.each(fixtures)('$name is claimed by $format alone', async ({ path, format }) => {
    const bytes = readFileSync(path);
    const claims = formats.filter((one) => one.sniff(bytes.subarray(0, 64 << 10), path)).map((one) => one.id);
    // Printed lines have no sign of their own: a text that nobody claims is read by its words.
    if (claims.length === 0 && format === 'stdout')
      expect((await readRawStream(chunked(bytes, 1 << 20), path)).format).toBe(format);
    else expect(claims).toEqual(format === undefined ? [] : [format]);
  });

  it('every format has a fixture', () => {
    const covered = new Set(fixtures.map((fixture) => fixture.format));
    expect(formats.map((format) => format.id).filter((id) => !covered.has(id))).toEqual([]);
  });

  it.each(fixtures)('$name, cut anywhere, gives a part or a coded error', async ({ path, format }) => {
    const bytes = readFileSync(path);
    const whole = format === undefined ? undefined : await readRawStream(chunked(bytes, 1 << 20), path);
    const points = new Map(
      whole?.runs.flatMap((run) => run.series.map((series) => [series.name, series] as const)) ?? [],
    );
    const stride = Math.max(1, Math.ceil(bytes.length / (bytes.length > 50_000 ? CUTS / 8 : CUTS)));
    for (let cut = 0; cut < bytes.length; cut += cut < 32 ? 1 : stride) {
      let part: Awaited<ReturnType<typeof readRawStream>>;
      try {
        // Small and odd chunks: a record may be cut by a chunk's end too.
        part = await readRawStream(chunked(bytes.subarray(0, cut), 4093), path, {
          ...(format === undefined ? {} : { format }),
        });
      } catch (error) {
        if (error instanceof DiagError) continue;
        throw new Error(`cut at ${cut}`, { cause: error });
      }
      // What is there is a prefix of the truth (the last number of text may be cut).
      for (const series of part.runs.flatMap((run) => run.series)) {
        const truth = points.get(series.name);
        if (truth === undefined) continue;
        const { length } = series.value;
        let same = 0;
        while (same < length - 1 && Object.is(series.value.at(same), truth.value.at(same))) same++;
        // No `expect` for each of a million: it takes longer than to read the log.
        assert(length <= truth.value.length && same >= length - 1, `${series.name} cut at ${cut}, ${same}`);
      }
    }
  });

  it.each(fixtures.filter((one) => statSync(one.path).size < 50_000))(
    '$name, damaged anywhere, gives a part or a coded error in time',
    async ({ path, format }) => {
      const bytes = readFileSync(path);
      // A linear congruential generator (Numerical Recipes): the same damage every time.
      let state = 12345;
      const below = (limit: number): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * limit);
      };
      const inTime = cpuLimit(5000);
      for (let round = 0; round < CUTS / 4; round++) {
        const damaged = Buffer.from(bytes);
        for (let k = 0; k <= below(4); k++)
          damaged[below(damaged.length)] = below(2) === 0 ? below(256) : 0xff;
        try {
          await readRawStream(chunked(damaged, 4093), path, format === undefined ? {} : { format });
        } catch (error) {
          if (!(error instanceof DiagError)) throw new Error(`round ${round}`, { cause: error });
        }
        inTime(() => `round ${round}`);
      }
    },
  );
});
