/** The page of a comparison: what it draws, what it leaves out, and that names stay text. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { RunComparison } from '../../src/model/comparison.ts';
import { renderComparisonHtml } from '../../src/report/comparison-html.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('comparison-html');

interface Drawn {
  readonly comparison: RunComparison;
  readonly page: string;
}

async function drawn(a: string, b: string, ...more: string[]): Promise<Drawn> {
  const folder = scratch();
  const [json, html] = [join(folder, 'c.json'), join(folder, 'c.html')];
  const { code, err } = await cli([
    ...['compare', a, b, '--report', `json:${json}`, '--report', `html:${html}`],
    ...more,
  ]);
  expect([0, 1, 4], err).toContain(code);
  const { comparison } = JSON.parse(readFileSync(json, 'utf8')) as { comparison: RunComparison };
  return { comparison, page: readFileSync(html, 'utf8') };
}

const ledger = (name: string): string => `fixtures/ledgers/${name}/ledger`;

it('draws the losses, their difference with its floor, and each link by tensor and step', async () => {
  const { comparison, page } = await drawn(ledger('base'), ledger('gradient'));
  expect(comparison.picture!.losses.difference.slice(0, 6)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(comparison.picture!.losses.difference[6]).toBeGreaterThan(0);
  const gradient = comparison.picture!.tensors.find(({ link }) => link === 'gradient')!;
  expect(gradient.steps).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  const byName = new Map(gradient.tensors.map(({ name, sizes }) => [name, sizes]));
  expect([...byName.keys()]).toEqual(['0.weight', '0.bias', '2.weight', '2.bias']);
  expect(byName.get('2.weight')!.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
  expect(byName.get('2.weight')![5]).toBeCloseTo(0.01, 2);
  expect(byName.get('0.weight')![5]).toBe(0);
  for (const text of [
    '<title>step 5: ',
    'Gradients: size of the difference',
    'apart: 5',
    '<li><b class="k7">┄ floor',
  ])
    expect(page).toContain(text);
  expect(page).not.toMatch(/<script|https?:\/\/|src=/);
});

it('of equal runs says so and has no difference to draw', async () => {
  const { comparison, page } = await drawn(ledger('base'), ledger('again'));
  expect(comparison.verdict).toBe('same');
  expect(page).toContain('Gradients: all 4 tensors are equal to the bit at 8 steps.');
  expect(page).not.toContain('<title>2.weight');
});

it('has losses that are not finite, and a log alone has no tensors', async () => {
  const folder = scratch();
  const log = (name: string, loss: (step: number) => number | string): string => {
    const path = join(folder, name);
    const lines = Array.from({ length: 1000 }, (_, step) => JSON.stringify({ step, loss: loss(step) }));
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };
  const { comparison, page } = await drawn(
    log('a.jsonl', (step) => 1 + 1 / (step + 1)),
    log('b.jsonl', (step) => (step < 600 ? 1 + 1 / (step + 1) : 'NaN')),
  );
  const { losses, tensors } = comparison.picture!;
  expect(losses.steps.length).toBeLessThanOrEqual(300);
  expect(losses.steps.length).toBe(losses.b.length);
  expect(losses.b.at(-1)).toBe('NaN');
  expect(tensors).toEqual([]);
  expect(page).toContain('to the end: 600');
  expect(page).not.toMatch(/NaN \d|d="[^"]*(NaN|Infinity)/);
});

it('is part of the report of analyze --compare', async () => {
  const html = join(scratch(), 'report.html');
  const { code } = await cli([
    ...['analyze', ledger('base'), ledger('gradient'), '--compare', '--report', `html:${html}`],
  ]);
  expect(code).toBe(0);
  expect(readFileSync(html, 'utf8')).toContain('Gradients: size of the difference by tensor and step');
});

it('keeps names as text, and draws what a saved comparison lacks as nothing', () => {
  const name = `</svg><script>alert(1)</script>" onload="x`;
  const comparison: RunComparison = {
    runs: { a: [name], b: [name] },
    compared: { steps: 2, from: 0, to: 1, links: ['gradient'] },
    settings: [{ key: name, a: name, b: null }],
    paired: true,
    floor: { kind: 'rounding', relative: null },
    differsAt: { step: 1, link: 'gradient', tensor: name, size: Number.POSITIVE_INFINITY },
    partsAt: null,
    forGoodFrom: null,
    end: null,
    verdict: 'cannot-tell',
    statement: name,
    more: [name],
    picture: {
      losses: { steps: [0, 1], a: [], b: [Number.NaN], difference: [], floor: [] },
      tensors: [
        { link: 'gradient', steps: [0, 1], tensors: [{ name, sizes: [Number.NaN] }], left: 3 },
        { link: 'weights', steps: [], tensors: [], left: 0 },
      ],
    },
  };
  const page = renderComparisonHtml(comparison);
  expect(page).not.toMatch(/<script|" onload/);
  expect(page).toContain('3 more tensors');
});

it('never writes over a file of the runs', async () => {
  const folder = scratch();
  const run = join(folder, 'run');
  mkdirSync(run);
  const log = '{"step":1,"loss":2}\n{"step":2,"loss":1}\n';
  writeFileSync(join(run, 'log.jsonl'), log);
  writeFileSync(join(run, 'config.json'), '{"lr":1}');
  for (const [path, file] of [
    [run, join(run, 'config.json')],
    [join(run, 'log.jsonl'), join(run, 'log.jsonl')],
  ]) {
    const { code, err } = await cli(['compare', path!, path!, '--report', `html:${file}`]);
    expect(code, err).toBe(5);
  }
  expect(readFileSync(join(run, 'config.json'), 'utf8')).toBe('{"lr":1}');
  expect(readFileSync(join(run, 'log.jsonl'), 'utf8')).toBe(log);
  expect(existsSync(join(folder, 'c.html'))).toBe(false);
});
