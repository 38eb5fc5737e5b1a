import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import { DiagError } from '../../src/model/errors.ts';
import type { Capture } from '../../src/read/captures/read.ts';
import { isCapture, openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { accountFault } from '../support/closes.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-captures-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => join(scratch, `capture-${count++}`);

/** Bytes of a safetensors file that are no tensor: its length and its header. */
const headOf = (bytes: Buffer): number => 8 + Number(bytes.readBigUInt64LE(0));

describe('the account of a capture', () => {
  it('counts tensors, headers and the manifest, and loses what is behind a break', async () => {
    const folder = await write(fresh(), 4);
    const files = ['initial', '10', '11', '12', '13'].map((name) =>
      readFileSync(
        join(folder, name === 'initial' ? 'initial.safetensors' : `step-000000${name}.safetensors`),
      ),
    );
    const manifest = readFileSync(join(folder, 'capture.json')).length;
    const whole = await openCapture(folder);
    const size = (list: readonly Buffer[]): number => list.reduce((sum, { length }) => sum + length, 0);
    const heads = files.reduce((sum, bytes) => sum + headOf(bytes), 0);
    expect(whole.account).toEqual({
      bytes: manifest + size(files),
      records: size(files) - heads,
      overhead: manifest + heads,
      passedOver: 0,
      lost: [],
    });
    const third = join(folder, 'step-00000012.safetensors');
    truncateSync(third, files[3]!.length - 3);
    const { account } = await openCapture(folder);
    expect(accountFault(account)).toBeUndefined();
    const at = manifest + size(files.slice(0, 3));
    expect(account.lost).toEqual([
      { reason: 'cut-off', records: 1, bytes: files[3]!.length - 3, at },
      { reason: 'cut-off', records: 1, bytes: files[4]!.length, at: at + files[3]!.length - 3 },
    ]);
    unlinkSync(third);
    const without = (await openCapture(folder)).account;
    expect(accountFault(without)).toBeUndefined();
    expect(without.lost).toEqual([
      { reason: 'absent', records: 1, bytes: 0, at },
      { reason: 'cut-off', records: 1, bytes: files[4]!.length, at },
    ]);
    writeFileSync(third, files[3]!);
    writeFileSync(join(folder, 'step-00000099.safetensors'), files[4]!);
    expect((await openCapture(folder)).account.lost).toEqual([
      { reason: 'no-record', records: 1, bytes: files[4]!.length, at: manifest + size(files) },
    ]);
  });
});

const METAS = [
  { name: 'table', shape: [6, 2], layout: 'none', embedding: true },
  { name: 'dense/kernel', shape: [2, 3], layout: 'IO', embedding: false },
  { name: '__proto__', shape: [3], layout: 'none', embedding: false },
] as const;

/** A capture of `steps` steps; the embedding's gradient is sparse. */
async function write(folder: string, steps = 5): Promise<string> {
  const writer = await createCapture(
    folder,
    {
      framework: 'test 1',
      optimizer: {
        name: 'adagrad',
        learningRate: 0.1,
        initialAccumulatorValue: 0.1,
        epsilon: 1e-7,
        epsilonInside: true,
      },
      parameters: METAS,
      history: { steps: [8, 9], loss: [1, Number.NaN] },
    },
    METAS.map(({ shape }) =>
      Float32Array.from({ length: shape.reduce((a: number, b) => a * b, 1) }, (_, i) => i / 10),
    ),
    METAS.map(({ shape }) => ({
      accumulator: new Float32Array(shape.reduce((a: number, b) => a * b, 1)).fill(0.1),
    })),
  );
  for (let k = 0; k < steps; k++)
    await writer.step({
      step: 10 + k,
      learningRate: 0.1,
      loss: k === 3 ? Number.POSITIVE_INFINITY : 1 / (k + 1),
      tasks: new Map([['ctr', 0.5]]),
      gradients: [
        { values: Float32Array.of(1, 2, 3, 4), rows: Int32Array.of(1, 4) },
        { values: Float32Array.of(1, -1, 2, -2, 3, -3) },
        { values: Float32Array.of(0.5, 0, -0.5) },
      ],
      batch: new Map([['user', { shape: [2], dtype: 'I32', data: Int32Array.of(1, 4) }]]),
    });
  await writer.finish();
  return folder;
}

/** A capture.json as a test spoils it. */
interface Editable {
  version?: unknown;
  optimizer?: Record<string, unknown>;
  clipping?: unknown;
  parameters: Record<string, unknown>[];
  steps: Record<string, unknown>[];
  skipped?: number[];
}
const manifestOf = (folder: string): Editable =>
  JSON.parse(readFileSync(join(folder, 'capture.json'), 'utf8')) as Editable;
const change = (folder: string, edit: (manifest: Editable) => void): void => {
  const manifest = manifestOf(folder);
  edit(manifest);
  writeFileSync(join(folder, 'capture.json'), JSON.stringify(manifest));
};
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    expect(error.message).not.toMatch(/\{\w+\}|undefined/);
    expect(error.hint ?? '').not.toMatch(/\{\w+\}|undefined/);
    return error.code;
  }
  return 'no error';
};
const replayed = (capture: Capture) =>
  replayCapture(capture, { mode: 'as-recorded', rules: parseRule('clippy') });

