import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { indexPage } from '../../docs/index-page.ts';
import { documentPages, explain, explainable } from '../../src/app/engine/pages.ts';
import { wrapMarkdown } from '../../src/model/wrap-markdown.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const docs = join(projectRoot, 'docs');

describe('generated pages', () => {
  it("has a list of them by the reader's question: docs/README.md, as npm run docs writes it", () => {
    expect(readFileSync(join(docs, 'README.md'), 'utf8')).toBe(indexPage(docs));
    // A page that answers no question is found by nobody.
    expect(indexPage(docs)).not.toContain('## More');
  });
  it('are committed as they are (`npm run docs` writes them)', () => {
    for (const [path, text] of documentPages()) {
      const page = join(docs, path);
      expect(
        existsSync(page) ? readFileSync(page, 'utf8') : 'no page',
        `docs/${path}: run npm run docs`,
      ).toBe(text);
    }
    const committed = ['failures', 'findings', 'rules'].flatMap((folder) =>
      readdirSync(join(docs, folder)).map((f) => `${folder}/${f}`),
    );
    expect(committed.sort()).toEqual([...documentPages().keys()].sort());
  });

  it('exist for every id, and say more than its name', async () => {
    const all = await explainable();
    expect(all.length).toBeGreaterThan(40);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    for (const { id, summary } of all) {
      expect(summary, id).not.toBe('');
      expect((await explain(id)).length, id).toBeGreaterThan(id.length + 20);
    }
  });

  it('of numerics list each clipping rule at the stage at which it acts', () => {
    const text = readFileSync(join(docs, 'numerics.md'), 'utf8').replace(/\s+/g, ' ');
    const listed = {
      gradient: /on the gradient \(([^)]*)\)/,
      direction: /on the direction r before the learning rate \(([^)]*)\)/,
      update: /on the update Δ = ηr \(([^)]*)\)/,
    };
    for (const [stage, list] of Object.entries(listed)) {
      const acting = Object.values(RULES).filter((rule) => rule.stage === stage && rule !== RULES.none);
      expect(list.exec(text)?.[1]?.split(', ').sort(), stage).toEqual(acting.map(({ id }) => id).sort());
    }
  });

  it('of docs/ are all told by `explain`, and come with the package', async () => {
    const texts = new Set(await Promise.all((await explainable()).map(({ id }) => explain(id))));
    const packed = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as { files: string[] };
    expect(packed.files).toContain('docs/**/*.md');
    for (const name of readdirSync(docs, { recursive: true, encoding: 'utf8' }))
      if (name.endsWith('.md')) expect(texts.has(readFileSync(join(docs, name), 'utf8')), name).toBe(true);
  });

  it.each(['docs', 'README.md', 'CONTRIBUTING.md'])('%s: prose is at most 100 columns wide', (place) => {
    const path = join(projectRoot, place);
    const pages = place.endsWith('.md')
      ? [path]
      : readdirSync(path, { recursive: true, encoding: 'utf8' })
          .filter((name) => name.endsWith('.md'))
          .map((name) => join(path, name));
    for (const page of pages) {
      const text = readFileSync(page, 'utf8');
      expect(text, `${page}: run npm run docs`).toBe(wrapMarkdown(text));
    }
  });

  it.each(['gate', 'docs/gate.md', 'gate.md'])('%s is the page of the gate', async (id) =>
    expect(await explain(id)).toBe(readFileSync(join(docs, 'gate.md'), 'utf8')),
  );

  it('of formats are told by their name, and by their folder', async () => {
    const csv = readFileSync(join(docs, 'formats/csv.md'), 'utf8');
    for (const id of ['csv', 'formats/csv']) expect(await explain(id)).toBe(csv);
    expect(await explain('formats/json')).toBe(readFileSync(join(docs, 'formats/json.md'), 'utf8'));
    expect(await explain('json')).toBe(readFileSync(join(docs, 'json.md'), 'utf8'));
  });

  it('are listed by what they are about', async () => {
    const { out } = await cli(['explain'], { env: { COLUMNS: '80' } });
    expect(out).toMatch(/^Guides\n {2}/);
    expect(out).toMatch(/\nClipping rules\n {2}none /);
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('give every threshold an origin', () => {
    for (const [path, text] of documentPages())
      for (const row of text.split('\n').filter((line) => /^\| `.*\|$/.test(line)))
        expect(row.split(' | ').at(-1)!.replace('|', '').trim().length, `${path}: ${row}`).toBeGreaterThan(8);
  });

  it.each([
    ['nan', ['nan-out-of-calm', 'nan-after-a-rise', 'gradient-not-finite', 'non-finite-loss']],
    ['spike', ['loss-spike', 'full-divergence', 'unlike-batches', 'rate-raised']],
    ['oom', ['out-of-memory']],
    ['plateau', ['dead-from-the-start', 'rate-is-zero', 'never-learned', 'plateau-after-jump']],
    ['not learning', ['dead-from-the-start', 'rate-is-zero', 'never-learned', 'frozen-tensor']],
  ])('a symptom leads to pages: %s', async (symptom, pages) => {
    const { out } = await cli(['explain', ...symptom.split(' ')]);
    const listed = [...out.matchAll(/^- `([\w-]+)`: \S/gm)].map(([, id]) => id);
    expect(listed).toEqual(expect.arrayContaining(pages));
  });

  it.each([
    ['los-spike', 'loss-spike'],
    ['curvatur', 'curvature'],
    ['exitcodes', 'exit-codes'],
    ['gates', 'gate'],
    ['docs/captrues.md', 'captures'],
  ])('%s: did you mean %s?', async (id, meant) => {
    const { err, code } = await cli(['explain', id]);
    expect([code, err]).toEqual([2, expect.stringContaining(`did you mean ${meant}?`)]);
  });
});

it('every report format has a row in docs/reports.md, and no other has', () => {
  const rows = readFileSync(join(docs, 'reports.md'), 'utf8').matchAll(/^\| `([\w-]+)` \|/gm);
  expect([...rows].map(([, id]) => id).sort()).toEqual(Object.keys(REPORT_FORMATS).sort());
});
