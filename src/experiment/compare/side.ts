/** One run as it is compared: what its log, ledger, captures and checkpoints have of each step. */

import type { Cell } from '../../model/cell.ts';
import type { Checkpoint } from '../../model/checkpoint.ts';
import { COMPARED_LINKS, type ComparedLink } from '../../model/comparison.ts';
import { isLossLike, type Run, type TimeSeries } from '../../model/run.ts';
import { runOfCapture } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { Ledger, LedgerRole, LedgerStep, StepTensors } from '../../read/ledger/read.ts';
import type { Fact, Known, ReadTensor, RecordKind, StepFacts } from './facts.ts';
import { EXACT, loggedUnit, type Reading, type Unit } from './readings.ts';

export interface Side {
  /** As the user named it. */
  readonly name: string;
  readonly settings: ReadonlyMap<string, Cell>;
  readonly stepUnit: string;
  /** Losses by step, of each record that has some. */
  readonly losses: ReadonlyMap<RecordKind, Losses>;
  /** Which records have a link at some step. */
  readonly records: ReadonlyMap<ComparedLink, ReadonlySet<RecordKind>>;
  /** All steps of which something is known, ascending. */
  readonly steps: readonly number[];
  /** Coarsest type of number that the record names; null where it names none. */
  readonly precision: Precision | null;
  /** Steps at which a process began. */
  readonly starts: ReadonlySet<number>;
  readonly has: { readonly ledger: boolean; readonly capture: boolean; readonly checkpoints: boolean };
  facts(step: number): Promise<StepFacts>;
  /** Whether tensors or their sketches are kept of a step. */
  hasTensors(step: number): boolean;
}

export type Precision = 'float64' | 'float32' | 'float16' | 'bfloat16';

export interface Losses {
  readonly values: ReadonlyMap<number, number>;
  readonly unit: Unit;
}

export interface SideInputs {
  readonly name: string;
  readonly run?: Run;
  readonly ledger?: Ledger;
  readonly captures?: readonly Capture[];
  readonly checkpoints?: readonly Checkpoint[];
}

type Add = (link: ComparedLink, fact: Known) => void;

interface Source {
  readonly record: RecordKind;
  /** Links that it may have at some step. */
  readonly links: readonly ComparedLink[];
  /** Adds what it knows of a step. */
  readonly at: (step: number, add: Add) => Promise<void>;
}

/** Options that choose how a step is computed, not what it is. */
const IMPLEMENTATION = /\.(foreach|fused|capturable|differentiable)$/;

export function sideOf({ name, run, ledger, captures = [], checkpoints = [] }: SideInputs): Side {
  // A run that was made of a capture or a ledger says nothing of its own.
  const log = run === undefined || MADE.has(run.format) ? undefined : run;
  // One checkpoint each, and nothing else: they are compared whatever their steps.
  const alone =
    checkpoints.length === 1 && log === undefined && ledger === undefined && captures.length === 0;
  const stepOf = ({ step }: Checkpoint): number => (alone ? 0 : (step ?? Number.NaN));
  const sources: Source[] = [
    ...(ledger === undefined ? [] : [ofLedger(ledger)]),
    ...captures.map(ofCapture),
    ...(log === undefined ? [] : [ofLog(log)]),
    ...checkpoints.map((checkpoint) => ofCheckpoint(checkpoint, stepOf(checkpoint))),
  ];
  const losses = lossesOf(log, ledger, captures);
  const withTensors = new Set<number>([
    ...(ledger?.taken ?? []),
    ...captures.flatMap((capture) => capture.steps.map(({ step }) => step)),
    ...checkpoints.map(stepOf),
  ]);
  const steps = new Set<number>(withTensors);
  for (const { values } of losses.values()) for (const step of values.keys()) steps.add(step);
  for (const series of log?.series ?? [])
    if (isCompared(series)) for (const step of series.step) steps.add(step);
  steps.delete(Number.NaN);
  return {
    name,
    settings: settingsOf(run, ledger, captures),
    stepUnit: alone ? 'checkpoint' : (run?.stepUnit ?? 'step'),
    losses,
    records: recordsOf(sources),
    steps: [...steps].sort((a, b) => a - b),
    precision: precisionOf(run, ledger),
    starts: new Set(startsOf(ledger)),
    has: { ledger: ledger !== undefined, capture: captures.length > 0, checkpoints: checkpoints.length > 0 },
    hasTensors: (step) => withTensors.has(step),
    facts: async (step) => {
      const found = new Map<ComparedLink, Fact[]>();
      for (const { record, at } of sources)
        await at(step, (link, fact) => found.set(link, [...(found.get(link) ?? []), { ...fact, record }]));
      return found;
    },
  };
}

