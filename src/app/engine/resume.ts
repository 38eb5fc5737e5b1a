/** Whether a training may be resumed from a checkpoint: its files, those of the run's other checkpoints, and its log. */
import { basename, dirname, join, relative, sep } from 'node:path';
import {
  type Part,
  partsOf,
  type ResumePoint,
  type RunRecord,
  resumeChecks,
  stepOf,
} from '../../experiment/audit/resume.ts';
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import { diagError } from '../../model/errors.ts';
import type { InspectedLog } from '../../model/inspection.ts';
import type { Resume, ResumeCheck } from '../../model/resume.ts';
import { listFolder } from '../../read/bytes/folder.ts';
import { kindOfPath } from '../../read/bytes/source.ts';
import { analyze } from './analyze.ts';
import { inspectInputs } from './inspect.ts';

export interface ResumeOptions {
  /** The log of the run; absent: one next to the checkpoint, such as trainer_state.json. */
  readonly log?: string | undefined;
  readonly toolVersion: string;
  readonly now: () => Date;
}

/**
 * Judges a checkpoint, or of a folder with several the newest.
 *
 * @throws file-missing; resume-nothing for a folder without checkpoints; what reading the log throws
 */
export async function resumeOf(path: string, options: ResumeOptions): Promise<Resume> {
  const named = await pointsIn(path);
  const [judged] = named;
  if (judged === undefined) throw diagError('resume-nothing', { path }, { path });
  const siblings = named.length > 1 ? named.slice(1) : await pointsBeside(path);
  const all = [judged, ...siblings];
  const log = await logOf(judged, options);
  const parts = new Map(all.map((point): [string, Set<Part>] => [point.path, partsOf(point)]));
  const checksOf = async (point: ResumePoint): Promise<ResumeCheck[]> => {
    const others = all
      .filter((one) => one !== point)
      .map((one) => ({ path: one.path, parts: parts.get(one.path)! }));
    const record: RunRecord = { others, log };
    return resumeChecks(await readWhole(point), record);
  };
  const checks = await checksOf(judged);
  const ok = okOf(checks);
  let newestGood = ok === true ? judged.path : null;
  for (const point of newestFirst(all.filter((one) => one !== judged))) {
    const isNewer = (stepOf(point) ?? -1) > (stepOf(judged) ?? -1);
    if (newestGood !== null && !isNewer) break;
    if (okOf(await checksOf(point)) !== true) continue;
    newestGood = point.path;
    break;
  }
  return { ok, checkpoint: judged.path, checks, newestGood };
}

/** False where a check is broken, null where there are no weights to go on from. */
function okOf(checks: readonly ResumeCheck[]): boolean | null {
  if (checks.some(({ outcome }) => outcome === 'broken')) return false;
  return checks.find(({ id }) => id === 'whole')!.outcome === 'holds' ? true : null;
}

const newestFirst = (points: readonly ResumePoint[]): ResumePoint[] =>
  [...points].sort((a, b) => (stepOf(b) ?? -1) - (stepOf(a) ?? -1));

const isCheckpoint = (input: { readonly kind: string }): input is InspectedCheckpoint =>
  input.kind === 'checkpoint';

/** The checkpoints under a path, newest first, by their headers. */
async function pointsIn(path: string): Promise<ResumePoint[]> {
  const { inputs, errors } = await inspectInputs([path], { listOnly: true });
  const files = inputs.filter(isCheckpoint);
  const damaged = errors.filter(({ where }) => where?.path !== undefined);
  if ((await kindOfPath(path)) === 'file') {
    if (files.length === 0 && errors[0] !== undefined) throw errors[0];
    return files.length === 0 ? [] : [{ path, files, names: [], problems: [] }];
  }
  const byChild = new Map<string, { files: InspectedCheckpoint[]; problems: string[] }>();
  const slot = (file: string) => {
    const [child = '', ...deeper] = relative(path, file).split(sep);
    const key = deeper.length > 0 ? child : '';
    const found = byChild.get(key) ?? { files: [], problems: [] };
    byChild.set(key, found);
    return found;
  };
  for (const file of files) slot(file.path).files.push(file);
  for (const error of damaged) slot(error.where!.path!).problems.push(error.message);
  const points: ResumePoint[] = [];
  for (const [child, { files: own, problems }] of byChild) {
    const folder = join(path, child);
    const names = (await listFolder(folder)) ?? [];
    const isOne = child !== '' || own.some((file) => !hasWeights(file)) || own.length === 1;
    if (isOne) points.push({ path: child === '' ? path : folder, files: own, names, problems });
    else for (const file of own) points.push({ path: file.path, files: [file], names: [], problems: [] });
  }
  return newestFirst(
    points.filter(({ files: own, problems }) => own.some(hasWeights) || problems.length > 0),
  );
}

const hasWeights = ({ tensors }: InspectedCheckpoint): boolean =>
  tensors.some(({ role }) => role === 'parameter');

/** Most other checkpoints of a run that are looked at. */
const MOST_BESIDE = 20;

/** Checkpoints whose name differs from that of the path in its number alone. */
async function pointsBeside(path: string): Promise<ResumePoint[]> {
  const own = basename(path);
  if (!/\d/.test(own)) return [];
  const folder = dirname(path);
  const alike = ((await listFolder(folder)) ?? []).filter(
    (name) => name !== own && plain(name) === plain(own),
  );
  const found: ResumePoint[] = [];
  for (const name of alike.slice(-MOST_BESIDE)) found.push(...(await pointsIn(join(folder, name))));
  return newestFirst(found);
}

const plain = (name: string): string => name.replace(/\d+/g, '0');

/** The same point with the values of its tensors looked at. */
async function readWhole(point: ResumePoint): Promise<ResumePoint> {
  const { inputs, errors } = await inspectInputs(
    point.files.map(({ path }) => path),
    {},
  );
  return {
    ...point,
    files: inputs.filter(isCheckpoint),
    problems: [...point.problems, ...errors.map(({ message }) => message)],
  };
}

/** The log that was named, or one in the folder of the checkpoint; null where there is none with a loss. */
async function logOf(
  point: ResumePoint,
  { log, toolVersion, now }: ResumeOptions,
): Promise<RunRecord['log']> {
  const path = log ?? (point.names.includes(TRAINER_STATE) ? join(point.path, TRAINER_STATE) : null);
  if (path === null) return null;
  const report = await analyze([path], { toolVersion, now, budget: 0 });
  const { inputs, errors } = await inspectInputs([path], {});
  const [run] = inputs
    .filter((input): input is InspectedLog => input.kind !== 'checkpoint' && 'runs' in input)
    .flatMap(({ runs }) => runs);
  if (run === undefined) {
    if (log !== undefined) throw errors[0] ?? diagError('resume-nothing', { path }, { path });
    return null;
  }
  const rate = run.series.find(({ role, min }) => role === 'learning_rate' && min !== null);
  const steps = run.series.filter(({ role }) => role === 'loss').map(({ lastStep }) => lastStep);
  return {
    path,
    lastStep: Math.max(...steps, Number.NEGATIVE_INFINITY),
    incidents: report.runs[0]?.verdict.incidents ?? [],
    rate: rate === undefined ? null : { min: rate.min!, max: rate.max! },
  };
}

/** Where Transformers keeps its log with the weights. */
const TRAINER_STATE = 'trainer_state.json';
