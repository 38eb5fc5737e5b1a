/** Runs of one report have names that tell them apart, and keep those that do. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { distinctIds } from '../../src/app/engine/distinct-ids.ts';
import type { LogInput } from '../../src/model/log.ts';
import { makeRun } from '../support/make-report.ts';

const logsOf = (runs: readonly (readonly [path: string, id: string])[]): LogInput[] =>
  runs.map(([path, id]) => ({ path, runs: [{ ...makeRun(id, []), paths: [path] }] }) as unknown as LogInput);
const idsOf = (logs: readonly LogInput[]): string[] => logs.flatMap(({ runs }) => runs.map(({ id }) => id));

test.each([
  {
    case: 'two folders',
    runs: [
      ['/x/a/log.csv', 'log.csv'],
      ['/x/b/log.csv', 'log.csv'],
    ],
    ids: ['a/log.csv', 'b/log.csv'],
  },
  {
    case: 'folders that differ in the middle',
    runs: [
      ['/x/a/2024/m/log.csv', 'm/log.csv'],
      ['/x/b/2025/m/log.csv', 'm/log.csv'],
      ['/x/b/2025/n/log.csv', 'n/log.csv'],
    ],
    ids: ['a/2024/m/log.csv', 'b/2025/m/log.csv', 'n/log.csv'],
  },
  {
    case: 'a folder within the other',
    runs: [
      ['/a/log.csv', 'log.csv'],
      ['/a/a/log.csv', 'log.csv'],
    ],
    ids: ['log.csv', 'a/log.csv'],
  },
  {
    case: 'a file that was named twice',
    runs: [
      ['/a/log.csv', 'log.csv'],
      ['/a/log.csv', 'log.csv'],
    ],
    ids: ['log.csv', 'log.csv'],
  },
] as const)('$case', ({ runs, ids }) => {
  expect(idsOf(distinctIds(logsOf(runs)))).toEqual(ids);
});

test('files of any tree that share their last name get names of their own', () => {
  const part = fc.constantFrom('a', 'b', 'c');
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.array(part, { maxLength: 4 }).map((parts) => parts.join('/'))),
      (folders) => {
        const ids = idsOf(distinctIds(logsOf(folders.map((one) => [`/${one}/log.csv`, 'log.csv'] as const))));
        expect(new Set(ids).size).toBe(folders.length);
        for (const id of ids) expect(id).toMatch(/(^|\/)log\.csv$/);
      },
    ),
  );
});
