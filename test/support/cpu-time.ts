/** How long a piece of work takes where other programs share the machine: in processor time, not by the clock on the wall. */

/** Starts to count; the function returned gives the milliseconds of processor time that this process has used since. */
export function cpuTime(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
}
