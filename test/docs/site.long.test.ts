/** The docs as a site: no link is dead. In a browser: the search finds, every page of the gallery opens, and fits a phone. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const executablePath = '/usr/bin/chromium';
const folder = scratchFolders('site');
let site: string;
// Throws where a page links to what is not there.
beforeAll(() => {
  site = folder();
  execFileSync(process.execPath, ['docs/site/build.js', site], { cwd: projectRoot });
});

it('is built whole', () => expect(existsSync(join(site, 'index.html'))).toBe(true));

it('has a list of its pages for language models, without code and with no dead link', () => {
  const lines = readFileSync(join(site, 'llms.txt'), 'utf8').split('\n');
  const links = lines.filter((line) => line.startsWith('- '));
  expect(links.length).toBeGreaterThan(100);
  for (const line of links) {
    const [, path] = /^- \[[^\]]+\]\(([^)]+)\): \S.*$/.exec(line)!;
    expect([path, existsSync(join(site, path!))]).toEqual([path, true]);
    expect(line).not.toContain('```');
  }
});

it.skipIf(!existsSync(executablePath))(
  'is searched without a server, and fits a phone (skipped without Chromium)',
  async () => {
    const at = (path: string): string => pathToFileURL(join(site, path)).href;
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    try {
      const context = await browser.newContext({ viewport: { width: 390, height: 844 }, offline: true });
      const page = await context.newPage();
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      await page.goto(at('index.html'));
      await page.fill('input', 'preconditioned limit');
      await page.click('#found a >> nth=0');
      expect(page.url()).toMatch(/curvature\.html#/);
      // What people type first, and the page that answers it.
      for (const [text, answer] of [
        ['slack', /watch\.html#/],
        ['NaN loss', /findings\/non-finite-loss\.html#/],
        ['exit code', /exit-codes\.html#/],
      ] as const) {
        await page.fill('input', text);
        expect([text, await page.getAttribute('#found a >> nth=0', 'href')]).toEqual([
          text,
          expect.stringMatching(answer),
        ]);
      }
      // The picture of the first page is there, and no mark of what a release writes.
      await page.goto(at('index.html'));
      expect(
        await page.$eval('img', (image) => (image as unknown as { naturalWidth: number }).naturalWidth),
      ).toBeGreaterThan(100);
      expect(await page.textContent('main')).not.toContain('stamp:');
      await page.fill('input', 'xyzzy');
      expect(await page.textContent('#found')).toBe('Nothing found.');
      await page.goto(at('gallery.html'));
      const shown = await page.$$eval('.gallery a', (links) =>
        links.map((link) => link.getAttribute('href')!),
      );
      expect(shown.length).toBe(10);
      for (const path of shown) expect(existsSync(join(site, path)), path).toBe(true);
      const pages = readdirSync(site, { recursive: true, encoding: 'utf8' }).filter(
        (name) => name.endsWith('.html') && !name.startsWith('gallery/'),
      );
      expect(pages.length).toBeGreaterThan(80);
      const wide: string[] = [];
      for (const path of pages) {
        await page.goto(at(path));
        if ((await page.evaluate('document.documentElement.scrollWidth - innerWidth')) !== 0) wide.push(path);
      }
      expect([wide, errors]).toEqual([[], []]);
    } finally {
      await browser.close();
    }
  },
);