/** Formats of runs that were made of a capture or a ledger, or of nothing. */
const MADE: ReadonlySet<string> = new Set(['capture', 'ledger', 'none']);

function recordsOf(sources: readonly Source[]): Side['records'] {
  const found = new Map<ComparedLink, Set<RecordKind>>();
  for (const { record, links } of sources)
    for (const link of links) found.set(link, (found.get(link) ?? new Set()).add(record));
  return found;
}

/**
 * Whether only like records of a link are compared: a log with a log where both sides have one.
 *
 * A log may average what a ledger has of each step, and a capture has other steps in each run.
 */
export const onlyAlike = (a: Side, b: Side, link: ComparedLink): boolean =>
  [...(a.records.get(link) ?? [])].some((record) => b.records.get(link)?.has(record) === true);

function lossesOf(
  log: Run | undefined,
  ledger: Ledger | undefined,
  captures: readonly Capture[],
): Side['losses'] {
  const found = new Map<RecordKind, Losses>();
  if (ledger !== undefined)
    found.set('ledger', {
      values: new Map([...ledger.steps].map(([step, { loss }]) => [step, loss])),
      unit: EXACT,
    });
  const leading = log === undefined ? undefined : leadingLoss(log);
  if (leading !== undefined) found.set('log', { values: byStep(leading), unit: loggedUnit(leading.value) });
  const recorded = captures.flatMap((capture) => [...lossesOfCapture(capture)]);
  if (recorded.length > 0) found.set('capture', { values: new Map(recorded), unit: EXACT });
  return found;
}

/** Losses of the recorded steps, and of those before. */
const lossesOfCapture = (capture: Capture): ReadonlyMap<number, number> =>
  byStep(leadingLoss(runOfCapture(capture))!);

/** The loss of a run: the first series of that role, else one that is like a loss. */
const leadingLoss = ({ series }: Run): TimeSeries | undefined =>
  series.find(({ role }) => role === 'loss') ?? series.find(({ role }) => isLossLike(role));

/** The value of each step; what a later attempt logged replaces what it repeats. */
const byStep = ({ step, value }: TimeSeries): ReadonlyMap<number, number> =>
  new Map(Array.from(step, (at, i) => [at, value.at(i)!]));

const LINK_OF_ROLE: Partial<Record<TimeSeries['role'], ComparedLink>> = {
  loss: 'loss',
  task_loss: 'loss',
  eval_loss: 'loss',
  metric: 'loss',
  learning_rate: 'options',
  grad_norm: 'gradient',
  param_norm: 'weights',
  update_norm: 'update',
  clip: 'clip',
};

const isCompared = ({ role }: TimeSeries): boolean => LINK_OF_ROLE[role] !== undefined;

/** Rates are chosen, and short as they are; of three digits and more they were rounded. */
const LEAST_DIGITS_OF_OPTIONS = 3;

/** The leading loss has no name of its own. */
function ofLog(run: Run): Source {
  const leading = leadingLoss(run);
  const all = run.series.filter(isCompared).map((series) => {
    const link = LINK_OF_ROLE[series.role]!;
    return {
      name: series === leading ? '' : series.name,
      link,
      values: byStep(series),
      unit: loggedUnit(series.value, link === 'options' ? LEAST_DIGITS_OF_OPTIONS : 1),
    };
  });
  all.sort((a, b) => Number(b.name === '') - Number(a.name === ''));
  return {
    record: 'log',
    links: all.map(({ link }) => link),
    at: async (step, add) => {
      const numbers = new Map<ComparedLink, Map<string, Reading>>();
      for (const { name, link, values, unit } of all) {
        const value = values.get(step);
        if (value === undefined) continue;
        const own = numbers.get(link) ?? new Map<string, Reading>();
        numbers.set(link, own.set(name, { value, unit: unit(value) }));
      }
      for (const [link, own] of numbers) add(link, { kind: 'numbers', numbers: own });
    },
  };
}

/** A number that is the only one of its link, with every bit. */
const exactly = (value: number): Known => ({
  kind: 'numbers',
  numbers: new Map([['', { value, unit: 0 }]]),
});

