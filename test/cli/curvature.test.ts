/** `curvature` as a user calls it, against float64 PyTorch (fixtures/curvature/incident.py, ranking.py) and with bad input. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { COMMANDS } from '../../src/run.ts';
import { cli } from '../support/cli.ts';
import {
  atKeras,
  capture,
  curvature,
  embeddings,
  files,
  incident,
  isOfKeras,
  isRefused,
  measure,
  near,
  net,
  type Point,
  read,
  tops,
  topThree,
} from './curvature-runs.ts';

const ADAGRAD = ['--optimizer', 'adagrad:learningRate=0.5,epsilon=1e-10,epsilonInside=false'];
const both = ({ hessian, preconditioned }: Point): number[] => [
  hessian.largest[0]!,
  preconditioned.largest[0]!,
];

const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-curvature-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const write = (name: string, text: string): string => {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
};

describe('a capture', () => {
  it('--fast-math: the same to the last digits, and the report says what it did; no other command has it', async () => {
    const [plain, fast] = [await measure([capture]), await measure([capture, '--fast-math'])];
    near(tops(fast), tops(plain));
    const said = (entries: readonly CurvatureEntry[]): boolean[] =>
      entries.map(({ notes }) => notes!.some((note) => note.startsWith('--fast-math')));
    expect(said(fast)).toEqual([true, true]);
    expect(said(plain)).toEqual([false, false]);
    const takers = await Promise.all(
      Object.entries(COMMANDS).map(async ([id, load]) =>
        Object.hasOwn((await load()).default.flags, 'fast-math') ? [id] : [],
      ),
    );
    expect(takers.flat()).toEqual(['curvature']);
  });

  it('default: plain and preconditioned at its first step, as the contract of --json says', async () => {
    const { code, out, err } = await cli(['curvature', capture, '--json']);
    expect([code, err]).toEqual([0, '']);
    const document = JSON.parse(out) as { schemaVersion: string; curvature: CurvatureEntry[] };
    expect(document.schemaVersion).toMatch(/^\d+\.\d+$/);
    const [plain, preconditioned] = document.curvature;
    expect(document.curvature).toHaveLength(2);
    near(tops(document.curvature), both(incident.capture!));
    expect(plain).toMatchObject({
      checkpoint: capture,
      step: 380,
      method: 'lanczos',
      operator: 'hessian',
      block: 'all',
      task: 'all',
      eigenvalues: [{ converged: true, iterations: expect.any(Number) }],
      hvpMethod: 'double-backward',
      stability: { learningRate: 0.5, limit: null, ratio: null },
      seed: 0,
      source: 'computed',
    });
    expect(preconditioned).toMatchObject({
      operator: 'preconditioned-hessian',
      stability: { learningRate: 0.5, limit: 4, forecast: false },
      criticalSharpness: { value: expect.any(Number), criticalMultiple: expect.any(Number) },
    });
    // H1 of the incident: more than twice the limit twenty steps before the loss jumps.
    expect(preconditioned!.stability.ratio).toBeCloseTo(2.4, 2);
    for (const { eigenvalues, largestMagnitude, hvpCount, notes } of document.curvature) {
      const { value, residualNorm } = eigenvalues[0]!;
      expect(residualNorm).toBeLessThanOrEqual(1e-3 * Math.abs(value));
      expect(Math.abs(largestMagnitude)).toBeGreaterThanOrEqual(value);
      expect(hvpCount).toBeGreaterThan(2);
      expect(notes!.join()).toContain('certified within residualNorm');
      const above = /fewer than 1 in 1000 such starts would miss an eigenvalue above (\S+)$/.exec(
        notes!.at(-1)!,
      );
      expect(Number(above![1]) / value).toBeCloseTo(1, 2);
    }
  });

  it('in words: the limit, the ratio, the head-room of the learning rate, the cheap probe', async () => {
    const { code, out: text, err } = await curvature([capture, '--at', '400']);
    expect([code, err]).toEqual([0, '']);
    const out = text.replace(/\n {2}/g, ' ');
    expect(out).toContain('400   H                    all    all   256.8');
    expect(out).toContain(
      'P^(-1/2) H P^(-1/2) has 34.62; the limit 2/η on P⁻¹H is 4 at the learning rate 0.5.',
    );
    expect(out).toContain('Ratio 8.654: no forecast for this optimizer. For optimizers');
    expect(out).not.toContain('stable up to');
    // The same net under plain SGD.
    const { out: plain } = await curvature([
      ...['--model', `${capture}/model.json`, '--batch', `${capture}/step-00000380.safetensors`],
      ...['--checkpoint', 'fixtures/incident/checkpoints/step-380.pt', '--optimizer', 'sgd:learningRate=0.5'],
    ]);
    expect(plain.replace(/\n {2}/g, ' ')).toMatch(
      /stable up to a learning rate of \S+\. This is a risk, not a verdict\./,
    );
    expect(out).toContain('critical sharpness');
    expect(out).not.toContain('\u001b');
  });

  it.each([
    [['--at', '400'], 'step-400, batch 400'],
    [['--batches', '4'], 'capture, 4 batches'],
  ])('%j is float64 PyTorch’s', async (flags, key) => {
    near(tops(await measure([capture, ...flags])), both(incident[key]!));
  });

  it('--top 3 by Lanczos', () => topThree('lanczos'));

  it('--density: trace and spectral density', async () => {
    const { code, out } = await curvature([capture, '--operator', 'hessian', '--density', '--json']);
    const document = JSON.parse(out);
    expect(code).toBe(0);
    expect(document.curvature[0].trace.standardError).toBeGreaterThan(0);
    expect(document.density.weight.reduce((sum: number, x: number) => sum + x, 0)).toBeCloseTo(1, 6);
    expect(Math.max(...document.density.value)).toBeCloseTo(document.curvature[0].eigenvalues[0].value, 1);
    const { out: chart } = await curvature([capture, '--operator', 'hessian', '--density']);
    expect(chart).toContain('log10 of the spectral density (SLQ) of H at step 380');
    expect(chart).toMatch(/trace .* ± /i);
  });

  it('what the user’s framework recorded stands beside it; what is no entry is a note', async () => {
    const path = join(scratch, 'recorded');
    cpSync(capture, path, { recursive: true });
    const manifest = read(join(path, 'capture.json')) as Record<string, unknown>;
    const [computed] = await measure([capture, '--operator', 'hessian']);
    writeFileSync(
      join(path, 'capture.json'),
      JSON.stringify({ ...manifest, curvature: [{ ...computed, seed: 7 }, { nonsense: true }] }),
    );
    const { code, out, err } = await curvature([path, '--operator', 'hessian', '--json']);
    expect([code, err]).toEqual([0, '']);
    const document = JSON.parse(out) as { curvature: CurvatureEntry[]; notes: string[] };
    expect(document.curvature.map(({ source }) => source)).toEqual(['computed', 'recorded']);
    expect(document.notes).toEqual([expect.stringContaining('entry 1 of "curvature"')]);
    expect((await curvature([path, '--operator', 'hessian'])).err).toContain('note: entry 1 of "curvature"');
  });

  it('a loss that is not the recorded one: no ratio, why, and code 4', async () => {
    const spec = read(`${capture}/model.json`) as { tasks: { weight: number }[] };
    spec.tasks[1]!.weight = 2;
    const other = ['--model', write('weights.json', JSON.stringify(spec))];
    const { code, out } = await curvature([capture, ...other, '--batches', '2', '--json']);
    expect(code).toBe(4);
    for (const entry of (JSON.parse(out) as { curvature: CurvatureEntry[] }).curvature) {
      expect(entry.stability).toEqual({ learningRate: 0.5, limit: null, ratio: null });
      expect(entry.criticalSharpness).toBeUndefined();
      expect(entry.notes![0]).toMatch(/^the loss at this point is [\d.]+ where 0\.678[\d]+ was recorded: /);
    }
    expect((await curvature([capture, ...other])).out).not.toContain('Ratio');
  });

  it('a training that had begun without its optimizer’s state: the plain Hessian alone', async () => {
    const path = join(scratch, 'stateless');
    cpSync(capture, path, { recursive: true });
    const initial = await openCheckpoint(join(path, 'initial.safetensors'));
    const parameters = await Promise.all(
      initial.tensors
        .filter(({ role }) => role === 'parameter')
        .map(async ({ name, shape }) => ({
          name,
          shape,
          dtype: 'F32' as const,
          values: await initial.read(name),
        })),
    );
    await initial.close();
    await writeSafetensors(join(path, 'initial.safetensors'), parameters);
    const entries = await measure([path]);
    expect(entries.map(({ operator }) => operator)).toEqual(['hessian']);
    expect(entries[0]!.notes!.join()).toContain('the capture stores no "accumulator" for any parameter');
  });

  it('a search that ends early is not converged, which is code 4', async () => {
    const { code, out } = await curvature([
      capture,
      '--max-products',
      '3',
      '--operator',
      'hessian',
      '--json',
    ]);
    expect(code).toBe(4);
    expect(JSON.parse(out).curvature[0].eigenvalues[0].converged).toBe(false);
  });
});

describe('a checkpoint with a model and a batch', () => {
  it.each([
    ['safetensors', []],
    ['npz', []],
    ['parquet', []],
    [
      'csv',
      ['--map', 'dense=x0,x1,x2,x3,x4,x5', '--map', 'label/click=clicked', '--map', 'label/watch=seconds'],
    ],
  ])('a batch as %s', async (kind, map) => {
    const entries = await measure(
      files(
        [`${net}/batch.${kind}`],
        [...map, '--optimizer', 'adagrad:learningRate=0.1,epsilon=1e-10,epsilonInside=false'],
      ),
    );
    near(tops(entries), both(embeddings));
    expect(entries[1]!.stability.limit).toBe(20);
  });

  it('--operator gauss-newton, --block, --task each', async () => {
    near(tops(await measure(files(undefined, ['--operator', 'gauss-newton']))), [
      embeddings.gaussNewton.largest[0]!,
    ]);
    const block = await measure(files(undefined, ['--block', 'task/*']));
    expect(block[0]!.block).toBe('task/*');
    near(tops(block), [embeddings['block task/*'].largest[0]!]);
    const tasks = await measure(files(undefined, ['--task', 'each']));
    expect(tasks.map(({ task }) => task)).toEqual(['all', 'click', 'watch']);
    near(tops(tasks), [
      embeddings.hessian.largest[0]!,
      embeddings.tasks.click!.largest[0]!,
      embeddings.tasks.watch!.largest[0]!,
    ]);
    near(tops(await measure(files(undefined, ['--task', 'watch']))), [embeddings.tasks.watch!.largest[0]!]);
    const { watch, click } = embeddings.tasks;
    const [first, second] = watch!.largest[0]! > click!.largest[0]! ? ['watch', 'click'] : ['click', 'watch'];
    const { out } = await curvature(files(undefined, ['--task', 'each']));
    expect(out).toMatch(
      new RegExp(`Of the tasks ${first} leads in H: [\\d.]+, then ${second} with [\\d.]+\\.`),
    );
  });

  const folder = [
    '--model',
    `${capture}/model.json`,
    '--checkpoint',
    'fixtures/incident/checkpoints',
    '--batch',
    `${capture}/step-00000380.safetensors`,
    ...ADAGRAD,
  ];
  it('a folder of checkpoints: each is float64 PyTorch’s', async () => {
    const entries = await measure(folder);
    const steps = [200, 300, 380, 400, 420, 520];
    expect(entries.map(({ step }) => step)).toEqual(steps.flatMap((step) => [step, step]));
    near(
      tops(entries),
      steps.flatMap((step) => both(incident[`step-${step}, batch 380`]!)),
    );
  });

  it('a folder of checkpoints: a chart of the ratio with the limit, and the divergence marked', async () => {
    const { code, out } = await curvature([...folder, '--onset', '400']);
    expect(code).toBe(0);
    for (const part of ['eigenvalue / stability limit', '┄ limit 1', '▲ divergence', 'step  200'])
      expect(out).toContain(part);
  });

  it('a folder with an index and its shards is one checkpoint', async () => {
    const sharded = join(scratch, 'sharded');
    mkdirSync(sharded);
    const whole = await openCheckpoint(`${net}/checkpoint.safetensors`);
    const parameters = whole.tensors.filter(({ role }) => role === 'parameter');
    const shardOf = (k: number): string => `model-0000${(k % 2) + 1}-of-00002.safetensors`;
    for (const part of [0, 1])
      await writeSafetensors(
        join(sharded, shardOf(part)),
        await Promise.all(
          parameters
            .filter((_, k) => k % 2 === part)
            .map(async ({ name, shape }) => ({
              name,
              shape,
              dtype: 'F32' as const,
              values: (await whole.read(name)) as Float32Array,
            })),
        ),
      );
    await whole.close();
    const index = { weight_map: Object.fromEntries(parameters.map(({ name }, k) => [name, shardOf(k)])) };
    writeFileSync(join(sharded, 'model.safetensors.index.json'), JSON.stringify(index));
    const { code, err, out } = await curvature([...files(undefined, [], sharded), '--json']);
    expect([code, err]).toEqual([0, '']);
    expect((JSON.parse(out) as { notes: string[] }).notes.join()).not.toContain('was not measured');
  });

  it('a folder whose last checkpoint is broken: those before are shown, and code 4', async () => {
    const broken = join(scratch, 'broken');
    mkdirSync(broken);
    cpSync(`${net}/checkpoint.safetensors`, join(broken, 'a.safetensors'));
    const whole = await openCheckpoint(`${net}/checkpoint.safetensors`);
    const parameters = whole.tensors.filter(({ role }) => role === 'parameter');
    await writeSafetensors(
      join(broken, 'b.safetensors'),
      parameters.map(({ name, shape, elements }) => ({
        name,
        shape,
        dtype: 'F32' as const,
        values: new Float32Array(elements).fill(Number.NaN),
      })),
    );
    await whole.close();
    const { code, out } = await curvature([...files(undefined, [], broken), '--json']);
    expect(code).toBe(4);
    const { curvature: entries, notes } = JSON.parse(out);
    near(tops(entries), [embeddings.hessian.largest[0]!]);
    expect(notes).toEqual([expect.stringMatching(/b\.safetensors was not measured: curvature-loss: .* NaN/)]);
    const nan = readFileSync(join(broken, 'b.safetensors'));
    // One that cannot even be opened.
    writeFileSync(
      join(broken, 'b.safetensors'),
      readFileSync(join(broken, 'b.safetensors')).subarray(0, 100),
    );
    const cut = await curvature([...files(undefined, [], broken), '--json']);
    expect(cut.code).toBe(3);
    near(tops((JSON.parse(cut.out) as { curvature: typeof entries }).curvature), [
      embeddings.hessian.largest[0]!,
    ]);
    expect(cut.err + cut.out).toMatch(/b\.safetensors was not measured: checkpoint-/);
    rmSync(join(broken, 'a.safetensors'));
    writeFileSync(join(broken, 'b.safetensors'), nan);
    writeFileSync(join(broken, 'c.safetensors'), nan);
    expect(await curvature(files(undefined, [], broken))).toMatchObject({
      code: 4,
      out: '',
      err: expect.stringContaining('curvature-loss'),
    });
  });
});

/** Of mean (b·Σx − y)² in b alone: 2·mean (Σx)². */
it.each(['npz', 'csv'])('a module takes everything that a batch has: %s', async (kind) => {
  const dense = 'x0,x1,x2,x3,x4,x5';
  const model = write(
    `sum-${kind}.mjs`,
    `export function loss(tf, p, batch) {
      const z = tf.mul(tf.sum(batch.dense, 1), tf.slice(p['shared/0/bias'], 0, 1));
      return tf.mean(tf.square(tf.sub(z, batch.${kind === 'csv' ? 'seconds' : "['label/watch']"})));
    }`.replace('batch.[', 'batch['),
  );
  const map = kind === 'csv' ? ['--map', `dense=${dense}`] : [];
  const [header, ...rows] = readFileSync(`${net}/batch.csv`, 'utf8').trimEnd().split('\n');
  const columns = dense.split(',').map((name) => header!.split(',').indexOf(name));
  const squares = rows.map((row) => {
    const cells = row.split(',').map(Number);
    return columns.reduce((sum, column) => sum + cells[column]!, 0) ** 2;
  });
  const entries = await measure(files([`${net}/batch.${kind}`], map, undefined, model));
  near(tops(entries), [(2 * squares.reduce((a, b) => a + b, 0)) / squares.length]);
});

