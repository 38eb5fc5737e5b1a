/** Tables in text: every column begins, or ends, at one place on the screen. */
import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { textTable } from '../../src/report/text-table.ts';

describe('textTable', () => {
  it('sets text to the left and numbers to the right, whatever script a name is in', () => {
    const lines = textTable({
      head: ['series', 'last'],
      rows: [
        ['损失', '0.5'],
        ['loss', '12.25'],
        ['é́', 'NaN'],
      ],
      left: 1,
    });
    expect(lines).toEqual(['series   last', '损失      0.5', 'loss    12.25', 'é́         NaN']);
  });

  it('drops columns from the last, but never the first two', () => {
    const rows = [['a'.repeat(10), 'b'.repeat(10), 'c'.repeat(10)]];
    expect(textTable({ rows, width: 34 })[0]).toHaveLength(34);
    expect(textTable({ rows, width: 33 })[0]).toHaveLength(22);
    expect(textTable({ rows, width: 5 })[0]).toHaveLength(22);
  });

  it('colours what is written, not the blanks beside it', () => {
    const rows = [['ab'], ['abcd']];
    expect(textTable({ rows, left: 0, paintCell: (text, r) => `<${r}:${text}>` })).toEqual([
      '  <0:ab>',
      '<1:abcd>',
    ]);
  });

  it('cuts at the same columns in every line, for any names', () => {
    const cell = fc.stringMatching(/^[ -~損失é]{0,8}$/).map((text) => text.replaceAll('|', '/'));
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1 }), fc.nat(3), (rows, left) => {
        const marked = textTable({ rows: rows.map((row) => [...row, '|']), left });
        const places = marked.map((line) => stringWidth(line.slice(0, line.lastIndexOf('|'))));
        expect(new Set(places).size).toBe(1);
      }),
    );
  });
});
