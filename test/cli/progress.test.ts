/** What long work says of itself, by a clock that the test moves. */
import { expect, it } from 'vitest';
import { productsOn, progressOn, shareOn } from '../../src/app/cli/progress.ts';

it('progress: done, total and the time that is left, on a terminal alone', () => {
  let now = 1000;
  const lines: string[] = [];
  const stream = { isTTY: true, write: (text: string) => lines.push(text) };
  const progress = progressOn(stream, () => now);
  now = 1200;
  progress(1, 50);
  now = 3000;
  progress(10, 50);
  now = 3100;
  progress(11, 50);
  now = 9000;
  progress(40, 50);
  progress(50, 50);
  // 0.2 s for 1 of 50: 10 s left; 2 s for 10 of 50: 8 s left; 100 ms later nothing new; 8 s for 40: 2 s left; the end clears the line.
  expect(lines.map((line) => line.replace('\r\u001b[K', ''))).toEqual([
    'step 1 of 50, 10 s left',
    'step 10 of 50, 8 s left',
    'step 40 of 50, 2 s left',
    '',
  ]);
  const quiet: string[] = [];
  progressOn({ write: (text: string) => quiet.push(text) }, () => now)(1, 2);
  expect(quiet).toEqual([]);
});

it('share: a bar and the time that is left, on a terminal five times a second, elsewhere every ten seconds', () => {
  const told = (isTTY: boolean): string[] => {
    let now = 0;
    const lines: string[] = [];
    const { tell, end } = shareOn(
      { isTTY, columns: 200, write: (text: string) => lines.push(text) },
      () => now,
    );
    // A tenth takes three seconds.
    for (const file of ['a.bin', 'b\n.bin'])
      for (let tenth = 0; tenth <= 10; tenth++, now += 3000) tell(file, 7 * tenth, 70);
    end();
    return lines;
  };
  const onTerminal = told(true).map((line) => line.replace('\r\u001b[K', ''));
  expect(onTerminal).toHaveLength(21);
  expect(onTerminal.slice(0, 2)).toEqual([
    '[##..................] 10 %, 27 s left: a.bin',
    '[####................] 20 %, 24 s left: a.bin',
  ]);
  expect(onTerminal.at(-1)).toBe('');
  // The second file begins at 33 s, and a line end in its name is none on the terminal.
  expect(told(false)).toEqual([
    '[########............] 40 %, 18 s left: a.bin\n',
    '[################....] 80 %, 6 s left: a.bin\n',
    expect.stringMatching(/^\[##\.{18}\] 10 %, 27 s left: b\S+\.bin\n$/),
    expect.stringMatching(/^\[##########\.{10}\] 50 %, 15 s left: b/),
    expect.stringMatching(/^\[##################\.\.\] 90 %, 3 s left: b/),
  ]);
});

it('products: on a terminal what is certified and how long is left, elsewhere a line every ten seconds', () => {
  const told = (isTTY: boolean): string[] => {
    let now = 0;
    const lines: string[] = [];
    const progress = productsOn(
      { isTTY, columns: 200, write: (text: string) => lines.push(text) },
      () => now,
    );
    const { beforeProduct, onSearch } = progress.next(0, 1);
    onSearch(300, null);
    // A product takes four seconds.
    for (let k = 0; k < 3; k++, now += 4000) beforeProduct();
    onSearch(3, { operator: 'hessian', value: 12.5, residualNorm: 0.01 });
    for (let k = 0; k < 3; k++, now += 4000) beforeProduct();
    return lines;
  };
  expect(told(true).map((line) => line.replace('\r\u001b[K', ''))).toEqual([
    'product 2, at most 1192 s left in this search',
    'product 3, at most 1188 s left in this search',
    'hessian: 12.5 ± 0.01 is certified; looking for a larger one, product 4, at most 8 s left in this search',
    'hessian: 12.5 ± 0.01 is certified; looking for a larger one, product 5, at most 4 s left in this search',
    'hessian: 12.5 ± 0.01 is certified; looking for a larger one, product 6, at most 0 s left in this search',
  ]);
  expect(told(false)).toEqual([
    'hessian: 12.5 ± 0.01 is certified; looking for a larger one, product 4, at most 8 s left in this search\n',
  ]);
});
