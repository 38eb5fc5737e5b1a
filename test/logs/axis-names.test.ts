/** Printed lines and JSON know the same names of an axis, or find a counter by its numbers. */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

const ROWS = 40;
const NAMES = [
  'step',
  'global_step',
  'GlobalStep',
  'globalStep',
  'iteration',
  'n_iter',
  'num_updates',
  'total_steps',
  'timestep',
  'trainer/global_step',
  'batch_idx',
  'optimizer_step',
  'tokens',
  'examples_seen',
  'num_env_steps_sampled',
  'round',
  'cycle',
  'idx',
];
const FORMS: readonly [string, (name: string, at: number, loss: string) => string][] = [
  ['name=number', (name, at, loss) => `${name}=${at} loss=${loss} lr=0.001`],
  ['name: number', (name, at, loss) => `${name}: ${at} loss: ${loss} lr: 0.001`],
  ['JSON', (name, at, loss) => JSON.stringify({ [name]: at, loss: Number(loss), lr: 0.001 })],
];

/** The unit and the steps of the loss in lines of a form. */
async function stepsOf(line: (at: number, loss: string) => string): Promise<[string, number[]]> {
  const lines = Array.from({ length: ROWS }, (_, k) =>
    line(10 * k, (3 - 0.03 * k + 0.01 * (k % 3)).toFixed(4)),
  );
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  const log = await finishLog(await readRawStream(Readable.from([bytes]), 'log'), { sidecars: false });
  const [run] = log.runs;
  const loss = run!.series.find(({ role }) => role === 'loss');
  return [run!.stepUnit, [...loss!.step]];
}

describe('names of an axis', () => {
  for (const [form, line] of FORMS)
    it.each(NAMES)(`${form}: %s counts`, async (name) => {
      const [unit, steps] = await stepsOf((at, loss) => line(name, at, loss));
      expect(unit).toBe('step');
      expect(steps).toEqual(Array.from({ length: ROWS }, (_, k) => 10 * k));
    });

  it.each(['total_time', 'power', 'lr'])('JSON: %s is a measure, however evenly it rises', async (name) => {
    const [unit] = await stepsOf((at, loss) => JSON.stringify({ [name]: at, loss: Number(loss) }));
    expect(unit).toBe('row');
  });

  it('a planned number of steps, the same in every line, does not count', async () => {
    const [unit, steps] = await stepsOf((at, loss) =>
      JSON.stringify({ total_steps: 400, current_steps: at, loss: Number(loss) }),
    );
    expect([unit, steps.at(-1)]).toEqual(['step', 10 * (ROWS - 1)]);
  });
});
