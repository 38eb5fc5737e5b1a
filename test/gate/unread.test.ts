/** What lies beside a good log: dead runs and what could not be read keep a gate from passing, data files do not. */
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { readGateEvidence } from '../../src/app/gate/evidence.ts';
import { judgeGate } from '../../src/app/gate/judge.ts';
import type { GateResult } from '../../src/model/gate.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('gate-unread');
const healthy = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');
const event = readFileSync(join(projectRoot, 'fixtures/logs/healthy-tb/input.tfevents'));
/** The first record of an event file: its version. */
const VERSION = event.subarray(0, 16 + Number(event.readBigUInt64LE(0)));

type Make = (at: string) => void;
const put =
  (name: string, content: string | Uint8Array): Make =>
  (at) => {
    mkdirSync(dirname(join(at, name)), { recursive: true });
    writeFileSync(join(at, name), content);
  };
const rows = (count: number, row: (k: number) => string): string =>
  `${Array.from({ length: count }, (_, k) => row(k)).join('\n')}\n`;
const TRACEBACK =
  'Traceback (most recent call last):\n  File "train.py", line 88, in <module>\nRuntimeError: CUDA out of memory\n';
const dying = (k: number): string => (k < 40 ? (1 - k / 60).toFixed(3) : 'nan');

/** Beside a good log, each keeps the gate from passing; the code, and what its last lines say. */
const DEAD: Readonly<Record<string, readonly [Make, codes: readonly number[], says: RegExp]>> = {
  'a printed log of NaN': [
    put(
      'train.log',
      rows(60, (k) => `step=${k} loss=${dying(k)}`),
    ),
    [1, 4],
    /train\.log|loss/,
  ],
  'JSON lines of 0 bytes': [put('c/train.jsonl', ''), [4], /its name says that it is a log.*0 bytes/],
  'a CSV of 0 bytes': [put('c/metrics.csv', ''), [4], /unread.*0 bytes/],
  'a printed log of 0 bytes': [put('c/train.log', ''), [4], /unread.*0 bytes/],
  'the output of a job, 0 bytes': [put('slurm-1.out', ''), [4], /unread.*0 bytes/],
  'a history of 0 bytes': [put('c/history.json', ''), [4], /unread.*0 bytes/],
  'events of 0 bytes': [put('c/events.out.tfevents.1.host', ''), [4], /unread.*0 bytes/],
  'events that are garbage': [put('c/events.out.tfevents.1.host', 'garbage '.repeat(40)), [3, 4], /events/],
  'events that end after their version': [
    put('c/events.out.tfevents.1.host', VERSION),
    [4],
    /unread.*no points/,
  ],
  'a traceback in a printed log': [put('c/train.log', TRACEBACK), [1], /ran out of memory/],
  'a traceback in the output of a job': [put('c/job.out', TRACEBACK), [1], /ran out of memory/],
  'a traceback in a text': [put('c/stderr.txt', TRACEBACK), [1], /ran out of memory/],
  'a traceback in JSON lines': [put('c/train.jsonl', TRACEBACK), [3, 4], /train\.jsonl/],
  'a CSV with a header only': [put('c/metrics.csv', 'step,loss,lr\n'), [4], /unread/],
  'a TSV with a header only': [put('c/metrics.tsv', 'step\ttrain/loss\n'), [4], /unread/],
  'a CSV of any name with a header only': [put('c/a.csv', 'step,train_loss\n'), [4], /its content says/],
  'a CSV with a torn header': [put('c/metrics.csv', 'step,los'), [3, 4], /metrics\.csv/],
  'JSON lines that are blank': [put('c/train.jsonl', '\n\n\n'), [3, 4], /train\.jsonl/],
  'JSON lines with the arguments only': [put('c/train.jsonl', '{"args": {"lr": 0.1}}\n'), [4], /no loss/i],
  'JSON lines torn in their first': [put('c/train.jsonl', '{"step": 1, "lo'), [3, 4], /train\.jsonl/],
  'JSON lines of zero bytes': [put('c/train.jsonl', Buffer.alloc(4096)), [3, 4], /train\.jsonl/],
  'JSON lines that are no text': [
    put('c/train.jsonl', Buffer.from([0x89, 1, 2, 0xff, 0xfe, 9])),
    [3, 4],
    /train\.jsonl/,
  ],
  'gzip that is torn at once': [
    put('c/train.jsonl.gz', gzipSync('{"step": 1, "loss": 1}\n').subarray(0, 5)),
    [3, 4],
    /train\.jsonl\.gz/,
  ],
  'gzip of nothing': [put('c/train.jsonl.gz', gzipSync('')), [3, 4], /train\.jsonl\.gz/],
  'a history that is torn': [put('c/history.json', '{"loss": [1, 2, 3'), [3], /history\.json/],
  'a state of a Trainer that is torn at once': [put('c/trainer_state.json', '{"log_hist'), [4], /unread/],
  'a state of a Trainer without history': [put('c/trainer_state.json', '{"log_history": []}'), [4], /unread/],
  'a summary whose loss is NaN': [
    put('c/all_results.json', '{"loss": NaN, "epoch": 3}'),
    [4],
    /its content says/,
  ],
  'a loss that ends where no other goes on': [
    put('c/train.csv', `step,loss,grad_norm\n${rows(600, (k) => `${k},${k < 100 ? 1 : ''},1.${k % 5}`)}`),
    [1, 4],
    /train\.csv/,
  ],
  'a link to JSON lines that are gone': [
    (at) => symlinkSync('nowhere.jsonl', join(at, 'b.jsonl')),
    [4],
    /unread.*missing/,
  ],
  'a link to events that are gone': [
    (at) => symlinkSync('nowhere', join(at, 'events.out.tfevents.2.host')),
    [4],
    /unread.*missing/,
  ],
  'a diverged log in a hidden folder': [
    put(
      '.old/train.jsonl',
      rows(60, (k) => `{"step": ${k}, "loss": ${k < 40 ? 1 : 'NaN'}}`),
    ),
    [4],
    /hidden folder/,
  ],
  'a log of losses that nothing reads': [
    put(
      'c/notes',
      rows(60, (k) => `at ${k}\tthe mean loss: ${dying(k)} was seen`),
    ),
    [1, 4],
    /notes/,
  ],
};

