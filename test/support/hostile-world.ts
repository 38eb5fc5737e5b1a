/** A folder in which every name is hostile: of files, runs, series, tensors, parameters, tasks, layers and settings. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HOSTILE_NAMES } from './hostile-names.ts';
import { projectRoot } from './shared-data.ts';

/** Names that a CI server, a terminal or a format could take for more than text. */
export const NAMES: readonly string[] = [
  ...HOSTILE_NAMES,
  '##vso[task.setvariable variable=x]y',
  '##[error]pwned',
  '\u001b[8mhidden\u001b[0m',
  '\u009b2J\u009d0;pwned\u009c',
  '::stop-commands::x',
  '=cmd|pwned!A1',
];

/** Without the halves of characters that no file can hold. */
const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, '\ufffd');

/** As much of a name as a file may have. */
export const fileName = (name: string): string => wellFormed(name).replace(/[/\0]/g, '_');

/** A safetensors file with the names that it is given; values are as they were. */
function renameTensors(from: string, to: string, renamed: (name: string) => string): void {
  const bytes = readFileSync(from);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, unknown>;
  const text = Buffer.from(
    JSON.stringify(Object.fromEntries(Object.entries(header).map(([name, one]) => [renamed(name), one]))),
  );
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(to, Buffer.concat([head, text, bytes.subarray(8 + length)]));
}

interface Manifest {
  model?: string;
  parameters: { name: string }[];
  steps: { step: number; file: string; tasks?: Record<string, number> }[];
  [member: string]: unknown;
}

/** Around the onset, which is at step 401. */
const STEPS = 16;

/**
 * A capture whose parameters and tasks have hostile names. It names a model that is computed, holds results of another
 * program under hostile names, and, where `damaged`, lacks its last step.
 */
function writeCapture(folder: string, names: readonly string[], damaged = false): void {
  const source = join(projectRoot, 'fixtures/captures/seed-2');
  const manifest = JSON.parse(readFileSync(join(source, 'capture.json'), 'utf8')) as Manifest;
  const model = JSON.parse(readFileSync(join(source, 'model.json'), 'utf8')) as { tasks: { name: string }[] };
  // Names of tensors are told apart before a slash and after it, so that one of a name may stand in another.
  const sound = names.filter((name) => wellFormed(name) === name && name !== '__proto__');
  const own = new Map(manifest.parameters.map(({ name }, i) => [name, `${sound[i % sound.length]!}/${i}`]));
  const tasks = new Map(model.tasks.map(({ name }, i) => [name, sound[i % sound.length]! + '·'.repeat(i)]));
  const renamed = (tensor: string): string => {
    const label = /^batch\/label\/(.*)$/.exec(tensor)?.[1];
    if (label !== undefined) return `batch/label/${tasks.get(label)}`;
    const [, kind, name] = /^(param\/|grad\/|state\/[^/]+\/)(.*)$/s.exec(tensor) ?? [];
    return name === undefined ? tensor : kind! + own.get(name)!;
  };
  mkdirSync(folder, { recursive: true });
  renameTensors(join(source, 'initial.safetensors'), join(folder, 'initial.safetensors'), renamed);
  const first = manifest.steps.findIndex(({ step }) => step === 390);
  manifest.steps = manifest.steps.slice(first, first + STEPS);
  for (const step of manifest.steps) {
    if (!damaged || step !== manifest.steps.at(-1))
      renameTensors(join(source, step.file), join(folder, step.file), renamed);
    if (step.tasks !== undefined)
      step.tasks = Object.fromEntries(
        Object.entries(step.tasks).map(([name, loss]) => [tasks.get(name) ?? name, loss]),
      );
  }
  for (const one of manifest.parameters) one.name = own.get(one.name)!;
  const [name] = names;
  manifest.framework = name;
  manifest.curvature = [
    ...names.map((block) => ({
      checkpoint: block,
      step: 390,
      method: 'lanczos',
      operator: 'hessian',
      block,
      task: block,
      eigenvalues: [{ value: 2, residualNorm: 0, converged: true, iterations: 3 }],
      largestMagnitude: 2,
      hvpCount: 3,
      hvpMethod: block,
      stability: { learningRate: 0.5, limit: 4, ratio: 0.5 },
      seed: 0,
      backend: block,
    })),
    { [name!]: name },
  ];
  manifest.replay = names.map((rule) => ({
    mode: 'closed-loop',
    rule,
    options: { [rule]: 1 },
    optimizer: rule,
    steps: [390, 391],
    loss: [1, 'NaN'],
    minClipFactor: [1, 0.5],
    updateNorm: [1, 1],
    bottleneck: { tensor: rule, index: 0, factor: 0.5 },
    verdict: 'prevented',
    confidence: 'exact',
    why: rule,
  }));
  writeFileSync(join(folder, 'capture.json'), JSON.stringify(manifest));
  const rename = Object.fromEntries([...own].map(([to, from]) => [from.replaceAll('*', '?'), to]));
  for (const task of model.tasks) {
    const before = task.name;
    task.name = tasks.get(before)!;
    for (const [to, from] of own)
      if (to.startsWith(`task/${before}/`))
        rename[from] = `task/${task.name}/${to.slice(`task/${before}/`.length)}`;
  }
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ ...model, rename }));
  // A Keras model with a layer that nobody can build.
  writeFileSync(
    join(folder, 'layers.json'),
    JSON.stringify({
      kind: 'layers',
      version: 1,
      model: 'keras.json',
      tasks: [{ name, loss: 'mean-squared-error' }],
    }),
  );
  writeFileSync(
    join(folder, 'keras.json'),
    JSON.stringify({
      class_name: 'Sequential',
      config: { name, layers: [{ class_name: name, config: { name, units: 1 } }] },
    }),
  );
}