describe('write and read', () => {
  it('gives back what was written', async () => {
    const folder = await write(fresh());
    const capture = await openCapture(folder);
    expect([capture.errors, capture.lost, capture.steps.length]).toEqual([[], 0, 5]);
    expect(capture.manifest.history).toEqual({ steps: [8, 9], loss: [1, Number.NaN] });
    const step = await capture.step(3, 'float32');
    expect(step).toMatchObject({ step: 13, loss: Number.POSITIVE_INFINITY, learningRates: [0.1] });
    expect(step.tasks.get('ctr')).toBe(0.5);
    expect(step.gradients[0]).toEqual({ values: Float32Array.of(1, 2, 3, 4), rows: Int32Array.of(1, 4) });
    expect((await capture.batch(0)).get('user')!.data).toEqual(Int32Array.of(1, 4));
    const initial = await capture.initial('float64');
    expect(initial.parameters[2]).toEqual(Float64Array.of(0, Math.fround(0.1), Math.fround(0.2)));
    expect(initial.slots[0]!.get('accumulator')).toHaveLength(12);
    expect(await isCapture(folder)).toBe(true);
    // A rate that is NaN may be what broke the run: it is read as it was recorded.
    change(folder, (m) => {
      (m.steps[2] as { learningRate: unknown }).learningRate = 'NaN';
    });
    expect((await openCapture(folder)).steps[2]!.learningRates).toEqual([Number.NaN]);
    expect((await openCapture(join(folder, 'capture.json'))).path).toBe(folder);
  });

  it('a sparse gradient moves its rows alone, as the dense one does', async () => {
    const { entries, notes } = await replayed(await openCapture(await write(fresh())));
    expect(notes).toEqual([]);
    expect(entries[0]!.ended).toEqual({ reason: 'completed', step: 14 });
    expect(entries[0]!.updateNorm.every((size) => size > 0)).toBe(true);
  });

  it('repeated rows are added', async () => {
    const folder = await write(fresh(), 1);
    const twice = await createCapture(
      fresh(),
      { framework: 'test 1', optimizer: { name: 'sgd', learningRate: 1 }, parameters: [METAS[0]] },
      [new Float32Array(12)],
      [{}],
    );
    await twice.step({
      step: 1,
      learningRate: 1,
      loss: 1,
      gradients: [{ values: Float32Array.of(1, 2, 10, 20, 100, 200), rows: Int32Array.of(4, 0, 4) }],
    });
    await twice.finish();
    const capture = await openCapture(join(scratch, `capture-${count - 1}`));
    expect((await capture.step(0, 'float32')).gradients[0]).toEqual({
      values: Float32Array.of(10, 20, 101, 202),
      rows: Int32Array.of(0, 4),
    });
    expect(folder).toBeTruthy();
  });
});