function ofLedger(ledger: Ledger): Source {
  const options = optionsByStep(ledger);
  return {
    record: 'ledger',
    links: COMPARED_LINKS,
    at: async (step, add) => {
      const one = ledger.steps.get(step);
      if (one === undefined) return;
      const world = one.session.settings.get('world');
      const ranks = typeof world === 'number' ? world : 1;
      if (one.batch !== null) add('batch', { kind: 'hash', hash: one.batch, ranks });
      if (one.rng !== null) add('rng', { kind: 'hash', hash: one.rng, ranks });
      add('options', { kind: 'cells', cells: options.get(step)! });
      if (one.weightNorm !== null) add('weights', exactly(one.weightNorm));
      add('loss', exactly(one.loss));
      if (one.gradientNorm !== null) add('gradient', exactly(one.gradientNorm));
      if (one.clippedNorm !== null) add('clip', exactly(one.clippedNorm));
      const tensors = await ledger.tensors(step);
      if (tensors !== undefined) addTensors(tensors, one, add);
    },
  };
}

const LINK_OF_LEDGER: readonly (readonly [ComparedLink, LedgerRole])[] = [
  ['weights', 'weights'],
  ['gradient', 'gradient'],
  ['state', 'state'],
  ['update', 'weightsAfter'],
];

function addTensors(tensors: StepTensors, { session }: LedgerStep, add: Add): void {
  for (const [link, role] of LINK_OF_LEDGER) {
    // Where a loop does not say when it has stepped, what it left is seen at the next step.
    const summaries = tensors.get(role) ?? (role === 'weightsAfter' ? tensors.get('weightsNext') : undefined);
    if (summaries === undefined) continue;
    // A tensor of another shape is another tensor.
    const named = summaries.map((summary, k) => {
      const { name, shape } = session.tensors[k]!;
      return [`${name}\n${shape.join()}`, summary] as const;
    });
    add(link, { kind: 'summaries', summaries: new Map(named) });
  }
}

/** Options in force at each step: those of the session, and what changed since. */
function optionsByStep({ steps }: Ledger): ReadonlyMap<number, ReadonlyMap<string, Cell>> {
  const found = new Map<number, ReadonlyMap<string, Cell>>();
  let session: LedgerStep['session'] | undefined;
  let now: ReadonlyMap<string, Cell> = new Map();
  for (const one of [...steps.values()].sort((a, b) => a.step - b.step)) {
    if (one.session !== session) {
      session = one.session;
      const given = [...session.settings].filter(([key]) => key.startsWith('options.'));
      now = new Map(given.map(([key, value]) => [key.slice('options.'.length), value]));
      now = withoutImplementation(now);
    }
    if (one.options.size > 0) now = withoutImplementation(new Map([...now, ...one.options]));
    found.set(one.step, now);
  }
  return found;
}

const withoutImplementation = (options: ReadonlyMap<string, Cell>): ReadonlyMap<string, Cell> =>
  new Map([...options].filter(([key]) => !IMPLEMENTATION.test(key)));

function ofCapture(capture: Capture): Source {
  const at = new Map(capture.steps.map(({ step }, index) => [step, index]));
  const losses = lossesOfCapture(capture);
  return {
    record: 'capture',
    links: ['batch', 'options', 'weights', 'loss', 'gradient', 'state'],
    at: async (step, add) => {
      const loss = losses.get(step);
      if (loss !== undefined) add('loss', exactly(loss));
      const index = at.get(step);
      if (index !== undefined) await addRecorded(capture, index, add);
    },
  };
}

const tensorOf = (values: ReadTensor['values'], rows?: Int32Array) => async (): Promise<ReadTensor> => ({
  values,
  ...(rows === undefined ? {} : { rows }),
});

/** What a capture has of a recorded step besides its loss. */
async function addRecorded(capture: Capture, index: number, add: Add): Promise<void> {
  const { parameters } = capture.manifest;
  const taken = await capture.step(index, 'float32');
  const batch = await capture.batch(index);
  if (batch.size > 0)
    add('batch', {
      kind: 'tensors',
      tensors: new Map([...batch].map(([name, { data }]) => [name, tensorOf(data)])),
    });
  const rates = taken.learningRates.map((rate, group) => [`${group}.lr`, rate] as const);
  add('options', { kind: 'cells', cells: new Map(rates) });
  const initial = index === 0 ? await capture.initial('float32') : undefined;
  const weights =
    initial === undefined
      ? [...taken.parameters]
      : initial.parameters.map((values, k) => [parameters[k]!.name, values] as const);
  if (weights.length > 0)
    add('weights', {
      kind: 'tensors',
      tensors: new Map(weights.map(([name, values]) => [name, tensorOf(values)])),
    });
  if (initial !== undefined) addState(initial.slots, parameters, add);
  if (taken.hasGradients) {
    const there = taken.gradients.flatMap(({ values, rows, absent }, k) =>
      absent === true ? [] : [[parameters[k]!.name, tensorOf(values, rows)] as const],
    );
    add('gradient', { kind: 'tensors', tensors: new Map(there) });
  }
}

