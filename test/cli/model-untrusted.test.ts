/** A JavaScript module runs where the command line names it, never because a file does: one test for each command. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/run.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('programs');

/** A folder with a log and a capture whose model is a module that leaves a mark where it runs. */
function world(): { folder: string; ran: () => boolean } {
  const folder = scratch();
  const mark = join(folder, 'RAN');
  cpSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(folder, 'log.jsonl'));
  cpSync(join(projectRoot, 'fixtures/captures/seed-2'), join(folder, 'capture'), { recursive: true });
  writeFileSync(
    join(folder, 'capture', 'model.mjs'),
    `import { writeFileSync } from 'node:fs';
writeFileSync(${JSON.stringify(mark)}, '');
export const loss = (tf, p) => tf.sum(tf.square(p['shared/0/bias']));
`,
  );
  const path = join(folder, 'capture', 'capture.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), model: 'model.mjs' }));
  // A model that is data, and names the module where it may name a file.
  writeFileSync(
    join(folder, 'capture', 'objective.json'),
    JSON.stringify({
      kind: 'layers',
      version: 1,
      model: 'model.mjs',
      tasks: [{ name: 'click', loss: 'mean-squared-error' }],
    }),
  );
  return { folder, ran: () => existsSync(mark) };
}

/** Paths are absolute: a child process of the sources starts in the folder of the project alone. */
const inFolder = (folder: string, args: readonly string[]): string[] =>
  args.map((arg) =>
    arg === '.' || arg === 'state' || existsSync(join(folder, arg)) ? join(folder, arg) : arg,
  );

/** Every command that reads a capture, by what it says of the module: an error, a reason, or nothing as it needs none. */
const LINES: readonly [args: string[], says: 'error' | 'reason' | 'nothing'][] = [
  [['analyze', 'capture', '--budget', '600'], 'reason'],
  [['replay', 'capture'], 'nothing'],
  [['replay', 'capture', '--mode', 'open-loop'], 'nothing'],
  [['replay', 'capture', '--mode', 'closed-loop', '--rule', 'none'], 'error'],
  [['matrix', 'capture', '--seeds', '1', '--learning-rate-multiplier', '1'], 'error'],
  [['curvature', 'capture'], 'error'],
  [['inspect', 'capture'], 'nothing'],
  [['inspect', 'capture', '--check'], 'reason'],
  [['gate', '.', '--settle', '0'], 'nothing'],
  [['gate', 'capture', '--settle', '0', '--no-config', '--rule', 'capture-mismatch'], 'nothing'],
  [['baseline', 'update', '.', '--settle', '0', '--file', 'state', '--allow-outside'], 'nothing'],
  [['watch', 'log.jsonl', '--idle-exit', '1', '--state', 'state'], 'nothing'],
  [['watch', 'capture', '--idle-exit', '1', '--state', 'state'], 'reason'],
  [['audit', 'capture'], 'nothing'],
  [['preflight', 'capture'], 'error'],
  [['compare', 'capture', 'capture'], 'nothing'],
  [['donate', 'capture'], 'nothing'],
  [['strip-batches', 'capture'], 'nothing'],
];

it('every command that could read a capture has a line', () => {
  const none = [
    ...[
      'baseline:show',
      'chart',
      'completion',
      'explain',
      'init',
      'matrix:merge',
      'report',
      'resume',
      'teach',
      'who',
    ],
    // It reads what its own command wrote, as compare does.
    'bisect',
    // What it reads it reads as analyze, gate, compare, audit and inspect do.
    'mcp',
    // Its cells come over a queue, with the data that a study names.
    'matrix:worker',
  ];
  const lines = new Set(LINES.map(([[first, second]]) => `${first}:${second}`));
  for (const id of Object.keys(COMMANDS).filter((one) => !none.includes(one)))
    expect(
      [...lines].some((line) => line.startsWith(`${id}:`) || line === id),
      id,
    ).toBe(true);
});

describe('a module that a capture names', () => {
  it.each(LINES.map((line) => [line[0].join(' '), ...line] as const))(
    '%s leaves it unrun',
    async (_, args, says) => {
      const { folder, ran } = world();
      const { code, out, err } = await cli([...inFolder(folder, args), '--json']);
      expect(ran()).toBe(false);
      expect(err).not.toContain('bug:');
      if (says === 'error') {
        expect([code, JSON.parse(out)]).toMatchObject([3, { error: { id: 'model-untrusted' } }]);
        expect(err).toContain('look at it, then name it with --model');
      } else expect(out.includes('model-untrusted')).toBe(says === 'reason');
    },
  );

  it('an objective in JSON that names it reads it as data', async () => {
    const { folder, ran } = world();
    for (const args of [
      ['curvature', 'capture', '--model', 'capture/objective.json'],
      ['replay', 'capture', '--mode', 'closed-loop', '--model', 'capture/objective.json'],
    ]) {
      const { code, err } = await cli(inFolder(folder, args));
      expect([code, err.split(':')[0]]).toEqual([3, 'error[model-invalid]']);
      expect(ran()).toBe(false);
    }
  });

  it('runs once the command line names it', async () => {
    const { folder, ran } = world();
    const args = ['curvature', 'capture', '--model', 'capture/model.mjs'];
    const { code, err } = await cli(inFolder(folder, args));
    expect([ran(), code, err]).toEqual([true, 4, expect.any(String)]);
  });
});