const words = (count: number): string =>
  JSON.stringify(
    Object.fromEntries(
      ['the', 'loss', 'epoch', 'nan']
        .concat(Array.from({ length: count }, (_, k) => `w${k}`))
        .map((word, k) => [word, k]),
    ),
  );

/** Beside a good log, none of them says anything of a run: the gate passes, and names them. */
const DATA: Readonly<Record<string, Make>> = {
  nothing: () => {},
  'a README': put('README.md', '# Ranker\n\nIn epoch 3 the loss was nan.\n\n    epoch 3: loss nan\n'),
  'a README that is a text': put(
    'README.txt',
    'Ranker\n\nIn epoch 3 the loss was nan:\nepoch 3: loss 0.4\nand so on.\n\nThen it ended.\n',
  ),
  'a licence': put('LICENSE', 'No warranty for any loss of data.\n'),
  'a vocabulary': put('vocab.json', words(2000)),
  'a vocabulary, a word a line': put('vocab.txt', 'the\nloss\nepoch\nnan\n'),
  'a table of products': put('products.csv', `id,price,stock\n${rows(40, (k) => `${k},${k * 2},${k % 7}`)}`),
  'a table of products with scores': put(
    'products.csv',
    `id,name,score\n${rows(40, (k) => `${k},lamp ${k},${(k % 5) / 5}`)}`,
  ),
  'a table of one product': put('products.csv', 'id,price,stock\n1,2,3\n'),
  'a table without products': put('products.csv', 'id,price,stock\n'),
  labels: put('labels.csv', `file,label\n${rows(40, (k) => `${k}.png,${k % 10}`)}`),
  'labels as text': put('labels.txt', 'cat\ndog\nloss\n'),
  'labels as JSON': put('labels.json', '["cat", "dog"]'),
  'texts in JSON lines': put(
    'data.jsonl',
    rows(40, (k) => JSON.stringify({ text: 'the loss was nan', label: k % 2 })),
  ),
  'texts alone in JSON lines': put(
    'data.jsonl',
    rows(40, (k) => JSON.stringify({ text: `the loss was ${k}` })),
  ),
  'texts in compressed JSON lines': put(
    'data.jsonl.gz',
    gzipSync(rows(40, (k) => JSON.stringify({ text: 'x', label: k }))),
  ),
  'texts with scores': put(
    'data.jsonl',
    rows(40, (k) => JSON.stringify({ prompt: 'x', score: k / 40 })),
  ),
  hyperparameters: put('config.yaml', 'lr: 0.1\nloss: 1.0\n'),
  'hyperparameters as JSON': put('hparams.json', '{"lr": 0.1, "loss_weight": 2}'),
  'other YAML': put('data.yaml', 'loss: mse\nepochs: 3\n'),
  'summaries of a Trainer': (at) => {
    put('train_results.json', '{"train_loss": 0.3, "epoch": 3}')(at);
    put('all_results.json', '{\n  "train_loss": 0.3,\n  "epoch": 3\n}\n')(at);
  },
  'a summary': put('eval_results.json', '{"eval_loss": 0.3, "epoch": 3}'),
  'a program': put('train.py', 'print(f"epoch {epoch} loss {loss}")\n'),
  'a notebook': put('train.ipynb', '{"cells": [], "nbformat": 4}'),
  'a picture': put('loss.png', Buffer.from([0x89, 0x50, 0x4e, 0x47])),
  'a marker of a finished job': put('_SUCCESS', ''),
  'an empty folder': (at) => mkdirSync(join(at, 'empty')),
  'the folder of git': put('.git/logs/HEAD', 'commit\n'),
  'an environment of Python': put('.venv/lib/train.log', 'x\n'),
  'packages of node': put('node_modules/x/train.jsonl', ''),
  'the file of the profiler of TensorFlow': put('events.out.tfevents.1.host.profile-empty', ''),
  "Keras's folders": (at) => {
    for (const part of ['train', 'validation'])
      put(`logs/${part}/events.out.tfevents.1700000000.host.1.0.v2`, event)(at);
    put('logs/train/plugins/profile/2024/host.trace.json.gz', gzipSync('{"traceEvents": []}'))(at);
    put('backup/training_metadata.json', '{"epoch": 5, "batch": 0}')(at);
  },
  "Lightning's folders": (at) => {
    put('lightning_logs/version_0/hparams.yaml', 'lr: 0.1\n')(at);
    put(
      'lightning_logs/version_0/metrics.csv',
      `epoch,step,train_loss\n${rows(60, (k) => `${k},${k * 10},${1 + 1 / (k + 1)}`)}`,
    )(at);
    put('lightning_logs/version_0/events.out.tfevents.1700000000.host.1.0', event)(at);
  },
  'a folder of W&B without its records': put('wandb/run-1/files/requirements.txt', 'torch==2.4.0\n'),
  'a lock': put('train.jsonl.lock', ''),
};

