/** A closed loop that is killed by the system at several moments, and goes on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runClosedLoop } from '../../src/experiment/measure/closed-loop.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-kill-'));
afterAll(() => rmSync(folder, { recursive: true }));
const capturePath = join(projectRoot, 'fixtures/captures/nan');
const RULES = ['clippy', 'global-norm:1.0', 'agc:0.01'];

/** Says every step on standard output, and keeps its state after each. */
const script = join(folder, 'loop.mts');
writeFileSync(
  script,
  `import { openCapture } from ${JSON.stringify(join(projectRoot, 'src/read/captures/read.ts'))};
import { runClosedLoop } from ${JSON.stringify(join(projectRoot, 'src/experiment/measure/closed-loop.ts'))};
import { parseRule } from ${JSON.stringify(join(projectRoot, 'src/step/rules/parse.ts'))};
const result = await runClosedLoop(await openCapture(${JSON.stringify(capturePath)}), {
  rules: ${JSON.stringify(RULES)}.flatMap(parseRule), clock: Date.now, interval: 0,
  stateFile: ${JSON.stringify(join(folder, 'state.json'))},
  progress: (done) => process.stdout.write(done + '\\n'),
});
process.stdout.write('entries ' + JSON.stringify(result.entries.map(({ loss }) => loss.map(String))) + '\\n');
`,
);

/** Runs until a step was said, then kill -9 after a moment; or to the end. Returns what was said. */
function runUntil(step: number, delay: number): Promise<{ steps: number[]; entries: string | undefined }> {
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', script], {
    cwd: projectRoot,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  return new Promise((resolve) => {
    child.stdout!.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (text.split('\n').some((line) => Number(line) >= step && line !== ''))
        setTimeout(() => child.kill('SIGKILL'), delay);
    });
    child.on('close', () => {
      const lines = text.split('\n').slice(0, -1);
      resolve({
        steps: lines.filter((line) => /^\d+$/.test(line)).map(Number),
        entries: lines.find((line) => line.startsWith('entries'))?.slice('entries '.length),
      });
    });
  });
}

it('kill -9 at any moment loses at most the step it was in', async () => {
  const rules = RULES.flatMap(parseRule);
  const whole = await runClosedLoop(await openCapture(capturePath), { rules, clock: Date.now });
  const state = join(folder, 'state.json');
  let last = 0;
  // In the first run, between two writes of the state, in the third run.
  for (const [step, delay] of [
    [3, 0],
    [20, 3],
    [40, 1],
  ] as const) {
    const { steps, entries } = await runUntil(step, delay);
    expect(entries).toBeUndefined();
    // A step is said before its state is written: the last one said may have to be taken again, no other.
    if (last > 0) expect(steps[0]).toBeGreaterThanOrEqual(last);
    last = steps.at(-1)!;
    expect(existsSync(state)).toBe(true);
    // The state on disk is whole, whenever it was killed.
    const lines = readFileSync(state, 'utf8').split('\n');
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
  }
  const { steps, entries } = await runUntil(Number.POSITIVE_INFINITY, 0);
  expect(steps[0]).toBeGreaterThanOrEqual(last);
  expect(JSON.parse(entries!)).toEqual(whole.entries.map(({ loss }) => loss!.map(String)));
  expect(existsSync(state)).toBe(false);
});