describe('a Keras checkpoint with its optimizer (fixtures/curvature/keras_optimizers.py)', () => {
  it.each([
    ['adam.keras', "the run was clipped by clipnorm=5;.*checkpoint's own optimizer: .*epsilonHat=true"],
    [
      'rmsprop.weights.h5',
      "does not say rho, epsilon, momentum: Keras's default is used.*learningRate=0.002",
    ],
  ])('%s: each state is its parameter’s, and options and form are Keras’s', isOfKeras);

  it('options of another optimizer are not taken, and that no learning rate is known is said', async () => {
    const [entry] = await atKeras('adam.keras', 'sgd');
    expect(entry!.stability).toMatchObject({ learningRate: null, ratio: null });
    expect(entry!.notes!.join()).toContain('no learning rate is known');
  });
});

describe('a PyTorch checkpoint with its optimizer (fixtures/curvature/optimizers/make.py)', () => {
  const folder = 'fixtures/curvature/optimizers';
  const expected = read(`${folder}/expected.json`) as Record<
    string,
    { hessian: number; preconditioned?: number; limit: number }
  >;
  const at = (name: string, optimizer: string, checkpoint = `${folder}/${name}.pt`): string[] =>
    files([`${folder}/batch.npz`], ['--optimizer', optimizer], checkpoint, `${folder}/model.json`);

  it.each([
    ['adam', 'adam'],
    ['amsgrad', 'adam'],
    ['rmsprop', 'rmsprop'],
    ['centered', 'rmsprop'],
    ['nesterov', 'sgd'],
  ])(
    '%s: λ, P and the limit are float64 PyTorch’s, with the options that the file holds',
    async (name, optimizer) => {
      const entries = await measure(at(name, optimizer));
      const { hessian, preconditioned, limit } = expected[name]!;
      near(tops(entries), preconditioned === undefined ? [hessian] : [hessian, preconditioned]);
      near([entries.at(-1)!.stability.limit!], [limit]);
      expect(entries[0]!.notes!.join()).toMatch(/from the checkpoint's own optimizer: learningRate=/);
    },
  );

  it('what was stated wins, and a difference is said', async () => {
    const [, entry] = await measure(at('adam', 'adam:learningRate=0.1,beta2=0.99,epsilon=1e-6,beta1=0.5'));
    near([entry!.stability.limit!, entry!.eigenvalues[0]!.value], [60, expected.adam!.preconditioned!]);
    expect(entry!.notes!.join()).toContain(
      'learningRate is 0.1 as asked for; the checkpoint was saved with 0.002',
    );
  });

  it('another optimizer’s state is said', async () => {
    const [entry] = await measure(at('adam', 'rmsprop:rho=0.9'));
    expect(entry!.notes!.join()).toContain(
      'also holds the state m, which rmsprop with these options does not have',
    );
  });

  it.each(['left out', 'negative'])(
    'Adam whose number of steps is %s has no preconditioner: the bias correction would be a guess',
    async (how) => {
      const whole = await openCheckpoint(`${folder}/adam.pt`);
      const { tensors } = whole;
      const kept = how === 'left out' ? tensors.filter(({ slot }) => slot !== 'step') : tensors;
      const bare = join(scratch, 'bare.safetensors');
      await writeSafetensors(
        bare,
        await Promise.all(
          kept.map(async ({ name, role, slot, parameter, shape }) => ({
            name: role === 'parameter' ? `param/${name}` : `state/${slot}/${parameter}`,
            shape,
            dtype: 'F32' as const,
            values: slot === 'step' ? Float32Array.of(-1) : ((await whole.read(name)) as Float32Array),
          })),
        ),
      );
      await whole.close();
      const entries = await measure(at('adam', 'adam', bare));
      expect(entries.map(({ operator }) => operator)).toEqual(['hessian']);
      expect(entries[0]!.notes!.join()).toContain('the checkpoint has no step');
    },
  );
});

it('a task of weight 0 has the Hessian 0', async () => {
  const spec = read(`${net}/model.json`) as { tasks: { weight: number }[] };
  spec.tasks[1]!.weight = 0;
  const model = write('weight.json', JSON.stringify(spec));
  const [entry] = await measure(files(undefined, ['--task', 'watch'], undefined, model));
  expect(entry!.eigenvalues[0]).toMatchObject({ value: 0, residualNorm: 0, converged: true });
});

describe('bad input: code, message, and never a number', () => {
  const model = read(`${net}/model.json`) as { features: { vocabulary?: number }[]; tasks: object[] };
  const table = readFileSync(`${net}/batch.csv`, 'utf8').replace(/^.*\n/, (header) =>
    header.replace(/x(\d)/g, 'dense_$1').replace('clicked', 'label/click').replace('seconds', 'label/watch'),
  );
  const rows = (change: (cells: string[]) => void): string => {
    const [header, first, ...rest] = table.trimEnd().split('\n');
    const cells = first!.split(',');
    change(cells);
    return [header, cells.join(','), ...rest].join('\n');
  };
  const columns = table.slice(0, table.indexOf('\n')).split(',');
  const cell = (name: string, value: string): string =>
    rows((cells) => {
      cells[columns.indexOf(name)] = value;
    });
  const batch = (name: string, text: string): string[] => files([write(name, text)]);
  const module = (code: string, ...more: string[]): string[] =>
    files(undefined, more, undefined, write(`model-${code.length}.mjs`, code));

  it.each<[string, number, string, () => readonly string[]]>([
    ['another model', 3, 'model-names', () => files(undefined, [], undefined, `${capture}/model.json`)],
    [
      'another shape',
      3,
      'model-shapes',
      () => {
        const features = model.features.map((f, i) => (i === 0 ? { ...f, vocabulary: 61 } : f));
        return files(undefined, [], undefined, write('shape.json', JSON.stringify({ ...model, features })));
      },
    ],
    [
      'no state for a preconditioner',
      3,
      'preconditioner-state',
      () =>
        files(undefined, ['--operator', 'preconditioned-hessian', '--optimizer', 'adam:learningRate=0.1']),
    ],
    [
      'no optimizer for a preconditioner',
      2,
      'preconditioner-optimizer',
      () => files(undefined, ['--operator', 'preconditioned-hessian']),
    ],
    ['an id out of range', 3, 'batch-id-range', () => batch('id.csv', cell('user', '60'))],
    ['a label outside [0, 1]', 3, 'batch-label-range', () => batch('label.csv', cell('label/click', '1.5'))],
    ['an empty cell', 3, 'batch-values', () => batch('empty.csv', cell('dense_3', ''))],
    ['a missing column', 3, 'batch-missing', () => batch('column.csv', table.replace('dense_3', 'other'))],
    ['a wrong shape', 3, 'batch-shape', () => files(undefined, ['--map', 'dense=user'])],
    ['no rows', 3, 'batch-empty', () => batch('none.csv', `${columns.join(',')}\n`)],
    ['a loss that is NaN', 4, 'curvature-loss', () => batch('nan.csv', cell('dense_0', 'nan'))],
    ['an unknown task', 2, 'task-unknown', () => files(undefined, ['--task', 'like'])],
    ['an unknown block', 2, 'block-unknown', () => files(undefined, ['--block', 'tower/*'])],
    ['an unknown optimizer', 2, 'usage', () => files(undefined, ['--optimizer', 'adagrd'])],
    ['--optimizer with a capture', 2, 'usage', () => [capture, '--optimizer', 'adam']],
    ['--at without a capture', 2, 'usage', () => files(undefined, ['--at', '3'])],
    ['an unknown option', 2, 'option-unknown', () => files(undefined, ['--optimizer', 'adam:lr=1'])],
    ['an unknown step', 2, 'capture-step-unknown', () => [capture, '--at', '12']],
    ['a tolerance that is none', 2, 'usage', () => [capture, '--tolerance', 'x']],
    ['nothing', 2, 'usage', () => []],
    [
      'a model that is no model',
      3,
      'model-invalid',
      () => files(undefined, [], undefined, write('m.json', '{}')),
    ],
    [
      'a model that is cut',
      3,
      'model-invalid',
      () => files(undefined, [], undefined, write('c.json', '{"k')),
    ],
    [
      'a key that stands twice',
      3,
      'model-invalid',
      () => files(undefined, [], undefined, write('k.json', '{"kind":"ranking","kind":"ranking"}')),
    ],
    [
      'a Lambda',
      3,
      'model-layer',
      () => {
        cpSync('fixtures/checkpoints/keras3/lambda.keras', join(scratch, 'lambda.keras'));
        const tasks = [{ name: 'y', loss: 'mean-squared-error' }];
        const path = write(
          'l.json',
          JSON.stringify({ kind: 'layers', version: 1, model: 'lambda.keras', tasks }),
        );
        return files(undefined, [], join(scratch, 'lambda.keras'), path);
      },
    ],
    [
      'a module that throws',
      3,
      'user-model',
      () => module("export function loss() { throw new Error('no'); }"),
    ],
    [
      'a module that exits',
      3,
      'user-model-ended',
      () => module('export const loss = () => process.exit(0);'),
    ],
  ])('%s: code %d, %s', (_what, code, id, args) => isRefused([...args()], code, id));

  it('state that is missing without --operator: the plain Hessian, and a note why not more', async () => {
    const entries = await measure(files(undefined, ['--optimizer', 'adam:learningRate=0.1']));
    expect(entries.map(({ operator }) => operator)).toEqual(['hessian']);
    expect(entries[0]!.stability.ratio).toBeNull();
    expect(entries[0]!.notes!.join()).toContain('plain λ says nothing about the stability of adam');
  });
});
