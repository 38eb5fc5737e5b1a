/** The form of a study: what `matrix STUDY.yaml` reads, checked key by key. */
import { LOSSES } from '../../differentiate/autodiff/losses.ts';
import type { LossName } from '../../differentiate/autodiff/ranking-spec.ts';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { didYouMean, nearest } from '../../model/nearest.ts';
import type { Options } from '../../model/options.ts';
import { readText } from '../../read/bytes/source.ts';
import { parseSafeYaml } from '../../read/bytes/yaml.ts';
import {
  chooseOptimizer,
  OPTIMIZERS,
  type OptimizerChoice,
  optimizerOptions,
} from '../../step/optimizers/registry.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { MODEL_PRESETS } from './presets.ts';
import { MOST_TASKS, type StreamSettings } from './stream.ts';
import type { StudyColumn } from './study-column.ts';

/** What the paper trains with; first in the registry. */
const [PAPERS_OPTIMIZER] = Object.values(OPTIMIZERS) as [(typeof OPTIMIZERS)[keyof typeof OPTIMIZERS]];

/** Which rows are trained on and which are tested, in the order of the data. */
export type StudySplit =
  | { readonly train: number; readonly test: number }
  | { readonly windowSize: number; readonly windowStep: number };

export interface StudyFile {
  readonly data:
    | { readonly file: string; readonly order: string | null; readonly split: StudySplit }
    | { readonly stream: StreamSettings; readonly split: StudySplit };
  /** In the order of the file; null for the stream, which has its own. */
  readonly columns: readonly StudyColumn[] | null;
  /** `ranking` documents without features and losses. */
  readonly models: readonly { readonly name: string; readonly document: Readonly<Record<string, unknown>> }[];
  readonly optimizer: OptimizerChoice;
  /** Rows of the table: a rule, or a grid of which the best counts. */
  readonly rules: readonly StudyRow[];
  readonly learningRates: LearningRates;
  readonly seeds: number;
  readonly initialisation: string | null;
  readonly batch: number;
  /** Steps on the training part, or on each window. */
  readonly length: { readonly steps: number } | { readonly epochs: number };
}

export interface StudyRow {
  readonly name: string;
  readonly choices: readonly RuleChoice[];
}

export type LearningRates =
  | { readonly search: false; readonly rates: readonly number[] }
  /** Rates at equal ratios of at most `resolution`, of which a bisection tries some. */
  | { readonly search: true; readonly rates: readonly number[] };

/**
 * Reads a study.
 *
 * @throws study-invalid, study-unknown-key, rule-unknown and what rules and options throw, file-missing, limit-exceeded
 */
export async function readStudyFile(
  path: string,
): Promise<{ readonly study: StudyFile; readonly text: string }> {
  const text = await readText(path);
  const value = await parseSafeYaml(text, path, 'the study', (reason, line) =>
    diagError(
      'study-invalid',
      { at: line === null ? 'its YAML' : `line ${line}`, problem: reason },
      line === null ? { path } : { path, line },
    ),
  );
  return { study: studyFrom(value, path), text };
}

/** Looks at values of a study, each of which it names by its place; what is not as expected is study-invalid. */
interface Checks {
  fail(at: string, problem: string): never;
  /** @param known its keys; null where any key is allowed */
  object(found: unknown, at: string, known: readonly string[] | null): Record<string, unknown>;
  list(found: unknown, at: string): readonly unknown[];
  /** A whole number from `least` on. */
  count(found: unknown, at: string, least?: number): number;
  /** @param open whether `low` itself is left out */
  number(found: unknown, at: string, low: number, high: number, open?: boolean): number;
  text(found: unknown, at: string): string;
}

