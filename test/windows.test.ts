/** What Windows does otherwise, played here: its separators, drive letters, files that cannot be replaced while they are open. */
import { expect, test } from 'vitest';
import { pathParts } from '../src/model/path-parts.ts';
import { renameOver } from '../src/read/bytes/rename-over.ts';
import { pathToUri } from '../src/report/path-uri.ts';

test('both separators part a path there, and a backslash is part of a name elsewhere', () => {
  expect(pathParts('C:\\runs\\a/log.jsonl', '\\')).toEqual(['C:', 'runs', 'a', 'log.jsonl']);
  expect(pathParts('runs/a\\b.log', '/')).toEqual(['runs', 'a\\b.log']);
});

test.each([
  ['C:\\runs\\a b\\log.csv', 'file:///C:/runs/a%20b/log.csv'],
  ['d:/runs/log.csv', 'file:///d:/runs/log.csv'],
  ['runs\\a\\log.csv', 'runs/a/log.csv'],
  // No drive: nothing in a relative path may read as a scheme.
  ['c:log.csv', 'c%3Alog.csv'],
  ['javascript:/alert(1)', 'javascript%3A/alert(1)'],
])('the URI of %s', (path, uri) => {
  expect(pathToUri(path)).toBe(uri);
});

function heldFor(attempts: number, code = 'EPERM') {
  let asked = 0;
  const rename = (): Promise<void> =>
    ++asked <= attempts ? Promise.reject(Object.assign(new Error(code), { code })) : Promise.resolve();
  return { rename, asked: () => asked };
}

test('a file that is open is replaced as soon as it is closed', async () => {
  const held = heldFor(3);
  await renameOver('a', 'b', { platform: 'win32', rename: held.rename });
  expect(held.asked()).toBe(4);
});

test('one that stays open, another error and another system are told at once or after the last attempt', async () => {
  const forever = heldFor(99, 'EBUSY');
  await expect(renameOver('a', 'b', { platform: 'win32', rename: forever.rename })).rejects.toThrow('EBUSY');
  expect(forever.asked()).toBe(8);
  const gone = heldFor(99, 'ENOENT');
  await expect(renameOver('a', 'b', { platform: 'win32', rename: gone.rename })).rejects.toThrow('ENOENT');
  expect(gone.asked()).toBe(1);
  const refused = heldFor(99);
  await expect(renameOver('a', 'b', { platform: 'linux', rename: refused.rename })).rejects.toThrow('EPERM');
  expect(refused.asked()).toBe(1);
});
