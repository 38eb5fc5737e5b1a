/** Progress of long work on standard error, where that is a terminal; nothing elsewhere. */

/** Writes one line that replaces itself: done, total and the time that is left; ends it with the work. */
export function progressOn(
  stream: { readonly isTTY?: boolean; write(text: string): unknown },
  clock: () => number,
): (done: number, total: number) => void {
  const start = clock();
  let shown = 0;
  return (done, total) => {
    const now = clock();
    if (stream.isTTY !== true || (now - shown < 200 && done < total)) return;
    shown = now;
    const left = Math.ceil(((now - start) / done) * (total - done) * 1e-3);
    stream.write(`\r\u001b[K${done < total ? `step ${done} of ${total}, ${left} s left` : ''}`);
  };
}