function checksOf(path: string): Checks {
  const fail = (at: string, problem: string): never => {
    throw diagError('study-invalid', { at, problem }, { path });
  };
  return {
    fail,
    object(found, at, known) {
      if (!isJsonObject(found)) return fail(at, 'keys and values are expected');
      for (const key of Object.keys(found)) {
        if (key === '__proto__') fail(at, 'the key "__proto__" is not read');
        if (known !== null && !known.includes(key))
          throw diagError('study-unknown-key', { key, at, nearest: nearest(key, known), known }, { path });
      }
      return found;
    },
    list(found, at) {
      if (!Array.isArray(found)) return fail(at, 'a list is expected');
      return found.length > 0 ? found : fail(at, 'the list is empty');
    },
    count: (found, at, least = 1) =>
      Number.isSafeInteger(found) && (found as number) >= least && (found as number) <= 1e9
        ? (found as number)
        : fail(at, `${shown(found)} is no whole number from ${least} on`),
    number: (found, at, low, high, open = false) =>
      typeof found === 'number' && (open ? found > low : found >= low) && found <= high
        ? found
        : fail(
            at,
            `${shown(found)} is not a number ${open ? 'above' : 'from'} ${low}${high < Infinity ? ` to ${high}` : ''}`,
          ),
    text: (found, at) => (typeof found === 'string' && found !== '' ? found : fail(at, 'a name is expected')),
  };
}

const KEYS = [
  'version',
  'data',
  'columns',
  'models',
  'optimizer',
  'rules',
  'learningRates',
  'seeds',
  'initialisation',
  'batch',
  'steps',
  'epochs',
];

/** Checks a study that was parsed. @throws as {@link readStudyFile} */
export function studyFrom(value: unknown, path: string): StudyFile {
  const checks = checksOf(path);
  const { fail, count, text } = checks;
  const root = checks.object(value, 'its top', KEYS);
  if (root.version !== 1) fail('version', 'it must be 1');
  for (const key of ['data', 'models', 'rules', 'learningRates'])
    if (root[key] === undefined) fail('its top', `"${key}" is missing`);

  const batch = root.batch === undefined ? 256 : count(root.batch, 'batch');
  if (root.steps !== undefined && root.epochs !== undefined)
    fail('epochs', 'it is given with `steps`; say one of them');
  const length =
    root.steps === undefined
      ? { epochs: root.epochs === undefined ? 1 : count(root.epochs, 'epochs') }
      : { steps: count(root.steps, 'steps') };
  // A stream has as many rows as the steps take.
  const data = dataFrom(root.data, checks, 'steps' in length ? length.steps * batch : null);

  if ('file' in data && root.columns === undefined) fail('its top', '"columns" is missing');
  if ('stream' in data && root.columns !== undefined) fail('columns', 'the stream has its own');
  return {
    data,
    columns: root.columns === undefined ? null : columnsFrom(root.columns, checks),
    models: modelsFrom(root.models, checks),
    optimizer: optimizerFrom(root.optimizer, checks),
    rules: rulesFrom(root.rules, checks),
    learningRates: learningRatesFrom(root.learningRates, checks),
    seeds: root.seeds === undefined ? 3 : count(root.seeds, 'seeds'),
    initialisation: root.initialisation === undefined ? null : text(root.initialisation, 'initialisation'),
    batch,
    length,
  };
}

/** @param rows that the steps of a study take; null where epochs are counted */
function dataFrom(found: unknown, checks: Checks, rows: number | null): StudyFile['data'] {
  const { fail, text } = checks;
  const data = checks.object(found, 'data', ['file', 'order', 'stream', 'train', 'test', 'windows']);
  if ((data.file === undefined) === (data.stream === undefined))
    fail('data', 'it has to name a `file` or the `stream`, and not both');
  if (data.stream === undefined) {
    const order = data.order === undefined ? 'rows' : text(data.order, 'data.order');
    const column = /^column\s+(\S.*)$/.exec(order)?.[1];
    if (order !== 'rows' && column === undefined)
      fail('data.order', `"${order}" is neither "rows" nor "column NAME"`);
    return { file: text(data.file, 'data.file'), order: column ?? null, split: splitOf(data, checks, null) };
  }
  if (data.order !== undefined) fail('data.order', 'the stream has its own order');
  const stream = streamFrom(data.stream, checks);
  const split = splitOf(data, checks, rows === null ? null : { train: rows, test: 4096 });
  if ('windowSize' in split !== (stream.rows !== null))
    fail('data.stream.rows', 'it says how many rows the windows run over, and is used with `windows` only');
  if (stream.tasks > MOST_TASKS)
    fail('data.stream.tasks', `${shown(stream.tasks)} is more than the stream has, which is ${MOST_TASKS}`);
  return { stream, split };
}

