import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import type { ChartSeries } from '../../src/model/report.ts';
import { summariseSeries } from '../../src/model/series-summary.ts';
import { drawChart } from '../../src/report/charts.ts';
import { anyNumber } from '../support/arbitrary-of.ts';

const chartSeries = (name: string, values: readonly number[], stride = 1): ChartSeries =>
  summariseSeries(
    {
      name,
      role: 'loss',
      step: Float64Array.from(values, (_, i) => i * stride),
      value: Float64Array.from(values),
      missing: 0,
      refused: 0,
      attemptOffsets: [0],
      pathOffsets: [0],
    },
    1000,
  );
const plain = { width: 80, colour: false, ascii: false } as const;
const rows = (chart: string): string[] => chart.split('\n');

/** A smooth descent: no randomness, so that snapshots stand for good. */
const descent = Array.from({ length: 500 }, (_, i) => 0.3 + 0.4 * Math.exp(-i / 100));

describe('drawChart', () => {
  it('shows a spike of one point in 100,000', () => {
    const values = Array.from({ length: 100_000 }, () => 1);
    values[54_321] = 50;
    const chart = drawChart('loss', [chartSeries('loss', values)], { ...plain, scale: 'linear' });
    expect(rows(chart)[1]).toMatch(/50 ┤ +░/);
  });

  it('draws whatever a saved report holds, and no line is wider than the terminal', () => {
    const numbers = fc.array(anyNumber, { minLength: 4, maxLength: 4 });
    const line = fc.record({
      name: fc.oneof(fc.string({ unit: 'grapheme', maxLength: 90 }), fc.constant('损失'.repeat(30))),
      firstStep: numbers,
      lastStep: numbers,
      min: numbers,
      max: numbers,
      nonFinite: fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }),
    });
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 3 }),
        fc.integer({ min: 40, max: 120 }),
        fc.constantFrom('auto', 'log', 'linear'),
        (lines, width, scale) => {
          const [, ...chart] = rows(drawChart('loss', lines, { ...plain, width, scale }));
          for (const row of chart) expect(stringWidth(row), row).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  it('takes a log scale when the range asks for it, and says so', () => {
    const blown = descent.map((v, i) => (i > 400 ? v * 10 ** ((i - 400) / 20) : v));
    expect(drawChart('loss', [chartSeries('loss', blown)], plain)).toContain('(log scale)');
    expect(drawChart('loss', [chartSeries('loss', descent)], plain)).not.toContain('(log scale)');
    expect(drawChart('loss', [chartSeries('loss', [-1, 1e6])], plain)).not.toContain('(log scale)');
    expect(drawChart('loss', [chartSeries('loss', [0, 1e6])], { ...plain, scale: 'log' })).toContain(
      'values ≤ 0',
    );
  });

  it('marks non-finite values where they are, and draws nothing in their place', () => {
    const values = descent.map((v, i) => (i >= 400 ? Number.NaN : v));
    const chart = rows(drawChart('loss', [chartSeries('loss', values)], plain));
    const crosses = chart.find((line) => line.includes('×'))!;
    expect(crosses.indexOf('×')).toBeGreaterThan(60);
    for (const line of chart.slice(1, chart.indexOf(crosses)))
      expect(line.slice(crosses.indexOf('×') + 1).trim()).toBe('');
    expect(chart.at(-1)).toContain('non-finite');
  });

  it('draws a chart of NaN only, of one point, of a constant, and of nothing', () => {
    expect(drawChart('loss', [chartSeries('loss', [Number.NaN, Number.NaN])], plain)).toContain('×');
    expect(drawChart('loss', [chartSeries('loss', [3])], plain)).toContain('3 ┤');
    expect(drawChart('loss', [chartSeries('loss', [2, 2, 2])], plain)).toContain('2 ┤');
    expect(drawChart('loss', [], plain)).toBe('loss: nothing to draw');
    expect(drawChart('loss', [chartSeries('loss', [])], plain)).toBe('loss: nothing to draw');
  });

  it.each([40, 60, 80, 200])('fits into %d columns', (width) => {
    const chart = drawChart(
      'loss',
      [
        chartSeries('loss', descent),
        chartSeries(
          'task',
          descent.map((v) => v / 2),
        ),
      ],
      {
        ...plain,
        width,
        markers: [{ step: 250, symbol: '▲', label: 'onset 250' }],
      },
    );
    for (const line of rows(chart)) expect([...line].length).toBeLessThanOrEqual(width);
  });

  it('puts a marker under its step', () => {
    const options = { ...plain, markers: [{ step: 499, symbol: '▲', label: 'onset 499' }] };
    const marker = rows(drawChart('loss', [chartSeries('loss', descent)], options)).find((l) =>
      l.includes('▲'),
    )!;
    expect(marker.indexOf('▲')).toBe(79);
    expect(marker).toMatch(/^ +░ range in each column +onset 499 ▲$/);
  });

  it('explains its shade only where the line leaves some of it to be seen', () => {
    const spike = Array.from({ length: 80 }, (_, i) => (i === 32 ? 5 : i === 33 ? 2.5 : 0.2));
    const chart = drawChart('loss', [chartSeries('loss', spike)], { ...plain, height: 3 });
    expect(chart).toContain('╭');
    expect(chart).not.toContain('░');
  });

  it('hides no mark behind another, and counts those beyond the eighth', () => {
    const markers = Array.from({ length: 11 }, (_, i) => ({ step: 250, symbol: '▲', label: `mark ${i}` }));
    const chart = drawChart('loss', [chartSeries('loss', descent)], { ...plain, markers });
    for (let i = 0; i < 8; i++) expect(chart).toContain(`mark ${i}`);
    expect(chart).toContain('and 3 more');
  });

  it('says whose line it is without colour, by a point of each series', () => {
    const lines = [0.5, 1, 2].map((level) =>
      chartSeries(
        `task ${level}`,
        descent.map((v) => v * level),
      ),
    );
    const chart = rows(drawChart('loss', lines, plain));
    const legend = chart.findIndex((line) => line.includes('● task 0.5  ■ task 1  ▲ task 2'));
    for (const point of ['●', '■', '▲']) expect(chart.slice(legend + 1).join('')).toContain(point);
    expect(drawChart('loss', lines, { ...plain, colour: true })).not.toContain('■');
  });

  it('has decades or round numbers on its axis', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -6, max: 6, noNaN: true }),
        fc.double({ min: 2.1, max: 12, noNaN: true }),
        fc.integer({ min: 5, max: 30 }),
        (low, decades, height) => {
          const values = [10 ** low, 10 ** (low + decades)];
          const labels = drawChart('loss', [chartSeries('loss', values)], { ...plain, height, scale: 'log' })
            .split('\n')
            .flatMap((line) => /^ *(\S+) ┤/.exec(line)?.[1] ?? []);
          expect(labels.length).toBeGreaterThan(1);
          for (const label of labels)
            expect(Number(label)).toBeCloseTo(10 ** Math.round(Math.log10(Number(label))), 12);
        },
      ),
    );
  });

  it('is drawn on as few rows as two, on either side of 1 and of 0', () => {
    for (const [values, low, high] of [
      [[0.3, 1, 147], '1', '100'],
      [[-3, 1, 2], '-3', '2'],
    ] as const)
      for (const height of [1, 2]) {
        const chart = drawChart('loss', [chartSeries('loss', values)], { ...plain, height, scale: 'auto' });
        expect(rows(chart).flatMap((line) => /^ *(\S+) ┤/.exec(line)?.[1] ?? [])).toEqual([high, low]);
        // The highest value lies on the upper row, the lowest on the lower one.
        expect(rows(chart)[1]).toMatch(/[╭╮─]$/);
        expect(rows(chart)[2]).toMatch(/┤─/);
      }
  });

  it('is ASCII where asked for, and has no escape sequences without colour', () => {
    const chart = drawChart('loss', [chartSeries('loss', [1, 5, Number.NaN, 2])], { ...plain, ascii: true });
    expect(chart).toMatch(/^[\x20-\x7e\n]*$/);
    expect(drawChart('loss', [chartSeries('loss', [1, 5])], { ...plain, colour: true })).toContain('\u001b[');
  });

  it.each([60, 80, 200])('looks as it did, at %d columns', (width) => {
    const incident = descent.map((v, i) => (i > 420 ? Math.min(40, v * 1.3 ** (i - 420)) : v));
    const chart = drawChart('loss', [chartSeries('loss', incident, 10)], {
      ...plain,
      width,
      markers: [{ step: 4210, symbol: '▲', label: 'onset 4,210' }],
    });
    expect(chart).toMatchSnapshot();
  });
});
