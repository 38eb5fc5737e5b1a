/** The HTML report in a real Chromium: renders, zooms, asks for nothing, and hostile names stay text. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { untried } from '../../src/experiment/cause/remedies.ts';
import type { Report } from '../../src/model/report.ts';
import { html } from '../../src/report/html.ts';
import { chromiumPath } from '../support/chromium.ts';
import { HOSTILE_NAMES } from '../support/hostile-names.ts';
import { makeReport, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';
import { fullReport, PLACES } from './full-report.ts';

const render = (report: Report): string => html.render(report, { width: 80, colour: false, ascii: false });

/** The run that broke, alone on its page. */
const oneRun = (points?: number): Report => {
  const report = fullReport({}, points);
  return { ...report, runs: report.runs.slice(0, 1) };
};

describe.skipIf(chromiumPath === undefined)('in Chromium (skipped: no Chromium found)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-html-'));
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  let files = 0;
  /** Seconds of processor time of the browser and all its pages. */
  const browserTime = async (): Promise<number> => {
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    await session.detach();
    return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  /** Opens a report and collects everything that it says or asks for. */
  async function open(
    report: Report,
    options: Parameters<Browser['newPage']>[0] = {},
  ): Promise<{ page: Page; noise: string[] }> {
    const file = join(folder, `${files++}.html`);
    writeFileSync(file, render(report));
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
    // A page that does not come hangs, however busy the machine is.
    page.setDefaultTimeout(600_000);
    const noise: string[] = [];
    const address = pathToFileURL(file).href;
    page.on('console', (message) => noise.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => noise.push(`error: ${error.message}`));
    page.on('dialog', (dialog) => noise.push(`dialog: ${dialog.message()}`));
    page.on('request', (request) => {
      if (request.url() !== address) noise.push(`request: ${request.url()}`);
    });
    await page.goto(address);
    return { page, noise };
  }
  // Scripts for the page are texts: this project's types know no browser.
  /** Steps under the left and the right edge of a chart, as its legend tells them. */
  const range = (page: Page, index: number): Promise<string[]> =>
    page.evaluate(`(() => {
      const host = document.getElementById('plot-${index}');
      const over = host.querySelector('.u-over');
      const box = over.getBoundingClientRect();
      return [0.5, box.width - 0.5].map((x) => {
        over.dispatchEvent(
          new MouseEvent('mousemove', { clientX: box.left + x, clientY: box.top + 20, bubbles: true }),
        );
        return host.querySelector('.u-value').textContent;
      });
    })()`);

  test('draws every chart near the screen without a word, in little processor time', async () => {
    const before = await browserTime();
    const { page, noise } = await open(oneRun(100_000));
    await page.waitForSelector('#plot-0 canvas');
    // Generous: with the start of a page's process. By the clock, alone: 0.2 s.
    expect((await browserTime()) - before).toBeLessThan(5);
    for (const index of (await page.locator('[data-plot]').all()).keys()) {
      await page.locator(`#plot-${index}`).scrollIntoViewIfNeeded();
      await page.waitForSelector(`#plot-${index} canvas`);
    }
    const painted = await page.evaluate(`(() => {
      const canvas = document.querySelector('#plot-0 canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set();
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255) colours.add([data[i], data[i + 1], data[i + 2]].join());
      return [...colours];
    })()`);
    expect(painted).toContain('31,95,191');
    expect(painted).toContain('179,38,30');
    expect(noise).toEqual([]);
    await page.close();
  });

  test('zooms by dragging, by key and from a finding, and comes back', async () => {
    const { page, noise } = await open(oneRun());
    await page.waitForSelector('#plot-0 canvas');
    expect(await range(page, 0)).toEqual(['1', '400']);
    const plot = page.locator('#plot-0 .u-over');
    // The mouse only reaches what is on the screen.
    await plot.scrollIntoViewIfNeeded();
    const box = (await plot.boundingBox())!;
    await page.mouse.move(box.x + box.width * 0.25, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 60, { steps: 5 });
    await page.mouse.up();
    const [low, high] = (await range(page, 0)).map(Number);
    // A quarter and a half of 1 to 400, to the step.
    expect(low).toBeGreaterThan(95);
    expect(low).toBeLessThan(106);
    expect(high).toBeGreaterThan(195);
    expect(high).toBeLessThan(206);
    await page.locator('#plot-0').focus();
    await page.keyboard.press('0');
    expect(await range(page, 0)).toEqual(['1', '400']);
    await page.keyboard.press('+');
    expect(Number((await range(page, 0))[0])).toBeGreaterThanOrEqual(50);
    await page.keyboard.press('l');
    expect(await page.locator('[data-log="0"]').textContent()).toBe('linear axis');
    await page.locator('[data-reset="0"]').click();
    expect(await range(page, 0)).toEqual(['1', '400']);
    await page.locator('.findings button.show').nth(2).click();
    const shown = (await range(page, 0)).map(Number);
    expect(shown[0]).toBeGreaterThan(20);
    expect(shown[1]).toBeLessThan(60);
    expect(noise).toEqual([]);
    await page.close();
  });

  test.each([120, 500, 20_000])('each key zooms further, %d steps', async (points) => {
    const { page } = await open(oneRun(points));
    await page.waitForSelector('#plot-0 canvas');
    await page.locator('#plot-0').focus();
    const span = async (): Promise<number> => {
      const [low, high] = (await range(page, 0)).map((text) => Number(text.replaceAll(',', '')));
      return high! - low!;
    };
    let before = await span();
    for (let k = 0; k < 3; k++) {
      await page.keyboard.press('+');
      const after = await span();
      // 1 / 1.6, to the nearest points that were logged.
      expect(after / before).toBeLessThan(0.85);
      expect(after / before).toBeGreaterThan(0.45);
      before = after;
    }
    await page.close();
  });

  test('tables sort by number, both ways, what is missing last', async () => {
    const { page } = await open(oneRun());
    const table = page.locator('table', { hasText: 'top eigenvalue' });
    const column = async (): Promise<string[]> => table.locator('tbody tr td:nth-child(3)').allTextContents();
    const button = table.getByRole('button', { name: 'top eigenvalue' });
    await button.click();
    expect(await column()).toEqual(['4', '12', '35']);
    await button.click();
    expect(await column()).toEqual(['35', '12', '4']);
    expect(await table.locator('th[aria-sort]').getAttribute('aria-sort')).toBe('descending');
    const gate = page.locator('#gate table');
    await gate.getByRole('button', { name: 'found' }).click();
    expect((await gate.locator('tbody tr td:nth-child(4)').allTextContents()).slice(0, 2)).toEqual([
      '0',
      '1',
    ]);
    await page.close();
  });

  test('keyboard and screen reader: names, order, no trap', async () => {
    const { page } = await open(oneRun());
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the report');
    const unnamed = await page.evaluate(`
      [...document.querySelectorAll('button, a, [tabindex], [role=group], [role=region]')]
        .filter((e) => !(e.getAttribute('aria-label') ?? e.textContent).trim())
        .map((e) => e.outerHTML.slice(0, 80))`);
    expect(unnamed).toEqual([]);
    const levels: number[] = await page.evaluate(
      `[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))`,
    );
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    levels.forEach((level, i) => {
      if (i > 0) expect(level - levels[i - 1]!).toBeLessThanOrEqual(1);
    });
    expect(await page.locator('#plot-0').getAttribute('aria-label')).toContain(', step 250, ');
    await page.close();
  });

  test.each([
    ['light', { colorScheme: 'light' }, 'rgb(246, 247, 249)'],
    ['dark', { colorScheme: 'dark' }, 'rgb(18, 22, 29)'],
    ['phone', { viewport: { width: 390, height: 844 } }, 'rgb(246, 247, 249)'],
  ] as const)('%s: its own colours, nothing wider than the screen', async (_name, options, background) => {
    const { page, noise } = await open(oneRun(), options);
    await page.waitForSelector('#plot-0 canvas');
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(background);
    expect(
      await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth'),
    ).toBe(0);
    expect(noise).toEqual([]);
    await page.close();
  });

  test('an axis of many decades has numbers, and paper the colours of a light screen', async () => {
    const values = Array.from({ length: 400 }, (_, i) => (i < 100 ? 2 : 10 ** ((36 * (i - 100)) / 300)));
    const run = makeRunReport(makeRun('run.csv', [makeSeries('loss', 'loss', values)]));
    const { page, noise } = await open(makeReport([run]), { colorScheme: 'dark' });
    await page.waitForSelector('#plot-0 canvas');
    const gutter = `(() => {
      const canvas = document.querySelector('#plot-0 canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, 40, canvas.height);
      let painted = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] > 0) painted++;
      return painted;
    })()`;
    expect(await page.evaluate(gutter)).toBeGreaterThan(100);
    const line = `getComputedStyle(document.documentElement).getPropertyValue('--c0').trim()`;
    expect(await page.evaluate(line)).toBe('#7db0ff');
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate(line)).toBe('#1f5fbf');
    expect(noise).toEqual([]);
    await page.close();
  });

  test('without JavaScript all text is there', async () => {
    const { page } = await open(oneRun(), { javaScriptEnabled: false });
    const text = await page.locator('body').textContent();
    for (const part of [
      'full-divergence',
      'gradient-norm-spike',
      'global-norm',
      'ckpt/step-200',
      'Charts need',
    ])
      expect(text).toContain(part);
    await page.close();
  });

  test('a line to paste is read whole, on a phone too', async () => {
    const report = oneRun();
    const run = report.runs[0]!;
    const paste =
      'for group in optimizer.param_groups: group["lr"] = 0.05  # the rate of before, whatever the schedule says';
    const remedies = [{ ...untried('lower-learning-rate', 'keep the learning rate as it was'), paste }];
    const { page } = await open(
      { ...report, runs: [{ ...run, remedies }] },
      { viewport: { width: 400, height: 900 } },
    );
    const hidden = await page.evaluate(
      `[...document.querySelectorAll('.paste pre')].map((one) => one.scrollWidth - one.clientWidth)`,
    );
    expect(hidden).toEqual([0]);
  });

  test('prints on white with every chart', async () => {
    const { page, noise } = await open(oneRun(), { colorScheme: 'dark' });
    await page.waitForSelector('#plot-0 canvas');
    const pdf = await page.pdf();
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
    expect(noise).toEqual([]);
    await page.close();
  });

  test.each(PLACES)('twenty hostile names as %s are text', async (place) => {
    const reports = HOSTILE_NAMES.map((name) => fullReport({ [place]: name }, 100));
    const [first] = reports;
    const report = {
      ...first!,
      runs: reports.map(({ runs }) => runs[0]!),
      inputs: reports.map(({ inputs }) => inputs[0]!),
      gate: { ...first!.gate!, rules: reports.flatMap(({ gate }) => gate!.rules) },
    };
    const { page, noise } = await open(report);
    // The details of each run are closed until a reader opens them.
    await page.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`);
    await page.waitForSelector('#plot-0 canvas');
    await page.evaluate(`document.getElementById('plot-0').scrollIntoView({ behavior: 'instant' })`);
    await page.locator('#plot-0 .u-over').hover();
    expect(await page.evaluate(`'pwned' in window`)).toBe(false);
    expect(noise).toEqual([]);
    expect(await page.locator('details.run h3.title').count()).toBe(20);
    expect(await page.locator('#runs-table tbody tr').count()).toBe(20);
    const strange = await page.evaluate(`
      [...document.querySelectorAll('body *')]
        .filter((e) =>
          ['IMG', 'SVG', 'IFRAME', 'FORM'].includes(e.tagName.toUpperCase()) ||
          [...e.attributes].some((a) =>
            a.name.startsWith('on') || (a.name === 'href' && /^\\s*(javascript|data):/i.test(a.value))))
        .map((e) => e.outerHTML.slice(0, 100))`);
    expect(strange).toEqual([]);
    expect(await page.evaluate(`document.querySelectorAll('script').length`)).toBe(3);
    await page.close();
  });
});
