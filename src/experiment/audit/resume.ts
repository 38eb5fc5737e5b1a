/** Whether a training may go on from a checkpoint: is everything there that it had, of one step, finite, and was the loss calm? */

import type { AuditOutcome } from '../../model/audit.ts';
import type { InspectedCheckpoint, InspectedTensor } from '../../model/checkpoint.ts';
import { counted, formatNumber } from '../../model/format-number.ts';
import { inertName } from '../../model/inert-text.ts';
import type { Incident } from '../../model/report.ts';
import type { ResumeCheck, ResumeCheckId } from '../../model/resume.ts';

/** What a resume needs in addition to weights and the optimizer's state. */
export const PARTS = ['scheduler', 'scaler', 'random-state', 'data-position'] as const;
export type Part = (typeof PARTS)[number];

/** The files of one checkpoint. */
export interface ResumePoint {
  /** The folder of a checkpoint of several files, else its file. */
  readonly path: string;
  readonly files: readonly InspectedCheckpoint[];
  /** Names of what lies in the folder with them. */
  readonly names: readonly string[];
  /** What could not be read, in words. */
  readonly problems: readonly string[];
}

/** What is known of the run next to the checkpoint. */
export interface RunRecord {
  /** Other checkpoints of the run, and the parts that each has. */
  readonly others: readonly { readonly path: string; readonly parts: ReadonlySet<Part> }[];
  /** The log of the run; null where none was given. */
  readonly log: {
    readonly path: string;
    readonly lastStep: number;
    readonly incidents: readonly Incident[];
    /** Smallest and largest learning rate; null where it shows none. */
    readonly rate: { readonly min: number; readonly max: number } | null;
  } | null;
}

/** Names of parts as whole segments of keys and file names. */
const SEGMENTS: Readonly<Record<Part, RegExp>> = {
  scheduler: /^(?:lr_?)?schedulers?(?:_state)?(?:_dict)?$/i,
  scaler: /^(?:grad_?)?scaler(?:_state)?(?:_dict)?$/i,
  'random-state': /^(?:rng|random)_?(?:state|states)?(?:_dict)?(?:_\d+)?$/i,
  'data-position':
    /^(?:trainer_state|sampler|samplers|dataloader|data_loader|train_dataloader|data_state|loops|batch_idx|consumed_samples)(?:_state)?(?:_dict)?$/i,
};
/** What PyTorch's files without weights are, in the words of their reader. */
const WORDS: Readonly<Record<Part, RegExp>> = {
  scheduler: /scheduler/,
  scaler: /scaler/,
  'random-state': /random/,
  'data-position': /sampler|loader/,
};
/** Segments of a name that are looked at: a key of Lightning's progress ends in a hundred others. */
const DEEP = 2;

/** The parts that a checkpoint has, by the names of its files, keys and tensors. */
export function partsOf({ files, names }: Pick<ResumePoint, 'files' | 'names'>): Set<Part> {
  const segments = new Set<string>();
  for (const name of names) segments.add(name.replace(/\.[^.]*$/, ''));
  for (const { metadata, tensors } of files)
    for (const key of [...metadata.keys(), ...tensors.map(({ name }) => name)])
      for (const segment of key.split(/[./]/, DEEP)) segments.add(segment);
  const kinds = files.flatMap(({ withoutWeights }) => withoutWeights ?? []);
  return new Set(
    PARTS.filter(
      (part) =>
        kinds.some((kind) => WORDS[part].test(kind)) ||
        [...segments].some((segment) => SEGMENTS[part].test(segment)),
    ),
  );
}

/** The step of a checkpoint: that of the file with the weights, else the number at the end of the folder's name. */
export function stepOf({ path, files }: Pick<ResumePoint, 'path' | 'files'>): number | null {
  const own = files.find(({ step, tensors }) => step !== null && tensors.length > 0)?.step;
  if (own != null) return own;
  const named = /(\d{1,15})(?:\.[A-Za-z]{1,12})?$/.exec(path)?.[1];
  return named === undefined ? null : Number(named);
}

