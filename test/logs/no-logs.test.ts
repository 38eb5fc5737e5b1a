/** Texts that are no training log: none of them is read as one, whatever words and numbers they hold. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { readRawStream } from '../../src/read/logs/read-log.ts';
import { stdout } from '../../src/read/logs/stdout.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/no-logs');
const names = readdirSync(folder);

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe('texts that are no training log', () => {
  it('are at least two hundred', () => {
    expect(names.length).toBeGreaterThanOrEqual(200);
  });
  it.each(names)('%s', async (name) => {
    const bytes = readFileSync(join(folder, name));
    expect(stdout.sniff(bytes, name)).toBe(false);
    // Forced to be printed lines, as a file without another format is.
    const told = await readRawStream(once(bytes), name, { format: 'stdout' });
    expect(told.runs.flatMap(({ notes }) => notes)).toEqual([]);
    expect(told.kept).toBe(0);
    const refused = await readRawStream(once(bytes), name).then(
      (log) => log.format,
      (error: unknown) => (error instanceof DiagError ? error.code : error),
    );
    // A table of cells is CSV's matter.
    expect(['format-unknown', 'log-no-record', 'csv', 'jsonl', 'json']).toContain(refused);
  });
  it('the error shows the likeliest line, and a --pattern that reads it', async () => {
    const text = 'Starting\nresult after step 3 => loss (0.25)\nDone\n';
    const error = await readRawStream(once(Buffer.from(text)), 'x.txt').catch((one: unknown) => one);
    expect(error).toBeInstanceOf(DiagError);
    const { code, message, hint } = error as DiagError;
    expect({ code, message }).toEqual({
      code: 'log-no-record',
      message: expect.stringContaining('line 2 looks most like one: result after step 3 => loss (0.25)'),
    });
    const pattern = /--pattern '(.*)'/.exec(hint!)![1]!;
    const log = await readRawStream(once(Buffer.from(text)), 'x.txt', { pattern });
    expect(log.runs[0]!.series.map(({ name, value }) => [name, [...value]])).toEqual(
      expect.arrayContaining([['loss', [0.25]]]),
    );
  });
});