function addState(
  slots: readonly ReadonlyMap<string, ReadTensor['values']>[],
  parameters: readonly { readonly name: string }[],
  add: Add,
): void {
  const tensors = slots.flatMap((own, k) =>
    [...own].map(([slot, values]) => [`${parameters[k]!.name}/${slot}`, tensorOf(values)] as const),
  );
  if (tensors.length > 0) add('state', { kind: 'tensors', tensors: new Map(tensors) });
}

function ofCheckpoint(checkpoint: Checkpoint, at: number): Source {
  const named = (wanted: (role: string) => boolean): Known => ({
    kind: 'tensors',
    tensors: new Map(
      checkpoint.tensors
        .filter(({ role }) => wanted(role))
        .map(({ name }) => [name, async () => ({ values: await checkpoint.read(name) })]),
    ),
  });
  const isWeight = (role: string): boolean => role === 'parameter' || role === 'buffer';
  const isState = (role: string): boolean => role === 'optimizer_state';
  return {
    record: 'checkpoint',
    links: ['weights', 'state'],
    at: async (step, add) => {
      if (step !== at) return;
      if (checkpoint.tensors.some(({ role }) => isWeight(role))) add('weights', named(isWeight));
      if (checkpoint.tensors.some(({ role }) => isState(role))) add('state', named(isState));
    },
  };
}

function settingsOf(
  run: Run | undefined,
  ledger: Ledger | undefined,
  captures: readonly Capture[],
): ReadonlyMap<string, Cell> {
  const told = new Map<string, Cell>(run?.hyperparameters ?? []);
  for (const [key, value] of ledger?.sessions.at(-1)?.settings ?? []) told.set(key, value);
  const [capture] = captures;
  if (ledger === undefined && capture !== undefined) {
    told.set('framework', capture.manifest.framework);
    for (const [group, { name, options }] of capture.manifest.optimizers.entries()) {
      told.set(`optimizer.${group}`, name);
      for (const [key, value] of Object.entries(options))
        told.set(`optimizer.${group}.${key}`, value as Cell);
    }
    told.set(
      'clipping',
      JSON.stringify(capture.manifest.clipping.map(({ rule, options }) => ({ rule, ...options }))),
    );
  }
  const last = ledger?.sessions.at(-1);
  if (last !== undefined)
    told.set('tensors', last.tensors.map(({ name, shape }) => `${name} [${shape.join()}]`).join(', '));
  return told;
}

function startsOf(ledger: Ledger | undefined): number[] {
  const inOrder = [...(ledger?.steps.values() ?? [])].sort((a, b) => a.step - b.step);
  return inOrder.filter(({ session }, k) => session !== inOrder[k - 1]?.session).map(({ step }) => step);
}

const COARSE: readonly (readonly [Precision, RegExp])[] = [
  ['bfloat16', /bf16|bfloat16/i],
  ['float16', /fp16|float16|\bhalf\b|tf32|"(high|medium)"/i],
];

/** From the types of the tensors, and from settings such as `precision: bf16`. */
function precisionOf(run: Run | undefined, ledger: Ledger | undefined): Precision | null {
  const session = ledger?.sessions.at(-1);
  const types = session?.tensors.map(({ dtype }) => dtype) ?? [];
  const words = [...(run?.hyperparameters ?? []), ...(session?.settings ?? [])]
    .filter(
      ([key, value]) =>
        /precision|dtype|amp|bf16|fp16|autocast/i.test(key) && value !== false && value !== null,
    )
    .map(([key, value]) => (value === true ? key : JSON.stringify(value)));
  for (const [precision, pattern] of COARSE)
    if ([...types, ...words].some((word) => pattern.test(word))) return precision;
  if (types.length === 0) return null;
  return types.every((type) => type === 'float64') ? 'float64' : 'float32';
}