async function gateOn(make: Make, policy: object = {}): Promise<GateResult> {
  const at = folder();
  copyFileSync(healthy, join(at, 'a.jsonl'));
  make(at);
  const config = gateConfigFrom(
    { version: 1, extends: 'recommended', ...policy },
    { path: join(at, '.clippy-diag.yaml') },
  );
  const evidence = await readGateEvidence([at], {
    toolVersion: '0',
    now: () => new Date(),
    settle: 0,
    config,
  });
  return judgeGate({ ...evidence, baseline: null }, config);
}

const told = ({ problems, rules }: GateResult): string =>
  [
    ...problems.map(({ id, message }) => `${id}: ${message}`),
    ...rules.filter(({ status }) => status !== 'pass').map(({ run, message }) => `${run}: ${message}`),
  ].join('\n');

describe('beside a good log, a gate does not pass over', () => {
  test.each(Object.keys(DEAD))('%s', async (name) => {
    const [make, codes, says] = DEAD[name]!;
    const result = await gateOn(make);
    expect([result.passed, told(result)]).toEqual([false, expect.stringMatching(says)]);
    expect(codes).toContain(result.exitCode);
  });
});

describe('beside a good log, a gate passes with', () => {
  test.each(Object.keys(DATA))('%s', async (name) => {
    const result = await gateOn(DATA[name]!);
    expect([told(result), result.exitCode]).toEqual(['', 0]);
  });
});

