/** What capture.json says of the training around the steps: modes, groups of the optimizers, all parameters, the run. */
import { isJsonObject, numberFromJson } from '../../model/json.ts';

/** Sums over tensors, as the recorder took them: equal ones mean equal bits. */
export interface Checksums {
  /** Of all tensors together, hexadecimal. */
  readonly sum: string;
  readonly tensors: ReadonlyMap<string, string>;
}

/** Of weights and optimizer state at one moment; each may be missing. */
export interface Moment {
  readonly weights: Checksums | null;
  readonly state: Checksums | null;
}

/** What a step's entry says beyond gradients and losses, from version 3 on; version 2 has modes of its first step. */
export interface StepRecord {
  /** Options by group, of the groups in which one changed since the step before; the first step names all. */
  readonly options: ReadonlyMap<number, Readonly<Record<string, unknown>>> | null;
  /** Training mode of modules by path, where one changed; the root is ''. */
  readonly modes: ReadonlyMap<string, boolean> | null;
  readonly batchHash: string | null;
  /** Of a training on several ranks: the hash of each rank's own batch, in their order. */
  readonly rankHashes: readonly string[];
  /** The same of the weights before the step, which every replica holds, and the tensors that differ from the first rank's. */
  readonly rankWeights: readonly { readonly sum: string; readonly apart: readonly string[] }[];
  /** The step of this run that was given the same batch before. */
  readonly repeats: number | null;
  readonly before: Moment | null;
  readonly after: Moment | null;
  /** Gradient norms of parameters that no group holds, by name. */
  readonly outside: ReadonlyMap<string, number>;
  /** Parameters of the optimizers that ask for a gradient and got none; where none is named, it was maybe not looked at. */
  readonly unreached: readonly string[];
}

/** A parameter of the model, whoever trains it. */
export interface ModelParameter {
  readonly name: string;
  /** Group of the optimizers, counted over all of them; null where none holds it. */
  readonly group: number | null;
  /** Whether it asks for a gradient. */
  readonly trains: boolean;
}

/** Learning rates of all groups at a step. */
export interface RatesAt {
  readonly step: number;
  readonly learningRates: readonly number[];
}

export interface TrainingRecord {
  /** Training mode before the first recorded step, of the root and of modules that differ from it; null where it was not recorded. */
  readonly modes: ReadonlyMap<string, boolean> | null;
  /** Classes of the modules that act differently in training, by path; null where they were not recorded. */
  readonly modeModules: ReadonlyMap<string, string> | null;
  /** Names of the parameters of each group, group by group over all optimizers. */
  readonly groups: readonly (readonly string[])[];
  readonly allParameters: readonly ModelParameter[] | null;
  /** How many ranks trained, and how (`ddp`, `fsdp1`, `fsdp2`, `tp`); null where one did, or it was not recorded. */
  readonly world: { readonly size: number; readonly kind: string } | null;
  /** Which run it is, and the learning rates of the run before it at its last step, where this one resumed it. */
  readonly run: {
    readonly id: string;
    readonly before: RatesAt | null;
    /** The first step that this process recorded. */
    readonly first: RatesAt | null;
  } | null;
  /** Steps between two moments at which checksums were taken; null where none were. */
  readonly checksumsEvery: number | null;
  /** Options of the optimizer that the training changes on purpose, as their users write them. */
  readonly expectedChanges: readonly string[];
  /** What a user's own model and loss gave of recorded batches (`clippy_diag.audit(…, model=…)`). */
  readonly remeasured: readonly RemeasuredStep[];
}

/** Loss and gradient of a recorded batch at the recorded weights, computed again; numbers may be NaN or infinite. */
export interface RemeasuredStep {
  readonly step: number;
  readonly loss: number;
  /** How far the recorded loss may be from it by rounding and noise. */
  readonly lossAllowed: number;
  /** How far other random numbers move the loss: 0 without any, NaN where not tried. */
  readonly chance: number;
  /** Null where no gradient was recorded. */
  readonly gradient: {
    readonly tensors: number;
    /** The largest deviation of a tensor, in what rounding and noise may add to it, and that tensor. */
    readonly ratio: number;
    readonly worst: string | null;
    /** Over the norm of the gradient, of all tensors together: its deviation, the spread of runs that differ by a rounding, that of two runs of the same. */
    readonly off: number;
    readonly noise: number;
    readonly repeats: number;
    /** What the gradient is multiplied by to come nearest to the recorded one, and the deviation that it leaves; NaN where not tried. */
    readonly factor: number;
    readonly factorRatio: number;
    /** The same of the recorded gradient of the step before, added. */
    readonly before: number;
    readonly beforeRatio: number;
  } | null;
  /** In evaluation mode, and with the batches of the step before and after; null where not tried. */
  readonly evaluation: Remeasure | null;
  readonly batchBefore: Remeasure | null;
  readonly batchAfter: Remeasure | null;
}

export interface Remeasure {
  readonly loss: number;
  readonly ratio: number;
}

const entriesOf = <T>(value: unknown, is: (member: unknown) => member is T): Map<string, T> | null =>
  isJsonObject(value)
    ? new Map(Object.entries(value).filter((entry): entry is [string, T] => is(entry[1])))
    : null;
const isFlag = (value: unknown): value is boolean => typeof value === 'boolean';
const isText = (value: unknown): value is string => typeof value === 'string';
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