function splitOf(data: Record<string, unknown>, checks: Checks, otherwise: StudySplit | null): StudySplit {
  const { fail, count } = checks;
  if (data.windows !== undefined) {
    if (data.train !== undefined || data.test !== undefined)
      fail('data.windows', 'it is given with `train` or `test`; say one of them');
    const windows = checks.object(data.windows, 'data.windows', ['size', 'step']);
    const windowSize = count(windows.size, 'data.windows.size');
    return {
      windowSize,
      windowStep: windows.step === undefined ? windowSize : count(windows.step, 'data.windows.step'),
    };
  }
  if (data.train === undefined && data.test === undefined && otherwise !== null) return otherwise;
  return { train: count(data.train, 'data.train'), test: count(data.test, 'data.test') };
}

function streamFrom(found: unknown, { fail, object, count, number }: Checks): StreamSettings {
  const known = ['preset', 'seed', 'rows', 'shift', 'noise', 'heavyTails', 'tasks'];
  const stream = object(found, 'data.stream', known);
  if (stream.preset !== undefined && stream.preset !== 'ranking')
    fail('data.stream.preset', `${shown(stream.preset)} is not "ranking"`);
  const shift =
    stream.shift === undefined
      ? {}
      : object(stream.shift, 'data.stream.shift', ['at', 'until', 'strength', 'share']);
  const at = number(shift.at ?? 1, 'data.stream.shift.at', 0, 1);
  return {
    seed: stream.seed === undefined ? 1 : count(stream.seed, 'data.stream.seed', 0),
    shift: {
      at,
      until: number(shift.until ?? 1, 'data.stream.shift.until', at, 1),
      strength: number(shift.strength ?? 1, 'data.stream.shift.strength', 0, 1e6),
      share: number(shift.share ?? 0.5, 'data.stream.shift.share', 0, 1),
    },
    noise: number(stream.noise ?? 1, 'data.stream.noise', 0, 1e6),
    heavyTails: number(stream.heavyTails ?? 0, 'data.stream.heavyTails', 0, 3),
    tasks: stream.tasks === undefined ? 3 : count(stream.tasks, 'data.stream.tasks'),
    rows: stream.rows === undefined ? null : count(stream.rows, 'data.stream.rows'),
  };
}

function columnsFrom(found: unknown, checks: Checks): StudyColumn[] {
  const { fail } = checks;
  const read = Object.entries(checks.object(found, 'columns', null)).map(([name, given]) =>
    columnFrom(name, given, checks),
  );
  const tasks = read.flatMap((one) => (one.kind === 'label' ? [one.task] : []));
  if (tasks.length === 0) fail('columns', 'no column is a label');
  if (tasks.length === read.length) fail('columns', 'every column is a label');
  const twice = tasks.find((task, i) => tasks.indexOf(task) < i);
  if (twice !== undefined) fail('columns', `two columns are labels of the task "${twice}"`);
  return read;
}

function columnFrom(
  name: string,
  given: unknown,
  { fail, object, count, number, text }: Checks,
): StudyColumn {
  const at = `columns.${name}`;
  if (given === 'dense') return { name, kind: 'dense' };
  if (given === 'categorical') return { name, kind: 'categorical', dim: 8 };
  if (!isJsonObject(given))
    return fail(
      at,
      `${shown(given)} is not one of "dense", "categorical", { categorical: … } and { label: … }`,
    );
  if (given.label !== undefined) {
    const label = object(given, at, ['label', 'loss', 'weight']);
    const losses = Object.keys(LOSSES) as LossName[];
    const loss = losses.find((one) => one === label.loss);
    return {
      name,
      kind: 'label',
      task: text(label.label, `${at}.label`),
      loss: loss ?? fail(`${at}.loss`, `${shown(label.loss)} is not one of ${losses.join(', ')}`),
      weight: label.weight === undefined ? 1 : number(label.weight, `${at}.weight`, 0, 1e9),
    };
  }
  const categorical = object(given, at, ['categorical', 'dim']);
  if (categorical.categorical !== true) fail(`${at}.categorical`, 'it must be true');
  const dim = categorical.dim === undefined ? 8 : count(categorical.dim, `${at}.dim`);
  return { name, kind: 'categorical', dim };
}

