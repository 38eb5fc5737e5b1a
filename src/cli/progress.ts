/** Progress of long work on standard error, where that is a terminal; nothing elsewhere. */

import { inertName, inertOutput } from '../model/inert-text.ts';
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

/** One line that says what is being worked on, cut to the width of the terminal; `''` clears it. */
export function statusOn(stream: Pick<OutputStream, 'isTTY' | 'columns' | 'write'>): (what: string) => void {
  return (what) => {
    if (stream.isTTY === true)
      stream.write(`\r\u001b[K${inertOutput(inertName(what)).slice(0, (stream.columns ?? 80) - 1)}`);
  };
}

/** Products of searches at one or more places; how long is left is known once one place is done. */
export function productsOn(
  stream: Parameters<typeof statusOn>[0],
  clock: () => number,
): { next(place: number, places: number): () => void; end(): void } {
  const status = statusOn(stream);
  const start = clock();
  let shown = 0;
  return {
    next: (place, places) => {
      const left = place === 0 ? Number.NaN : ((clock() - start) / place) * (places - place) * 1e-3;
      let products = 0;
      return () => {
        products++;
        if (clock() - shown < 200) return;
        shown = clock();
        const where = places > 1 ? `checkpoint ${place + 1} of ${places}, ` : '';
        status(`${where}product ${products}${Number.isNaN(left) ? '' : `, ${Math.ceil(left)} s left`}`);
      };
    },
    end: () => status(''),
  };
}