/** All checks of one checkpoint, in their order. */
export function resumeChecks(point: ResumePoint, run: RunRecord): ResumeCheck[] {
  const tensors = point.files.flatMap((file) => file.tensors);
  const parameters = tensors.filter(({ role }) => role === 'parameter');
  return [
    whole(point, parameters),
    oneStep(point),
    finite(tensors),
    optimizerState(point, tensors, parameters),
    optimizerOfModel(tensors, parameters),
    ...PARTS.map((part) => partCheck(part, point, run)),
    calm(point, run),
  ];
}

const check = (id: ResumeCheckId, outcome: AuditOutcome, statement: string): ResumeCheck => ({
  id,
  outcome,
  statement,
});

function whole({ files, problems }: ResumePoint, parameters: readonly InspectedTensor[]): ResumeCheck {
  const damage = [...problems, ...files.flatMap(({ errors }) => errors.map(({ message }) => message))];
  if (damage.length > 0) return check('whole', 'broken', `the checkpoint is damaged: ${damage[0]}`);
  if (parameters.length === 0) return check('whole', 'cannot-tell', 'the checkpoint holds no weights');
  return check(
    'whole',
    'holds',
    `${counted(files.length, 'file')} with ${counted(parameters.length, 'tensor')} of weights, read to the end`,
  );
}

function oneStep(point: ResumePoint): ResumeCheck {
  const known = point.files.flatMap(({ path, step }) => (step === null ? [] : [{ path, step }]));
  const [first] = known;
  const odd = known.find(({ step }) => step !== first!.step);
  if (first === undefined) {
    const step = stepOf(point);
    return step === null
      ? check('one-step', 'cannot-tell', 'no file of the checkpoint says its step')
      : check('one-step', 'holds', `the checkpoint is of step ${step} by its name`);
  }
  if (odd !== undefined)
    return check(
      'one-step',
      'broken',
      `${inertName(first.path)} is of step ${first.step} and ${inertName(odd.path)} of step ${odd.step}`,
    );
  return check('one-step', 'holds', `the checkpoint is of step ${first.step}`);
}

function finite(tensors: readonly InspectedTensor[]): ResumeCheck {
  const trained = tensors.filter(({ role }) => role !== 'gradient');
  const unread = trained.filter(({ nan }) => nan === undefined).length;
  const broken = trained.filter(({ nan = 0, posInf = 0, negInf = 0 }) => nan + posInf + negInf > 0);
  if (broken.length > 0)
    return check(
      'finite',
      'broken',
      `${counted(broken.length, 'tensor')} with NaN or infinite entries, first "${inertName(broken[0]!.name)}"`,
    );
  if (unread > 0 || trained.length === 0)
    return check('finite', 'cannot-tell', `${counted(unread, 'tensor')} could not be read`);
  return check('finite', 'holds', `all entries of ${counted(trained.length, 'tensor')} are finite`);
}

const stateOf = (tensors: readonly InspectedTensor[]): InspectedTensor[] =>
  tensors.filter(({ role }) => role === 'optimizer_state');

function optimizerState(
  { files, names }: ResumePoint,
  tensors: readonly InspectedTensor[],
  parameters: readonly InspectedTensor[],
): ResumeCheck {
  const state = stateOf(tensors);
  if (state.length > 0)
    return check('optimizer-state', 'holds', `${counted(state.length, 'tensor')} of optimizer state`);
  if (parameters.length === 0) return check('optimizer-state', 'cannot-tell', 'there are no weights either');
  const keys = files.flatMap(({ metadata }) => [...metadata.keys()]);
  if (keys.some((key) => /(?:^|\.)param_groups\./.test(key)) || names.some((name) => /^optim/i.test(name)))
    return check(
      'optimizer-state',
      'cannot-tell',
      'an optimizer is saved and has no state: plain SGD keeps none, any other one was saved before its first step',
    );
  return check(
    'optimizer-state',
    'broken',
    'the state of the optimizer is not saved: moments and step counts would begin anew',
  );
}