/** Reads the members of a checked manifest; whatever has another form counts as not recorded. */
export function readTraining(document: Readonly<Record<string, unknown>>): TrainingRecord {
  const rerun = isJsonObject(document.rerun) ? document.rerun : {};
  const optimizers = Array.isArray(rerun.optimizers) ? rerun.optimizers : [];
  const groups = optimizers.flatMap((optimizer: unknown) =>
    isJsonObject(optimizer) && Array.isArray(optimizer.groups)
      ? optimizer.groups.map((group: unknown) =>
          isJsonObject(group) && Array.isArray(group.parameters) ? group.parameters.filter(isText) : [],
        )
      : [],
  );
  const { allParameters, run, checksums, world } = document;
  return {
    world:
      isJsonObject(world) && isNumber(world.size) && isText(world.kind) && world.size > 1
        ? { size: world.size, kind: world.kind }
        : null,
    modes: entriesOf(rerun.modes, isFlag),
    modeModules: entriesOf(document.modeModules, isText),
    groups,
    allParameters: Array.isArray(allParameters) ? allParameters.flatMap(parameterOf) : null,
    run: runOf(run),
    checksumsEvery: isJsonObject(checksums) && isNumber(checksums.every) ? checksums.every : null,
    expectedChanges: Array.isArray(document.expectedChanges) ? document.expectedChanges.filter(isText) : [],
    remeasured: Array.isArray(document.remeasured) ? document.remeasured.flatMap(remeasuredOf) : [],
  };
}

const read = (value: unknown): number => numberFromJson(value) ?? Number.NaN;

function remeasuredOf(value: unknown): RemeasuredStep[] {
  if (!isJsonObject(value) || !isNumber(value.step)) return [];
  const { gradient } = value;
  const again = (one: unknown): Remeasure | null =>
    isJsonObject(one) ? { loss: read(one.loss), ratio: read(one.ratio) } : null;
  return [
    {
      step: value.step,
      loss: read(value.loss),
      lossAllowed: read(value.lossAllowed),
      chance: read(value.chance),
      gradient: isJsonObject(gradient)
        ? {
            tensors: read(gradient.tensors),
            ratio: read(gradient.ratio),
            worst: isText(gradient.worst) ? gradient.worst : null,
            off: read(gradient.off),
            noise: read(gradient.noise),
            repeats: read(gradient.repeats),
            factor: read(gradient.factor),
            factorRatio: read(gradient.factorRatio),
            before: read(gradient.before),
            beforeRatio: read(gradient.beforeRatio),
          }
        : null,
      evaluation: again(value.evaluation),
      batchBefore: again(value.batchBefore),
      batchAfter: again(value.batchAfter),
    },
  ];
}

function parameterOf(value: unknown): ModelParameter[] {
  if (!isJsonObject(value) || !isText(value.name)) return [];
  const { name, group, trains } = value;
  return [{ name, group: isNumber(group) ? group : null, trains: trains !== false }];
}

function runOf(value: unknown): TrainingRecord['run'] {
  if (!isJsonObject(value) || !isText(value.id)) return null;
  return { id: value.id, before: ratesOf(value.before), first: ratesOf(value.first) };
}

const ratesOf = (value: unknown): RatesAt | null =>
  isJsonObject(value) && isNumber(value.step) && Array.isArray(value.learningRates)
    ? { step: value.step, learningRates: value.learningRates.filter(isNumber) }
    : null;

/** Reads the members of a step's entry. */
export function readStepRecord(value: Readonly<Record<string, unknown>>): StepRecord {
  const options = Array.isArray(value.options)
    ? new Map(
        value.options.flatMap((one: unknown) => {
          if (!isJsonObject(one) || !isNumber(one.group)) return [];
          const { group, ...rest } = one;
          return [[group as number, rest] as const];
        }),
      )
    : null;
  return {
    options,
    modes: entriesOf(value.modes, isFlag),
    batchHash: isText(value.batchHash) ? value.batchHash : null,
    rankHashes: ofRanks(value.ranks, ({ batchHash }) => (isText(batchHash) ? batchHash : null)),
    rankWeights: ofRanks(value.ranks, ({ weights, apart }) =>
      isText(weights) ? { sum: weights, apart: Array.isArray(apart) ? apart.filter(isText) : [] } : null,
    ),
    repeats: isNumber(value.repeats) ? value.repeats : null,
    before: momentOf(value.before),
    after: momentOf(value.after),
    outside: entriesOf(value.outside, isNumber) ?? new Map(),
    unreached: Array.isArray(value.unreached) ? value.unreached.filter(isText) : [],
  };
}

/** What the entries of the ranks hold of one thing, of those that do. */
const ofRanks = <T>(value: unknown, get: (rank: Readonly<Record<string, unknown>>) => T | null): T[] =>
  Array.isArray(value) ? value.flatMap((one) => (isJsonObject(one) ? (get(one) ?? []) : [])) : [];

function momentOf(value: unknown): Moment | null {
  if (!isJsonObject(value)) return null;
  return { weights: checksumsOf(value.weights), state: checksumsOf(value.state) };
}

function checksumsOf(value: unknown): Checksums | null {
  if (!isJsonObject(value) || !isText(value.sum)) return null;
  return { sum: value.sum, tensors: entriesOf(value.tensors, isText) ?? new Map() };
}