function modelsFrom(found: unknown, { fail, object }: Checks): StudyFile['models'] {
  const preset = (name: string, at: string, said: string): Readonly<Record<string, unknown>> =>
    Object.hasOwn(MODEL_PRESETS, name)
      ? MODEL_PRESETS[name as keyof typeof MODEL_PRESETS]
      : fail(
          at,
          `${said} is no preset; ${didYouMean(name, Object.keys(MODEL_PRESETS))}presets are ${Object.keys(MODEL_PRESETS).join(', ')}`,
        );
  const models = Object.entries(object(found, 'models', null)).map(([name, given]) => {
    const at = `models.${name}`;
    if (typeof given === 'string') return { name, document: preset(given, at, `"${given}"`) };
    const document = object(given, at, ['kind', 'version', 'preset', 'cross', 'shared', 'tasks']);
    const { preset: base, ...own } = document;
    if (base === undefined) return { name, document: own };
    return { name, document: { ...preset(String(base), `${at}.preset`, shown(base)), ...own } };
  });
  if (models.length === 0) fail('models', 'there is none');
  return models;
}

function optimizerFrom(found: unknown, { object, text }: Checks): OptimizerChoice {
  if (found === undefined) return chooseOptimizer(PAPERS_OPTIMIZER.id, {});
  const { name, ...options } = object(found, 'optimizer', null);
  const chosen = chooseOptimizer(text(name, 'optimizer.name'), {});
  object(
    options,
    'optimizer',
    optimizerOptions(chosen.optimizer).map((option) => option.name as string),
  );
  return chooseOptimizer(chosen.optimizer.id, options as Options);
}

function rulesFrom(found: unknown, { fail, object, list }: Checks): readonly StudyRow[] {
  const rules = list(found, 'rules').map((given, i): StudyRow => {
    const at = `rules[${i}]`;
    if (typeof given === 'string') return rowOf(parseRule(given));
    const entries = Object.entries(object(given, at, null));
    if (entries.length !== 1) fail(at, 'one rule is expected: `rule` or `{ rule: [values] }`');
    const [id, values] = entries[0]!;
    const texts = (Array.isArray(values) ? list(values, `${at}.${id}`) : [values]).map((one) =>
      isJsonObject(one)
        ? `${id}:${Object.entries(one)
            .map(([name, option]) => `${name}=${String(option)}`)
            .join(',')}`
        : `${id}:${String(one)}`,
    );
    return rowOf(texts.flatMap(parseRule));
  });
  const twice = rules.find(({ name }, i) => rules.findIndex((row) => row.name === name) < i);
  if (twice !== undefined)
    fail('rules', `the row "${twice.name}" occurs twice: put its values into one grid`);
  return rules;
}

function learningRatesFrom(found: unknown, { fail, object, list, number }: Checks): LearningRates {
  const at = 'learningRates';
  if (!isJsonObject(found)) {
    const rates = list(found, at).map((one, i) => number(one, `${at}[${i}]`, 0, 1e6, true));
    if (new Set(rates).size < rates.length) fail(at, 'a rate occurs twice');
    return { search: false, rates: rates.sort((a, b) => a - b) };
  }
  const search = object(found, at, ['from', 'to', 'search', 'resolution']);
  if (search.search !== 'bisect') fail(`${at}.search`, `${shown(search.search)} is not "bisect"`);
  const low = number(search.from, `${at}.from`, 0, 1e6, true);
  const high = number(search.to, `${at}.to`, low, 1e6, true);
  const resolution = number(search.resolution ?? 1.19, `${at}.resolution`, 1.001, 1e3);
  const intervals = Math.max(1, Math.ceil(Math.log(high / low) / Math.log(resolution) - 1e-9));
  const rates = Array.from({ length: intervals + 1 }, (_, k) =>
    Number((low * (high / low) ** (k / intervals)).toPrecision(6)),
  );
  return { search: true, rates };
}

/** A row by its rule's label, or of several by the ids. */
function rowOf(choices: readonly RuleChoice[]): StudyRow {
  const ids = [...new Set(choices.map(({ id }) => id))];
  return { name: choices.length === 1 ? choices[0]!.label : ids.join(', '), choices };
}

const shown = (value: unknown): string =>
  (value === undefined ? 'nothing' : JSON.stringify(value)).slice(0, 80);
