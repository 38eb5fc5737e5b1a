/** The picture of the README: text and colours of a terminal, as SVG. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { terminalSvg, textOfSvg } from '../../build/terminal-svg.ts';
import { examples, INCIDENT } from '../support/doc-pages.ts';
import { projectRoot } from '../support/shared-data.ts';

describe('terminalSvg', () => {
  it('keeps the text, whatever is in it', () => {
    const printed =
      'a <b> & "c" ─╮░\n\n  \u001b[1mbold\u001b[22m, \u001b[2m\u001b[36mdim\u001b[39m\u001b[22m end\n';
    expect(textOfSvg(terminalSvg('tool x', printed, 40))).toBe(
      '$ tool x\na <b> & "c" ─╮░\n\n  bold, dim end',
    );
  });

  it('draws colour, bold and dim where they were asked for, also over a line end', () => {
    const svg = terminalSvg('t', '\u001b[1;31mred\nstill\u001b[0m plain\n', 40);
    expect(svg).toContain('<tspan fill="#ff7b72" font-weight="bold">red</tspan>');
    expect(svg).toContain('<tspan fill="#ff7b72" font-weight="bold">still</tspan> plain');
    expect(svg.match(/opacity/g)).toHaveLength(1);
  });

  it('has a length for every line, so that columns stay in line in any font', () => {
    const rows = [...terminalSvg('t', 'abcde\n日本\n', 40).matchAll(/textLength="([\d.]+)"/g)].map(([, n]) =>
      Number(n),
    );
    expect(rows).toHaveLength(3);
    expect(rows[1]).toBeCloseTo(5 * 8.4, 1);
  });
});

describe('docs/picture.svg', () => {
  const svg = readFileSync(join(projectRoot, 'docs/picture.svg'), 'utf8');

  // What docs/page.md shows is what the command prints: test/engine/analyze.test.ts.
  it('shows what docs/page.md shows (else: npm run build && npm run picture)', () => {
    const [shown] = examples.filter(({ args }) => args === INCIDENT);
    expect(`${textOfSvg(svg)}\n`).toBe(`$ clippy-diag ${INCIDENT}\n${shown!.shown}`);
  });

  it('runs and loads nothing', () =>
    expect(svg).not.toMatch(/<script|<image|<foreignObject|href=|@import|url\(/));
});
