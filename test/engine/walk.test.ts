import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { walk } from '../../src/app/engine/walk.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('walk');

function tree(...paths: string[]): string {
  const root = scratch();
  for (const path of paths) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), path.endsWith('empty') ? '' : 'x');
  }
  return root;
}

async function met(root: string): Promise<string[]> {
  const found: string[] = [];
  for await (const one of walk(root))
    found.push(
      `${relative(root, one.path)}: ${'reason' in one ? one.reason : 'error' in one ? one.error.code : one.kind}`,
    );
  return found;
}

it('meets every file once, in the order of the names, and says why one is not worth opening', async () => {
  const root = tree(
    ...['b/log.csv', 'a/log.csv', 'a/hparams.json', 'a/train.py', 'a/empty', 'c/capture/capture.json'],
    ...['c/capture/step-1.safetensors', 'node_modules/x/log.csv', '.git/log.csv'],
    ...['run/metrics/loss', 'run/params/lr', 'params/log.csv'],
  );
  symlinkSync(root, join(root, 'b/up'));
  symlinkSync(join(root, 'a/log.csv'), join(root, 'b/link.csv'));
  symlinkSync(join(root, 'nowhere'), join(root, 'b/broken'));
  execFileSync('mkfifo', [join(root, 'b/pipe')]);
  expect(await met(root)).toEqual([
    '.git: the folder of a tool',
    'a/empty: empty (0 bytes)',
    'a/hparams.json: hyperparameters',
    'a/log.csv: file',
    'a/train.py: no log by its name',
    'b/broken: not a regular file (missing)',
    'b/link.csv: file',
    'b/log.csv: file',
    'b/pipe: not a regular file (fifo)',
    'c/capture: capture',
    'node_modules: the folder of a tool',
    'params/log.csv: file',
    'run/metrics/loss: file',
    'run/params/lr: hyperparameters',
  ]);
});

it('tells logs in a hidden folder by their names, and reads one beside a capture', async () => {
  const root = tree(
    ...['.old/deep/train.jsonl', '.old/notes.txt', '.empty/notes.txt'],
    ...['capture/capture.json', 'capture/train.jsonl', 'capture/notes.txt'],
  );
  expect(await met(root)).toEqual([
    '.empty: a hidden folder',
    '.old/deep/train.jsonl: in a hidden folder',
    'capture: capture',
    'capture/train.jsonl: file',
  ]);
});

it('passes over the settings that a Trainer of transformers saves beside each model', async () => {
  const root = tree('out/checkpoint-20/training_args.bin', 'out/checkpoint-20/optimizer.pt');
  expect(await met(root)).toEqual([
    'out/checkpoint-20/optimizer.pt: file',
    'out/checkpoint-20/training_args.bin: the settings of a Trainer, without weights',
  ]);
});

it('passes over what a checkpoint format reads through another file', async () => {
  const root = tree(
    ...['tf/checkpoint', 'tf/m.index', 'tf/m.data-00000-of-00001', 'model/saved_model.pb'],
    ...['model/variables/variables.index', 'torch/checkpoint/model.pt', 'torch/variables/log.csv'],
  );
  expect(await met(root)).toEqual([
    'model/saved_model.pb: file',
    'tf/checkpoint: names the checkpoints of TensorFlow in its folder',
    'tf/m.data-00000-of-00001: read through its .index',
    'tf/m.index: file',
    'torch/checkpoint/model.pt: file',
    'torch/variables/log.csv: file',
  ]);
});

it('a folder that is gone is an error of the walk, not its end', async () => {
  expect(await met(join(scratch(), 'gone'))).toEqual([': file-missing']);
});
