/** What the incident bench measured: docs/bench.md and the README quote the counts of bench/incidents/results.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { share } from '../../bench/incidents/lib/intervals.js';
import { type Result, tableRow } from '../../bench/incidents/lib/results.js';
import { projectRoot } from '../support/shared-data.ts';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
const { rows } = JSON.parse(read('bench/incidents/results.json')) as { rows: readonly Result[] };
const page = read('docs/bench.md');
/** A table in Markdown without the blanks that align it. */
const tight = (text: string): string => text.replaceAll(/ {2,}/g, ' ');

const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  log: ['detection', 'falseAlarm', 'class', 'onsetNear', 'trigger'],
  capture: ['detection', 'falseAlarm', 'class', 'link', 'tensor', 'trigger'],
};

describe('docs/bench.md', () => {
  it.each(rows.map((row) => [`${row.tool}, ${row.half} half, by ${row.evidence}`, row] as const))(
    'has the counts of %s',
    (_, row) => expect(tight(page)).toContain(tableRow(row, COLUMNS[row.evidence]!)),
  );

  it.each(['capture', 'log'])(
    'says in how many hidden incidents the first remedy holds, by %s',
    (evidence) => {
      const { remedy } = rows.find(
        (row) => row.tool === 'clippy-diag' && row.half === 'hidden' && row.evidence === evidence,
      )!;
      const [hits, n] = remedy!;
      const { low, high } = share(hits, n);
      const [of, least, most] = [n, Math.round(100 * low!), Math.round(100 * high!)];
      expect(page.replaceAll(/\s+/g, ' ')).toMatch(
        new RegExp(`in ${hits} of (?:the )?${of} [^.]*\\(${least} to ${most} %\\)`),
      );
    },
  );

  it('has a row for every row, and no other', () => {
    expect(page.match(/^\|.* of \d+ \(\d+–\d+ %\).*\|$/gm)).toHaveLength(rows.length);
  });
});

describe('the README quotes what clippy-diag does on cases that nobody had seen', () => {
  const readme = tight(read('README.md'));
  const ownBy = (evidence: string): Result =>
    rows.find((row) => row.tool === 'clippy-diag' && row.half === 'hidden' && row.evidence === evidence)!;

  it.each([
    ['log', '**', ' healthy runs alarmed'],
    ['capture', '', ' alarmed'],
  ])('what it finds by %s', (evidence, bold, alarmed) => {
    const [[found, incidents], [alarms, healthy]] = [ownBy(evidence).detection, ownBy(evidence).falseAlarm];
    expect(readme).toContain(
      `${bold}${found} of ${incidents}${bold} found, ${alarms} of ${healthy}${alarmed}`,
    );
  });

  it('the first remedy, a worst row', () => {
    const [log, capture] = ['log', 'capture'].map((evidence) => ownBy(evidence).remedy!.join(' of '));
    expect(readme).toContain(`**${log}** by logs, a worst row; ${capture} by captures`);
  });
});
