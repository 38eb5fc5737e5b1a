/** Progress of long work on standard error, where that is a terminal; nothing elsewhere. */

import { formatNumber } from '../../model/format-number.ts';
import { inertName, inertOutput } from '../../model/inert-text.ts';
import type { OutputStream } from './io.ts';

/** Writes one line that replaces itself: done, total and the time that is left; ends it with the work. */
export function progressOn(
  stream: Pick<OutputStream, 'isTTY' | 'write'>,
  clock: () => number,
  unit = 'step',
): (done: number, total: number) => void {
  const start = clock();
  let shown = 0;
  // What an interrupted run had done took no time of this one.
  let before: number | undefined;
  return (done, total) => {
    const now = clock();
    before ??= done - 1;
    if (stream.isTTY !== true || (now - shown < 200 && done < total)) return;
    shown = now;
    const left = Math.ceil(((now - start) / (done - before)) * (total - done) * 1e-3);
    stream.write(`\r\u001b[K${done < total ? `${unit} ${done} of ${total}, ${left} s left` : ''}`);
  };
}

const BAR = 20;

/**
 * How much of something has been read, as a bar with the time that is left: on a terminal a line that replaces itself,
 * elsewhere one every ten seconds. `tell` is called with 0 when it begins.
 */
export function shareOn(
  stream: Parameters<typeof statusOn>[0],
  clock: () => number,
): { tell(what: string, done: number, total: number): void; end(): void } {
  const status = statusOn(stream);
  const every = stream.isTTY === true ? 200 : LINE_EVERY_MS;
  let start = clock();
  let shown = start;
  let isShown = false;
  return {
    tell(what, done, total) {
      const now = clock();
      if (done === 0) start = now;
      if (now - shown < every || done <= 0) return;
      shown = now;
      isShown = true;
      const share = Math.min(1, done / total);
      const full = Math.floor(share * BAR);
      const left = Math.ceil(((now - start) / share) * (1 - share) * 1e-3);
      const line = `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}] ${Math.floor(100 * share)} %, ${left} s left: ${what}`;
      if (stream.isTTY === true) status(line);
      else stream.write(`${inertOutput(inertName(line))}\n`);
    },
    end: () => {
      if (isShown) status('');
    },
  };
}

/** One line that says what is being worked on, cut to the width of the terminal; `''` clears it. */
export function statusOn(stream: Pick<OutputStream, 'isTTY' | 'columns' | 'write'>): (what: string) => void {
  return (what) => {
    if (stream.isTTY === true)
      stream.write(`\r\u001b[K${inertOutput(inertName(what)).slice(0, (stream.columns ?? 80) - 1)}`);
  };
}

/** Off a terminal, a line so often: enough to see in a log of CI that work goes on. */
const LINE_EVERY_MS = 10_000;

/**
 * Products of searches at one or more places: on a terminal a line that replaces itself, elsewhere one every ten seconds. Says
 * what is certified once it is, and how long is left: at most, until one place is done.
 */
export function productsOn(
  stream: Parameters<typeof statusOn>[0],
  clock: () => number,
): {
  next(
    place: number,
    places: number,
  ): {
    beforeProduct(): void;
    onSearch(
      most: number,
      known: { readonly operator: string; readonly value: number; readonly residualNorm: number } | null,
    ): void;
  };
  end(): void;
} {
  const status = statusOn(stream);
  const start = clock();
  const every = stream.isTTY === true ? 200 : LINE_EVERY_MS;
  let shown = start;
  return {
    next: (place, places) => {
      const began = clock();
      const left = place === 0 ? Number.NaN : ((began - start) / place) * (places - place) * 1e-3;
      let products = 0;
      let before = 0;
      let most = Number.NaN;
      let found = '';
      const timeLeft = (): string => {
        if (!Number.isNaN(left)) return `, ${Math.ceil(Math.max(0, left - (clock() - began) * 1e-3))} s left`;
        const each = (clock() - began) / Math.max(1, products - 1);
        const rest = Math.ceil(each * (most - (products - before)) * 1e-3);
        return rest >= 0 && places === 1 ? `, at most ${rest} s left in this search` : '';
      };
      return {
        onSearch(budget, known) {
          most = budget;
          before = products;
          found =
            known === null
              ? ''
              : `${known.operator}: ${formatNumber(known.value)} ± ${formatNumber(known.residualNorm)} is certified; looking for a larger one, `;
        },
        beforeProduct() {
          products++;
          if (clock() - shown < every) return;
          shown = clock();
          const where = places > 1 ? `checkpoint ${place + 1} of ${places}, ` : '';
          const line = `${where}${found}product ${products}${timeLeft()}`;
          if (stream.isTTY === true) status(line);
          else stream.write(`${inertOutput(inertName(line))}\n`);
        },
      };
    },
    end: () => status(''),
  };
}
