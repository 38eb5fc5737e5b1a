/** What a command takes of processor time and memory, in a process of its own. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';

export interface Taken {
  /** Processor time, user and system, of all threads. */
  readonly seconds: number;
  readonly wall: number;
  readonly megabytes: number;
  /** Of what was printed, but for the time of day in it. */
  readonly sha256: string;
}

/** Tells the parent what the process took, over a pipe of its own. */
const TELL = `data:text/javascript,import { writeSync } from 'node:fs';
process.on('exit', () => writeSync(3, JSON.stringify(process.resourceUsage())));`;

/** Runs a built command to its end. */
export function take(bin: string, args: readonly string[]): Taken {
  const begin = process.hrtime.bigint();
  const { output } = spawnSync(process.execPath, ['--import', TELL, bin, ...args], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    maxBuffer: 1 << 30,
  });
  const usage = JSON.parse(String(output[3])) as NodeJS.ResourceUsage;
  return {
    seconds: (usage.userCPUTime + usage.systemCPUTime) / 1e6,
    wall: Number(process.hrtime.bigint() - begin) / 1e9,
    megabytes: usage.maxRSS / 1024,
    sha256: createHash('sha256')
      .update(String(output[1]).replace(/"createdAt": "[^"]*"/, ''))
      .digest('hex'),
  };
}

/** The smallest and the largest. */
export const spread = (values: readonly number[], digits: number): string => {
  const [least, most] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(digits));
  return least === most ? least! : `${least}..${most}`;
};
