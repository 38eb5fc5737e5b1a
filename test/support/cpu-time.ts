/** How long a piece of work takes where other programs share the machine: in processor time, not by the clock on the wall. */

/** Starts to count; the function returned gives the milliseconds of processor time that this process has used since. */
export function cpuTime(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
}

/** Pieces that are over sooner, by the clock, share one question: on some machines to ask takes longer than they do. */
const ASK_EVERY = 250;

/**
 * Watches pieces of work that follow each other. Call what it returns behind each piece.
 *
 * @param most milliseconds of processor time that one piece may take
 * @returns throws, with the name of the piece, where it took more, alone or with what ran in the quarter of a second before
 */
export function cpuLimit(most: number): (piece: () => string) => void {
  let cpu = cpuTime();
  let since = performance.now();
  return (piece) => {
    if (performance.now() - since < ASK_EVERY) return;
    const took = cpu();
    if (!(took <= most)) throw new Error(`${piece()}: took ${took.toFixed(0)} ms`);
    cpu = cpuTime();
    since = performance.now();
  };
}
