/** What capture.json says of the training around the steps: modes, groups of the optimizers, all parameters, the run. */
import { isJsonObject } from '../../model/json.ts';

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
  /** The step of this run that was given the same batch before. */
  readonly repeats: number | null;
  readonly before: Moment | null;
  readonly after: Moment | null;
  /** Gradient norms of parameters that no group holds, by name. */
  readonly outside: ReadonlyMap<string, number>;
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
  };
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
    rankHashes: hashesOf(value.ranks),
    repeats: isNumber(value.repeats) ? value.repeats : null,
    before: momentOf(value.before),
    after: momentOf(value.after),
    outside: entriesOf(value.outside, isNumber) ?? new Map(),
  };
}

const hashesOf = (value: unknown): string[] =>
  Array.isArray(value)
    ? value.flatMap((one) => (isJsonObject(one) && isText(one.batchHash) ? [one.batchHash] : []))
    : [];

function momentOf(value: unknown): Moment | null {
  if (!isJsonObject(value)) return null;
  return { weights: checksumsOf(value.weights), state: checksumsOf(value.state) };
}

function checksumsOf(value: unknown): Checksums | null {
  if (!isJsonObject(value) || !isText(value.sum)) return null;
  return { sum: value.sum, tensors: entriesOf(value.tensors, isText) ?? new Map() };
}