describe('what bad input gets', () => {
  it.each([
    ['no manifest', (f: string) => unlinkSync(join(f, 'capture.json')), 'capture-manifest-missing'],
    ['no initial state', (f: string) => unlinkSync(join(f, 'initial.safetensors')), 'file-missing'],
    [
      'version 4',
      (f: string) =>
        change(f, (m) => {
          m.version = 4;
        }),
      'capture-version',
    ],
    [
      'no version',
      (f: string) =>
        change(f, (m) => {
          delete m.version;
        }),
      'capture-version',
    ],
    ['an array', (f: string) => writeFileSync(join(f, 'capture.json'), '[]'), 'capture-malformed'],
    ['no JSON', (f: string) => writeFileSync(join(f, 'capture.json'), '{"version": 1,'), 'capture-malformed'],
    [
      'a key twice',
      (f: string) => writeFileSync(join(f, 'capture.json'), '{"version":1,"version":1}'),
      'capture-malformed',
    ],
    [
      'no steps',
      (f: string) =>
        change(f, (m) => {
          m.steps = [];
        }),
      'capture-malformed',
    ],
    [
      'no parameters',
      (f: string) =>
        change(f, (m) => {
          m.parameters = [];
        }),
      'capture-malformed',
    ],
    [
      'no optimizer',
      (f: string) =>
        change(f, (m) => {
          delete m.optimizer;
        }),
      'capture-malformed',
    ],
    [
      'a parameter twice',
      (f: string) =>
        change(f, (m) => {
          m.parameters.push(m.parameters[0]!);
        }),
      'capture-malformed',
    ],
    [
      'an absurd shape',
      (f: string) =>
        change(f, (m) => {
          m.parameters[0]!.shape = [2 ** 40, 2 ** 40];
        }),
      'capture-malformed',
    ],
    [
      'a layout that is none',
      (f: string) =>
        change(f, (m) => {
          m.parameters[1]!.layout = 'XY';
        }),
      'capture-malformed',
    ],
    [
      'a group that is none',
      (f: string) =>
        change(f, (m) => {
          m.parameters[1]!.group = 3;
        }),
      'capture-malformed',
    ],
    [
      'steps out of order',
      (f: string) =>
        change(f, (m) => {
          m.steps.reverse();
        }),
      'capture-malformed',
    ],
    [
      'a learning rate below 0',
      (f: string) =>
        change(f, (m) => {
          m.steps[2]!.learningRate = -1;
        }),
      'capture-malformed',
    ],
    [
      'no learning rate',
      (f: string) =>
        change(f, (m) => {
          delete m.steps[2]!.learningRate;
          delete m.optimizer!.learningRate;
        }),
      'capture-learning-rate',
    ],
    [
      'another shape',
      (f: string) =>
        change(f, (m) => {
          m.parameters[1]!.shape = [3, 2];
        }),
      'capture-shape',
    ],
    [
      'another name',
      (f: string) =>
        change(f, (m) => {
          m.parameters[1]!.name = 'dense/kernal';
        }),
      'capture-names',
    ],
    [
      'a parameter more in the files',
      (f: string) =>
        change(f, (m) => {
          m.parameters.pop();
        }),
      'capture-names',
    ],
    [
      'a step file outside of the folder',
      (f: string) =>
        change(f, (m) => {
          m.steps[0]!.file = '../../etc/passwd';
        }),
      'file-missing|path-leaves-folder',
    ],
    [
      'the first step file missing',
      (f: string) => unlinkSync(join(f, 'step-00000010.safetensors')),
      'capture-step-missing',
    ],
  ] as [string, (folder: string) => void, string][])('%s: %#', async (_name, damage, code) => {
    const folder = await write(fresh());
    damage(folder);
    expect(code.split('|')).toContain(await codeOf(openCapture(folder)));
  });

  it('a path that does not exist, and a file that is no capture', async () => {
    expect(await codeOf(openCapture(join(scratch, 'nowhere')))).toBe('file-missing');
    expect(await codeOf(openCapture(join(projectRoot, 'package.json')))).toBe('capture-manifest-missing');
  });

  it('a symbolic link that leads out', async () => {
    const folder = await write(fresh());
    unlinkSync(join(folder, 'step-00000010.safetensors'));
    symlinkSync(join(projectRoot, 'package.json'), join(folder, 'step-00000010.safetensors'));
    expect(await codeOf(openCapture(folder))).toBe('path-leaves-folder');
  });

  it.each([
    [
      'a missing step',
      (f: string) => unlinkSync(join(f, 'step-00000012.safetensors')),
      ['capture-step-missing', 'capture-cut'],
      2,
    ],
    [
      'a truncated step',
      (f: string) => truncateSync(join(f, 'step-00000013.safetensors'), 300),
      ['checkpoint-truncated', 'capture-cut'],
      3,
    ],
    [
      'an empty step',
      (f: string) => truncateSync(join(f, 'step-00000014.safetensors'), 0),
      ['checkpoint-truncated', 'capture-cut'],
      4,
    ],
    [
      'a stray step',
      (f: string) => cpSync(join(f, 'step-00000014.safetensors'), join(f, 'step-00000015.safetensors')),
      ['capture-step-extra'],
      5,
    ],
    [
      'a gap',
      (f: string) => {
        change(f, (m) => {
          m.steps.splice(2, 1);
        });
        unlinkSync(join(f, 'step-00000012.safetensors'));
      },
      ['capture-step-gap'],
      4,
    ],
    [
      'a gap that a loss scaler explains',
      (f: string) => {
        change(f, (m) => {
          m.steps.splice(2, 1);
          m.skipped = [12];
        });
        unlinkSync(join(f, 'step-00000012.safetensors'));
      },
      [],
      4,
    ],
  ] as [string, (folder: string) => void, string[], number][])(
    '%s: the whole steps are used and the loss is told',
    async (_name, damage, codes, kept) => {
      const folder = await write(fresh());
      damage(folder);
      const capture = await openCapture(folder);
      expect(capture.errors.map(({ id }) => id)).toEqual(codes);
      expect(capture.steps).toHaveLength(kept);
      expect((await replayed(capture)).entries[0]!.steps).toHaveLength(kept);
    },
  );

  it('NaN in the initial state', async () => {
    const folder = await write(fresh());
    const path = join(folder, 'initial.safetensors');
    const bytes = readFileSync(path);
    bytes.writeFloatLE(Number.NaN, bytes.length - 4);
    writeFileSync(path, bytes);
    expect(await codeOf(replayed(await openCapture(folder)))).toBe('capture-values');
  });

  it('an optimizer that is none, or has an option out of range', async () => {
    const folder = await write(fresh());
    change(folder, (m) => {
      m.optimizer!.name = 'adagrd';
    });
    expect(await codeOf(replayed(await openCapture(folder)))).toBe('optimizer-unknown');
    change(folder, (m) => {
      m.optimizer!.name = 'adagrad';
      m.optimizer!.epsilon = -1;
    });
    expect(await codeOf(replayed(await openCapture(folder)))).toBe('capture-optimizer');
    change(folder, (m) => {
      m.optimizer!.epsilon = 0;
      m.optimizer!.foreach = true;
    });
    expect((await replayed(await openCapture(folder))).notes[0]).toContain('"foreach"');
  });

  it('clipping that is no rule', async () => {
    const folder = await write(fresh());
    change(folder, (m) => {
      m.clipping = { rule: 'clipy' };
    });
    expect(await codeOf(replayed(await openCapture(folder)))).toBe('capture-malformed');
  });

  it('losses that are missing, or too few, tell nothing; missing ones are no incident', async () => {
    const folder = await write(fresh());
    const whyOf = async () => (await replayed(await openCapture(folder))).entries[0]!.why;
    change(folder, (m) => {
      m.steps[3]!.loss = 1;
    });
    expect(await whyOf()).toContain('too few');
    change(folder, (m) => {
      for (const step of m.steps) delete step.loss;
    });
    expect(await whyOf()).toContain('no losses');
    change(folder, (m) => {
      const { history } = m as unknown as { history: { steps: number[]; loss: number[] } };
      history.steps = Array.from({ length: 30 }, (_, i) => i - 30);
      history.loss = history.steps.map(() => 1);
      m.steps[0]!.loss = 1;
      m.steps[4]!.loss = 1;
    });
    expect((await replayed(await openCapture(folder))).entries[0]!.verdict).toBe('not-needed');
  });

  it('a row outside of the table', async () => {
    const folder = await write(fresh());
    const path = join(folder, 'step-00000010.safetensors');
    const bytes = readFileSync(path);
    const header = Number(bytes.readBigUInt64LE(0));
    const at = JSON.parse(bytes.subarray(8, 8 + header).toString())['grad/table/indices'].data_offsets[0];
    bytes.writeBigInt64LE(-1n, 8 + header + at);
    writeFileSync(path, bytes);
    expect(await codeOf(replayed(await openCapture(folder)))).toBe('capture-values');
  });

  it('every truncation of every file is a coded error or whole steps', async () => {
    const folder = await write(fresh(), 2);
    const every = Number(process.env.CLIPPY_DIAG_TRUNCATIONS ?? 37);
    for (const name of readdirSync(folder)) {
      const whole = readFileSync(join(folder, name));
      for (let length = 0; length < whole.length; length += every) {
        writeFileSync(join(folder, name), whole.subarray(0, length));
        try {
          const capture = await openCapture(folder);
          expect(capture.errors.length).toBeGreaterThan(0);
          await replayed(capture);
        } catch (error) {
          expect(error).toBeInstanceOf(DiagError);
        }
      }
      writeFileSync(join(folder, name), whole);
    }
  });
});

