/** What a person sees of the HTML report, in a real Chromium: the first screen, jump links, contrast, filters, size. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import axe from 'axe-core/axe.min.js?raw';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { runsTable, selectRows } from '../../src/model/runs-table.ts';
import { html } from '../../src/report/html.ts';
import { chromiumPath } from '../support/chromium.ts';
import { cli } from '../support/cli.ts';
import { makeReport } from '../support/make-report.ts';
import { fullReport } from './full-report.ts';
import { manyRuns } from './many-runs.ts';

const OPTIONS = { width: 80, colour: false, ascii: false };

describe.skipIf(chromiumPath === undefined)('in Chromium (skipped: no Chromium found)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-page-'));
  let browser: Browser;
  let incident: string;
  let comparison: string;
  const runs = manyRuns(50);
  const fifty = makeReport(runs, { table: runsTable({ runs }) });
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] });
    incident = join(folder, 'incident.html');
    const { code } = await cli(['analyze', 'fixtures/incident', '--quiet', '--report', `html:${incident}`]);
    expect(code).toBe(0);
    comparison = join(folder, 'comparison.html');
    const ledgers = ['base', 'gradient'].map((name) => `fixtures/ledgers/${name}/ledger`);
    expect((await cli(['compare', ...ledgers, '--report', `html:${comparison}`])).code).toBe(1);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  let files = 0;
  const fileOf = (report: Report): string => {
    const file = join(folder, `${files++}.html`);
    writeFileSync(file, html.render(report, OPTIONS));
    return file;
  };
  async function open(file: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options });
    page.setDefaultTimeout(600_000);
    await page.goto(pathToFileURL(file).href);
    return page;
  }
  /** Violations of every rule of axe-core, each with what is wrong. */
  async function violations(page: Page): Promise<string[]> {
    // The page's own policy lets no script in: it comes through the debugger.
    const session = await page.context().newCDPSession(page);
    await session.send('Runtime.evaluate', { expression: axe });
    const { result } = await session.send('Runtime.evaluate', {
      expression: `axe.run(document, { resultTypes: ['violations'] }).then((r) =>
        JSON.stringify(r.violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.html.slice(0, 120)))))`,
      awaitPromise: true,
      returnByValue: true,
    });
    return JSON.parse(result.value as string) as string[];
  }
  const openAll = (page: Page): Promise<unknown> =>
    page.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`);

  test.each([
    ['a laptop', 1280, 800],
    ['a phone', 390, 844],
  ])('answer, line to paste and chart are on the first screen of %s', async (_name, width, height) => {
    const page = await open(incident, { viewport: { width, height } });
    await page.waitForSelector('#plot-0 canvas');
    expect(await page.locator('h1').textContent()).toContain('DIVERGED at step 400');
    const bottoms: Record<string, number> = await page.evaluate(`Object.fromEntries(
      [...document.querySelectorAll('.part'), document.querySelector('#plot-0 canvas'), document.querySelector('.paste')]
        .map((e) => [e.querySelector('dt')?.textContent ?? e.tagName + e.className, e.getBoundingClientRect().bottom]))`);
    expect(Object.keys(bottoms)).toEqual(
      expect.arrayContaining(['Where', 'Why', 'Fix', 'Tried', 'CANVAS', 'DIVpaste']),
    );
    for (const [part, bottom] of Object.entries(bottoms)) expect(bottom, part).toBeLessThanOrEqual(height);
    await page.close();
  });

  test('prints on at most four pages, and what each rule leaves of a tensor is drawn', async () => {
    const page = await open(incident);
    await page.waitForSelector('#plot-0 canvas');
    expect(await page.locator('.factor-maps figure').count()).toBe(5);
    // A cell of the map of Clippy at the step that broke the run says by how much it cut.
    const told = await page
      .locator('.factor-maps figure', { hasText: 'clippy:paper' })
      .locator('title')
      .allTextContents();
    expect(told.filter((one) => /^step 400: cut to [\d.]+ %$/.test(one)).length).toBeGreaterThan(5);
    const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
    const pages = pdf.match(/\/Type\s*\/Page[^s]/g)!.length;
    expect(pages).toBeGreaterThan(1);
    expect(pages).toBeLessThanOrEqual(4);
    await page.close();
  });

  test('no sentence stands twice', async () => {
    const page = await open(incident);
    await openAll(page);
    const sentences: string[] = await page.evaluate(`
      [...document.querySelectorAll('h1, p, li, dd, td, summary')]
        .filter((e) => e.querySelector('p, li, dd, td, summary, pre') === null && e.closest('.keys') === null)
        .flatMap((e) => e.textContent.split(/(?<=[.:;]) +/))
        .map((one) => one.trim())
        .filter((one) => one.split(' ').length > 5)`);
    expect(sentences.length).toBeGreaterThan(20);
    expect(sentences.filter((one, i) => sentences.indexOf(one) !== i)).toEqual([]);
    await page.close();
  });

  test.each([
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { viewport: { width: 390, height: 844 } }],
  ] as const)('axe-core finds nothing, contrast included: %s', async (_name, options) => {
    for (const file of [incident, fileOf(fullReport()), fileOf(fifty)]) {
      const page = await open(file, options);
      await page.waitForSelector('.plot canvas');
      if (file !== fileOf(fifty)) await openAll(page);
      expect(await violations(page), file).toEqual([]);
      await page.close();
    }
  });

  test.each([
    ['light', { colorScheme: 'light' }],
    ['dark', { colorScheme: 'dark' }],
    ['phone', { viewport: { width: 390, height: 844 } }],
  ] as const)('axe-core finds nothing in a comparison, which fits: %s', async (_name, options) => {
    const page = await open(comparison, options);
    await openAll(page);
    expect(await violations(page)).toEqual([]);
    const fits = 'document.documentElement.scrollWidth <= window.innerWidth';
    expect(await page.evaluate(fits)).toBe(true);
    if ('colorScheme' in options && options.colorScheme === 'light') {
      await page.emulateMedia({ media: 'print' });
      await page.setViewportSize({ width: 700, height: 1000 });
      expect(await page.evaluate(fits)).toBe(true);
      expect(await page.locator('.heat-map').first().isVisible()).toBe(true);
    }
    await page.close();
  });

  test('a link of the table opens its run and lands on it, also the second time', async () => {
    const page = await open(fileOf(fifty));
    for (const nth of [30, 3, 3]) {
      await page.locator('#runs-table a').nth(nth).click();
      const href = (await page.locator('#runs-table a').nth(nth).getAttribute('href'))!;
      await page.waitForSelector(`${href}[open] canvas`);
      const top = (await page.locator(href).boundingBox())!.y;
      expect(top).toBeGreaterThanOrEqual(0);
      expect(top).toBeLessThan(40);
      await page.locator(`${href} .body a[href="#runs"]`).click();
    }
    // And so does an address with it.
    const target = await open(fileOf(fifty));
    await target.goto(`${target.url()}#run-40`);
    await target.reload();
    await target.waitForSelector('#run-40[open] canvas');
    expect((await target.locator('#run-40').boundingBox())!.y).toBeLessThan(40);
    await page.close();
    await target.close();
  });

  test('filters as --where does, groups as --group-by does', async () => {
    const page = await open(fileOf(fifty));
    const names = (): Promise<string[]> =>
      page.locator('#runs-table tbody tr:not(.group) td:first-child').allTextContents();
    for (const where of [
      ['class!=healthy'],
      ['lr>0.01', 'best<=0.402'],
      ['onset=null'],
      ['onset='],
      ['optimizer=adam'],
    ]) {
      await page.locator('#filter').fill(where.join(' '));
      const expected = selectRows(fifty, { where }).rows.map(({ run }) => run);
      expect(await names(), where.join(' ')).toEqual(expected);
    }
    await page.locator('#filter').fill('run-1');
    expect(await names()).toHaveLength(11);
    await page.locator('#filter').fill('');
    await page.locator('#group').selectOption({ label: 'lr' });
    const grouped = selectRows(fifty, { groupBy: ['lr'] });
    expect(await names()).toEqual(grouped.rows.map(({ run }) => run));
    expect(await page.locator('tr.group').count()).toBe(grouped.groups!.length);
    expect(await page.locator('#overlay-keys li').count()).toBe(grouped.groups!.length);
    await page.close();
  });

  test('a rectangle over the curves keeps the runs that pass through it, and all come back', async () => {
    const page = await open(fileOf(fifty));
    const names = (): Promise<string[]> =>
      page.locator('#runs-table tbody tr:not(.group) td:first-child').allTextContents();
    const plot = page.locator('#overlay-plot .u-over');
    await plot.scrollIntoViewIfNeeded();
    await page.locator('#overlay-brush').click();
    expect(await page.locator('#overlay-brush').getAttribute('aria-pressed')).toBe('true');
    const box = (await plot.boundingBox())!;
    // The upper half, from the middle on: runs that broke.
    await page.mouse.move(box.x + box.width * 0.5, box.y + 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 2, box.y + box.height * 0.5, { steps: 5 });
    await page.mouse.up();
    const status = (await page.locator('#shown').textContent())!;
    const said = /^(\d+) of 50 runs, through (\S+) to (\S+) at steps (\d+) to (\d+)$/.exec(status)!;
    expect(said, status).not.toBeNull();
    const [, count, low, high, from, to] = said.map(Number);
    const inside = runs.filter(({ series }) => {
      const { lastStep, min, max } = series[0]!;
      return max.some(
        (value, i) => lastStep[i]! >= from! && lastStep[i]! <= to! && value <= high! && min[i]! >= low!,
      );
    });
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(50);
    // A curve has fewer columns than the run has points.
    expect(Math.abs(inside.length - count!)).toBeLessThanOrEqual(2);
    expect(await names()).toHaveLength(count!);
    // The next drag zooms again.
    expect(await page.locator('#overlay-brush').getAttribute('aria-pressed')).toBe('false');
    await page.locator('#overlay-all').click();
    expect(await names()).toHaveLength(50);
    expect(await page.locator('#overlay-all').isVisible()).toBe(false);
    await page.close();
  });

  test('without JavaScript the table stands there, grouped as it was asked for', async () => {
    const report = { ...fifty, table: selectRows(fifty, { groupBy: ['lr'] }) };
    const page = await open(fileOf(report), { javaScriptEnabled: false });
    expect(await page.locator('#runs-table tbody tr:not(.group)').count()).toBe(50);
    expect(await page.locator('tr.group').first().textContent()).toContain('lr 0.001 · ');
    expect(await page.locator('.controls').isVisible()).toBe(false);
    await page.close();
  });
});