/** A run that diverges, with series, tasks, settings and weights of these names, and files that are passed over. */
function writeRun(folder: string, names: readonly string[]): void {
  const [name] = names;
  mkdirSync(folder, { recursive: true });
  const row = (step: number): object => ({
    step,
    loss: step < 60 ? 1 + 0.01 * Math.sin(step * 1.7) : 40 + Math.sin(step),
    ...Object.fromEntries(
      names.flatMap((one) => [
        [`task/${one}/loss`, step < 60 ? 2 + 0.01 * Math.sin(step) : 90],
        [`${one} loss`, step < 60 ? 2 + 0.01 * Math.sin(step) : step % 2 === 0 ? 'NaN' : 90],
        [one, step % 7],
      ]),
    ),
  });
  const rows = Array.from({ length: 120 }, (_, step) => JSON.stringify(row(step)));
  writeFileSync(join(folder, 'log.jsonl'), `${rows.join('\n')}\n`);
  writeFileSync(
    join(folder, 'hparams.json'),
    JSON.stringify(Object.fromEntries(names.map((one) => [one, one]))),
  );
  const tensors = Object.fromEntries(
    names.map((one, i) => [`${one}.weight`, { dtype: 'F32', shape: [1], data_offsets: [4 * i, 4 * i + 4] }]),
  );
  const header = Buffer.from(JSON.stringify({ __metadata__: { [wellFormed(name!)]: name }, ...tensors }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  for (const [file, value] of [
    ['step-100.safetensors', 1],
    ['step-110.safetensors', Number.NaN],
  ] as const)
    writeFileSync(
      join(folder, file),
      Buffer.concat([length, header, Buffer.from(new Float32Array(names.length).fill(value).buffer)]),
    );
}

/** The study of the table of a tiny model, under hostile names of models, tasks and columns. */
function writeStudy(folder: string, names: readonly string[]): void {
  const [name] = names;
  const rows = Array.from({ length: 400 }, (_, i) => {
    const x = Math.sin(12.9898 * i) * 3;
    return `${i},${x.toFixed(4)},${x + 0.5 * Math.cos(7 * i) > 0 ? 1 : 0}`;
  });
  writeFileSync(join(folder, 'data.csv'), `t,x,y\n${rows.join('\n')}\n`);
  const study = {
    version: 1,
    data: { file: 'data.csv', order: 'column t', train: 320, test: 80 },
    columns: { x: 'dense', y: { label: name, loss: 'sigmoid-cross-entropy' } },
    models: Object.fromEntries(
      names
        .filter((one) => one !== '__proto__')
        .map((one) => [one, { shared: { type: 'shared-bottom', units: [2], activation: 'relu' } }]),
    ),
    rules: ['none'],
    learningRates: [0.05],
    seeds: 1,
    batch: 16,
  };
  writeFileSync(join(folder, 'study.json'), JSON.stringify(study));
  writeFileSync(join(folder, 'wrong-study.json'), JSON.stringify({ ...study, [name!]: name }));
}

/** Makes the folder; the first name stands where there is room for one. */
export function makeHostileWorld(folder: string, names: readonly string[] = NAMES): void {
  const name = fileName(names[0]!);
  for (const one of names) {
    mkdirSync(join(folder, 'runs', fileName(one)), { recursive: true });
    writeFileSync(join(folder, 'runs', fileName(one), `${fileName(one)}.log`), 'nothing to see\n');
    writeFileSync(join(folder, 'runs', fileName(one), `${fileName(one)}.jsonl`), '');
  }
  writeRun(join(folder, 'runs', name), names);
  writeCapture(join(folder, name, 'capture'), names);
  writeCapture(join(folder, name, 'damaged'), names, true);
  writeFileSync(
    join(folder, name, 'pickle.pt'),
    Buffer.from(`\x80\x02c${name.replaceAll('\n', '')}\nsystem\n.`),
  );
  writeFileSync(join(folder, name, 'text.txt'), `${names.join('\n')}\n`);
  symlinkSync('nowhere', join(folder, name, `${name}.csv`));
  writeStudy(folder, names);
  const config = {
    version: 1,
    rules: Object.fromEntries(names.map((one) => [`last("${one}") < 1`, 'error'])),
  };
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ version: 1, rules: { 'last(loss) < 2': 'error' } }),
  );
  writeFileSync(join(folder, 'rules.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'wrong.json'), JSON.stringify({ version: 1, rules: { [names[0]!]: 'error' } }));
  writeFileSync(join(folder, 'wrong-key.json'), JSON.stringify({ version: 1, [names[0]!]: names[0] }));
  writeFileSync(
    join(folder, 'wrong.yaml'),
    `version: 1\nrules: { ${JSON.stringify(names[0])}: ${JSON.stringify(names[0])} }\n`,
  );
}