describe('a recorded run that the replay does not meet', () => {
  const incident = join(projectRoot, 'fixtures', 'captures', 'micro-divergence');
  it.each([
    [
      'weight decay left out',
      (m: Editable) => {
        m.optimizer!.weightDecay = 0.05;
      },
      /weight decay/,
    ],
    [
      'clipping left out',
      (m: Editable) => {
        m.clipping = { rule: 'layer-norm', maxNorm: 0.01 };
      },
      /direction/,
    ],
    [
      'a smaller learning rate',
      (m: Editable) => {
        for (const step of m.steps) step.learningRate = (step.learningRate as number) / 2;
      },
      /times as far in the same direction/,
    ],
    [
      'another initial accumulator',
      (m: Editable) => {
        m.optimizer!.epsilon = 0.1;
      },
      /ε/,
    ],
  ] as [string, (manifest: Editable) => void, RegExp][])('%s', async (_name, edit, cause) => {
    const folder = fresh();
    cpSync(incident, folder, { recursive: true });
    change(folder, edit);
    const { findings } = await replayCapture(await openCapture(folder), { mode: 'as-recorded', rules: [] });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ id: 'capture-mismatch', severity: 'warning' });
    expect(findings[0]!.steps![1]).toBeGreaterThan(findings[0]!.steps![0]);
    expect(findings[0]!.message).toMatch(cause);
  });
});
