/** The line of a config that an error is about. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { atItsLine } from '../../src/app/gate/config-line.ts';
import { DiagError } from '../../src/model/errors.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('config-line');
const YAML = `version: 1
rules:
  drift:
    - error
    - { driftRatio: 2,
        max: 1 }
  "loss-spike": off
overrides:
  - runs: a
    rules: { drift: error }
  - runs: b
    rules:
      drift: [error, { drftRatio: 2 }]
`;

/** What comes of an error that the work throws: itself, or another with a line. */
async function thrownFor(error: unknown, name = '.clippy-diag.yaml', text = YAML): Promise<unknown> {
  const path = join(scratch(), name);
  writeFileSync(path, text);
  const made = typeof error === 'function' ? (error as (path: string) => unknown)(path) : error;
  const thrown = await atItsLine(path, () => {
    throw made;
  }).catch((one: unknown) => one);
  return thrown === made ? 'itself' : (thrown as DiagError).where?.line;
}
const about = (message: string) => (path: string) =>
  new DiagError('config-invalid', message, 2, { path }, 'a hint');

test.each([
  ['rules: what is wrong', 2],
  ['rules.drift: what is wrong', 3],
  // The longest place that is named, and the one that it begins in where the rest is no key.
  ['rules.drift.1.max: what is wrong', 6],
  ['rules.drift.1.driftRatio: what is wrong with rules.drift.', 5],
  ['rules.loss-spike.2: what is wrong', 7],
  ['overrides.1.rules.drift: what is wrong', 13],
  ['overrides.0.rules: what is wrong', 10],
  // A key in quotes, wherever it stands, where no place is named.
  ['there is no threshold "drftRatio"', 13],
  ['there is no rule "runs"', 9],
])('%s: line %i', async (message, line) => {
  expect(await thrownFor(about(message))).toBe(line);
});

test('all else about the error stays', async () => {
  const path = join(scratch(), 'a.yaml');
  writeFileSync(path, YAML);
  const error = about('rules: what is wrong')(path);
  const thrown = await atItsLine(path, () => {
    throw error;
  }).catch((one: unknown) => one);
  expect(thrown).toMatchObject({
    code: 'config-invalid',
    message: 'rules: what is wrong',
    exitCode: 2,
    hint: 'a hint',
    where: { path, line: 2 },
    cause: error,
  });
  expect(await atItsLine(path, () => 7)).toBe(7);
});

test('an error stays itself where it names nothing, has its line, is of another file, or is none of ours', async () => {
  expect(await thrownFor(about('nothing is right'))).toBe('itself');
  expect(
    await thrownFor((path: string) => new DiagError('config-invalid', 'rules: x', 2, { path, line: 4 }, '')),
  ).toBe('itself');
  expect(await thrownFor(new DiagError('config-invalid', 'rules: x', 2, { path: 'other' }, ''))).toBe(
    'itself',
  );
  expect(await thrownFor(new DiagError('config-invalid', 'rules: x', 2, undefined, ''))).toBe('itself');
  expect(await thrownFor(new TypeError('rules: x'))).toBe('itself');
});

test('in a package.json keys count below its own key only', async () => {
  const text = '{\n "rules": {},\n "clippy-diag": {\n  "version": 1,\n  "rules": {}\n }\n}\n';
  expect(await thrownFor(about('rules: x'), 'package.json', text)).toBe(5);
  expect(await thrownFor(about('rules: x'), 'other.json', text)).toBe(2);
});