function optimizerOfModel(
  tensors: readonly InspectedTensor[],
  parameters: readonly InspectedTensor[],
): ResumeCheck {
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape.join('×')]));
  const sizes = new Set(shapes.values());
  // A count of steps is one number for each parameter, or one for all.
  const state = stateOf(tensors).filter(({ elements, slot }) => elements > 1 && slot !== 'step');
  if (state.length === 0 || parameters.length === 0)
    return check('optimizer-of-model', 'cannot-tell', 'there is no optimizer state of the size of weights');
  const odd = state.find(({ parameter, shape }) => {
    const own = parameter === undefined ? undefined : shapes.get(parameter);
    return own !== undefined && own !== shape.join('×');
  });
  if (odd !== undefined)
    return check(
      'optimizer-of-model',
      'broken',
      `state of "${inertName(odd.parameter!)}" has shape [${odd.shape.join(', ')}], the weight has [${shapes.get(odd.parameter!)!.replaceAll('×', ', ')}]`,
    );
  // Factored and packed state has shapes of its own: only where none fits is it another model's.
  if (!state.some(({ shape }) => sizes.has(shape.join('×'))))
    return check('optimizer-of-model', 'broken', 'no tensor of optimizer state has the shape of a weight');
  return check('optimizer-of-model', 'holds', 'the optimizer state has the shapes of the weights');
}

const PART_NAMES: Readonly<Record<Part, string>> = {
  scheduler: 'learning-rate scheduler',
  scaler: 'loss scaler',
  'random-state': 'random state',
  'data-position': 'position in the data',
};
const LOST: Readonly<Record<Part, string>> = {
  scheduler: 'the schedule would begin again',
  scaler: 'the loss scale would begin again',
  'random-state': 'dropout and shuffling would draw other numbers',
  'data-position': 'the data would begin again',
};

/** Frameworks whose schedules are functions of the optimizer's count of steps. */
const BY_COUNT: ReadonlySet<string> = new Set(['keras', 'tensorflow', 'tfjs', 'flax']);

function partCheck(part: Part, point: ResumePoint, { others, log }: RunRecord): ResumeCheck {
  const name = PART_NAMES[part];
  if (partsOf(point).has(part)) return check(part, 'holds', `the ${name} is saved`);
  const has = others.find(({ parts }) => parts.has(part));
  if (has !== undefined)
    return check(
      part,
      'broken',
      `the ${name} is not saved, and ${inertName(has.path)} of the same run has it: ${LOST[part]}`,
    );
  const byCount = point.files.some(({ framework }) => framework !== null && BY_COUNT.has(framework));
  if (part === 'scheduler' && byCount)
    return check(part, 'not-applicable', 'the schedule follows from the step count of the optimizer');
  const rate = part === 'scheduler' ? (log?.rate ?? null) : null;
  if (rate !== null && rate.min < rate.max)
    return check(
      part,
      'broken',
      `no ${name} is saved, and the learning rate in ${inertName(log!.path)} lies between ${formatNumber(rate.min)} and ${formatNumber(rate.max)}: ${LOST[part]}`,
    );
  if (rate !== null) return check(part, 'not-applicable', 'the learning rate is the same throughout the log');
  return check(part, 'cannot-tell', `no ${name} is saved, and nothing shows that the run had one`);
}

/** Whether the loss was calm where the checkpoint was written. */
function calm(point: ResumePoint, { log }: RunRecord): ResumeCheck {
  const step = stepOf(point);
  if (log === null) return check('loss', 'cannot-tell', 'no log was given (--log)');
  if (step === null) return check('loss', 'cannot-tell', 'the step of the checkpoint is not known');
  if (step > log.lastStep)
    return check('loss', 'cannot-tell', `the log ends at step ${log.lastStep}, before step ${step}`);
  const inside = log.incidents.find(
    ({ onsetStep, recoveredStep }) => onsetStep <= step && (recoveredStep === null || recoveredStep > step),
  );
  return inside === undefined
    ? check('loss', 'holds', `the loss is calm at step ${step}`)
    : check(
        'loss',
        'broken',
        `step ${step} lies in an incident of the loss (${inside.class}, from step ${inside.onsetStep} on)`,
      );
}