describe('what a policy allows to be unread', () => {
  const dead: Make = (at) => {
    put('c/train.jsonl', '')(at);
    put('d/stderr.log', 'warning: x\n')(at);
  };
  test.each([
    ['nothing', {}, 4],
    ['everything', { unread: 'ignore' }, 0],
    ['each by its place below the config', { unread: ['c/*.jsonl', 'd/stderr.log'] }, 0],
    ['each by its name', { unread: ['**/train.jsonl', '**/stderr.log'] }, 0],
    ['one of them', { unread: ['**/stderr.log'] }, 4],
    ['another', { unread: ['train.jsonl'] }, 4],
  ])('%s', async (_, policy, code) => {
    expect((await gateOn(dead, policy)).exitCode).toBe(code);
  });

  test('a rule that failed outranks what is unread, and damage outranks both', async () => {
    const diverged = join(projectRoot, 'fixtures/logs/full-divergence/input.jsonl');
    const both: Make = (at) => {
      dead(at);
      copyFileSync(diverged, join(at, 'b.jsonl'));
    };
    expect((await gateOn(both)).exitCode).toBe(1);
    const damaged: Make = (at) => {
      both(at);
      put('torn.json', '{"loss": [1, 2, 3')(at);
    };
    expect((await gateOn(damaged)).exitCode).toBe(3);
  });

  test('many dead runs are counted, the gate on the report says the same, and its last lines name them', async () => {
    const at = folder();
    copyFileSync(healthy, join(at, 'a.jsonl'));
    for (let k = 0; k < 30; k++) put(`run-${k}/train.jsonl`, '')(at);
    const saved = join(folder(), 'r.json');
    const { code, out } = await cli(['gate', at, '--report', `json:${saved}`]);
    expect([code, out]).toEqual([
      4,
      expect.stringMatching(/\?{4} {2}unread {2}10 more logs were not read\ngate/),
    ]);
    const again = await cli(['gate', saved]);
    expect([again.code, again.out]).toEqual([code, out]);
    const update = ['baseline', 'update', at, '--allow-outside', '--file'];
    expect((await cli([...update, join(folder(), 'b.json')])).code).toBe(4);
    expect(
      (await cli(['baseline', 'update', healthy, '--allow-outside', '--file', join(folder(), 'b.json')]))
        .code,
    ).toBe(0);
  });

  test('what was no log is named by a gate that passes', async () => {
    const at = folder();
    copyFileSync(healthy, join(at, 'a.jsonl'));
    for (const name of ['README.txt', 'vocab.json', 'products.csv']) DATA_FILES[name]!(at);
    const { code, out } = await cli(['gate', at]);
    expect(code).toBe(0);
    for (const name of ['README.txt', 'vocab.json', 'products.csv'])
      expect(out).toMatch(new RegExp(`skip {2}skipped .*${name}`));
  });
});

const DATA_FILES: Readonly<Record<string, Make>> = {
  'README.txt': DATA['a README that is a text']!,
  'vocab.json': DATA['a vocabulary']!,
  'products.csv': DATA['a table of products']!,
};

test('a loss of 100 steps that goes on under another name passes; cut off with it, it does not', async () => {
  const at = folder();
  const row = (k: number, until: number): string =>
    `${k},${k < 100 ? 1 + (k % 3) / 50 : ''},${k < until ? 1 + (k % 3) / 50 : ''},1.${k % 5}`;
  const log = (until: number): string => `step,loss,train/loss,grad_norm\n${rows(600, (k) => row(k, until))}`;
  put('goes-on.csv', log(600))(at);
  put('stops.csv', log(100))(at);
  expect((await cli(['gate', join(at, 'goes-on.csv'), '--settle', '0'])).code).toBe(0);
  const stops = await cli(['gate', join(at, 'stops.csv'), '--settle', '0']);
  expect([1, 4]).toContain(stops.code);
  expect(stops.out).toMatch(/ends at step 99/);
});
