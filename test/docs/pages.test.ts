import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentPages, explain, explainable } from '../../src/engine/pages.ts';
import { REPORT_FORMATS } from '../../src/reports/registry.ts';
import { projectRoot } from '../support/shared-data.ts';

const docs = join(projectRoot, 'docs');

describe('generated pages', () => {
  it('are committed as they are (`npm run docs` writes them)', () => {
    for (const [path, text] of documentPages()) {
      const page = join(docs, path);
      expect(
        existsSync(page) ? readFileSync(page, 'utf8') : 'no page',
        `docs/${path}: run npm run docs`,
      ).toBe(text);
    }
    const committed = ['findings', 'rules'].flatMap((folder) =>
      readdirSync(join(docs, folder)).map((f) => `${folder}/${f}`),
    );
    expect(committed.sort()).toEqual([...documentPages().keys()].sort());
  });

  it('exist for every id, and say more than its name', () => {
    const all = explainable();
    expect(all.length).toBeGreaterThan(40);
    for (const { id } of all) expect(explain(id).length, id).toBeGreaterThan(id.length + 20);
  });

  it('give every threshold an origin', () => {
    for (const [path, text] of documentPages())
      for (const row of text.split('\n').filter((line) => /^\| `.*\|$/.test(line)))
        expect(row.split(' | ').at(-1)!.replace('|', '').trim().length, `${path}: ${row}`).toBeGreaterThan(8);
  });

  it('name the nearest id for one that is none', () => {
    expect(() => explain('los-spike')).toThrow(/no page "los-spike"/);
  });
});

it('every report format has a row in docs/reports.md, and no other has', () => {
  const rows = readFileSync(join(docs, 'reports.md'), 'utf8').matchAll(/^\| `([\w-]+)` \|/gm);
  expect([...rows].map(([, id]) => id).sort()).toEqual(Object.keys(REPORT_FORMATS).sort());
});
