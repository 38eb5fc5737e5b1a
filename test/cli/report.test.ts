/** `report` gives the bytes of the command that made the report, and what was saved is what the published schema says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { cli } from '../support/cli.ts';
import { closedValidator } from '../support/closed-schema.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const FORMATS = Object.keys(REPORT_FORMATS);
const folder = scratchFolders('report')();
const wrongWith = closedValidator(
  JSON.parse(readFileSync(join(projectRoot, 'schema/report.schema.json'), 'utf8')) as object,
);

/** A file for each format, as `--report` wants them. */
const targets = (name: string): string[] =>
  FORMATS.flatMap((format) => ['--report', `${format}:${join(folder, `${name}.${format}`)}`]);
const bytes = (name: string, format: string): string =>
  readFileSync(join(folder, `${name}.${format}`), 'latin1');

/** Whether the long project runs this: there, the whole analysis of the incident, which takes as long as all the others. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;

const WHOLE: readonly [string, string[]] = [
  'a log, checkpoints and a capture',
  ['analyze', 'fixtures/incident', '--budget', '600'],
];
const PARTS: readonly (readonly [string, string[]])[] = [
  ['a capture whose gradients are not finite', ['analyze', 'fixtures/captures/nan']],
  ['logs of every format', ['analyze', 'fixtures/formats']],
  [
    'a gate',
    ['gate', 'fixtures/incident/log.jsonl', '--rule', 'last(loss) <= 0.2', '--rule', 'max(nothing) < 1'],
  ],
];

describe.each(LONG ? [WHOLE] : PARTS)('%s', (what, command) => {
  const name = what.replaceAll(' ', '-');
  it('renders to the same bytes from its file, to files and to a pipe, and is what the schema says', async () => {
    const { code, err } = await cli([...command, ...targets(name)]);
    expect([0, 1, 3, 4], err).toContain(code);
    const saved = join(folder, `${name}.json`);
    expect(await cli(['report', saved, ...targets(`${name}-again`)])).toEqual({ code: 0, out: '', err: '' });
    for (const format of FORMATS) {
      expect(bytes(`${name}-again`, format), format).toBe(bytes(name, format));
      const piped = await cli(['report', saved, '--to', format]);
      expect(Buffer.from(piped.out).toString('latin1'), format).toBe(bytes(name, format));
    }
    const report = JSON.parse(readFileSync(saved, 'utf8')) as { runs: object[] };
    expect(wrongWith(report)).toBeNull();
    report.runs.push({ ...report.runs[0], more: 1 });
    expect(wrongWith(report)).toMatch(/runs\/\d+ must NOT have additional properties/);
  });
});
