/**
 * No id of a clipping rule, an optimizer or a log format stands outside its own file and its registry: what is special of one
 * is a member of its object, so that a new one needs no change elsewhere.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseSync } from 'oxc-parser';
import { describe, expect, it } from 'vitest';
import { LOG_FORMATS } from '../src/read/logs/registry.ts';
import { OPTIMIZERS } from '../src/step/optimizers/registry.ts';
import { RULES } from '../src/step/rules/registry.ts';
import { projectRoot } from './support/shared-data.ts';

const src = join(projectRoot, 'src');
const REGISTRIES = {
  rules: { ids: Object.keys(RULES), name: /(?:rule|clipping)$/i },
  optimizers: { ids: Object.keys(OPTIMIZERS), name: /optimizer$/i },
  logs: { ids: Object.keys(LOG_FORMATS), name: /format$/i },
} as const;
type Folder = keyof typeof REGISTRIES;
/** Where the files of a registry stand in src. */
const HOMES = { rules: 'step/rules', optimizers: 'step/optimizers', logs: 'read/logs' } as const;

/** Ids that are everyday words: they count only beside something that has the name of a rule, an optimizer or a format. */
const WORDS: Readonly<Record<string, string>> = {
  none: 'the layout of a tensor without axes, and what a message says where it found nothing',
  value: 'a member of many objects, and a column of MLflow',
  json: 'a report format and a flag, too',
  stdout: 'the stream of a process',
};

/** Where an id may stand all the same, and why. */
const ALLOWED: readonly (readonly [file: string, id: string, why: string])[] = [
  [
    'model/replay.ts',
    'none',
    'NO_RULE, the word for the baseline in reports; none.ts takes its id from there',
  ],
  ['model/replay.ts', 'clippy', 'a member of the JSON of a replay: details that only Clippy has'],
  ['report/report-schema.ts', 'clippy', 'the schema of that member'],
  ['read/checkpoints/keras/keras-roles.ts', 'rms', 'what Keras calls the second moment of RMSProp'],
  ['report/study-formats.ts', 'csv', 'what a study is written as'],
  ['read/sources/registry.ts', 'wandb', 'the scheme of a URL, wandb://'],
  ['read/sources/registry.ts', 'mlflow', 'the scheme of a URL, mlflow://'],
  ['app/cli/run-study.ts', 'json', 'the report that `matrix merge` reads'],
  // A program of its own that runs in browsers: as the Python recorders do, it writes the words of capture.json, and
  // test/recorders reads back what it wrote.
  ...['clippy', 'none', 'adagrad', 'sgd', 'adam', 'rmsprop'].map(
    (id) =>
      [
        'experiment/recorder/tfjs-recorder.ts',
        id,
        'the word of capture.json for a class of TensorFlow.js',
      ] as const,
  ),
];

interface Place {
  readonly file: string;
  readonly id: string;
  readonly folder: Folder;
  /** Source text of the line, for the message. */
  readonly line: string;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  .map((name) => join(src, name));

/** A node of the syntax tree, of whatever kind. */
interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}
const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && typeof (value as SyntaxNode).type === 'string';

/** The rule that a text starts with, as `--rule` takes it: `clippy:paper`, `agc+rms`. */
const headOf = (text: string): string => /^[\w-]+(?=$|[:+])/.exec(text)?.[0] ?? text;

/** Ids in a source: texts, keys of tables and members of types; comments and paths of imports are none. */
function placesIn(code: string, file: string): Place[] {
  const found: Place[] = [];
  const textOf = ({ start, end }: SyntaxNode): string => code.slice(start, end);
  /** The last word of an expression or name: `entry.rule` → rule. */
  const lastWord = (node: unknown): string =>
    isNode(node) ? (/(\w+)\W*$/.exec(textOf(node))?.[1] ?? '') : '';
  /** What a text is compared with, or given to. */
  const beside = (node: SyntaxNode, parents: readonly SyntaxNode[]): string => {
    const parent = parents.at(-1)!;
    if (parent.type === 'BinaryExpression')
      return lastWord(parent.left === node ? parent.right : parent.left);
    if (parent.type === 'Property') return parent.key === node ? '' : lastWord(parent.key);
    if (parent.type === 'VariableDeclarator') return lastWord(parent.id);
    if (parent.type === 'AssignmentPattern') return lastWord(parent.left);
    if (parent.type === 'SwitchCase') return lastWord(parents.at(-2)!.discriminant);
    return parent.type === 'ArrayExpression' ? beside(parent, parents.slice(0, -1)) : '';
  };
  const note = (node: SyntaxNode, text: string, parents: readonly SyntaxNode[]): void => {
    for (const [folder, { ids, name }] of Object.entries(REGISTRIES)) {
      const id = folder === 'rules' ? headOf(text) : text;
      if (!ids.includes(id) || (Object.hasOwn(WORDS, id) && !name.test(beside(node, parents)))) continue;
      const line = code.slice(0, node.start).split('\n').length - 1;
      found.push({
        file: relative(src, file),
        id,
        folder: folder as Folder,
        line: code.split('\n')[line]!.trim(),
      });
    }
  };
  const visit = (node: SyntaxNode, parents: readonly SyntaxNode[]): void => {
    const { type } = node;
    if (type === 'ImportDeclaration' || type === 'ExportAllDeclaration') return;
    const parent = parents.at(-1);
    if (type === 'Literal' && typeof node.value === 'string') note(node, node.value, parents);
    if (type === 'TemplateElement') note(node, (node.value as { cooked: string }).cooked, parents);
    if (
      type === 'Identifier' &&
      (parent?.type === 'TSPropertySignature' || (parent?.type === 'Property' && !parent.shorthand)) &&
      parent.key === node
    )
      note(node, textOf(node), parents);
    for (const [member, child] of Object.entries(node)) {
      if (member === 'source') continue;
      for (const one of Array.isArray(child) ? child : [child])
        if (isNode(one)) visit(one, [...parents, node]);
    }
  };
  const { program, errors } = parseSync(file, code);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]!.message}`);
  visit(program as unknown as SyntaxNode, []);
  return found;
}

const all = files.flatMap((file) => placesIn(readFileSync(file, 'utf8'), file));

/** The file of an id: the one of its folder that says `id: '…'`. */
const homeOf = (folder: Folder, id: string): string[] =>
  files
    .filter((file) => relative(src, file).startsWith(`${HOMES[folder]}/`))
    .filter((file) => {
      const text = readFileSync(file, 'utf8');
      return text.includes(`  id: '${id}',`) || (id === 'none' && text.includes('  id: NO_RULE,'));
    })
    .map((file) => relative(src, file));

describe.each(Object.entries(REGISTRIES))('ids of %s', (folder, { ids }) => {
  const homes = new Map(ids.map((id) => [id, homeOf(folder as Folder, id)]));

  it('have one file each', () => {
    for (const [id, found] of homes) expect([id, found]).toEqual([id, [expect.any(String)]]);
  });

  it('stand there, in the registry, and nowhere else', () => {
    const wrong = all.filter(
      (place) =>
        place.folder === folder &&
        place.file !== `${HOMES[folder as Folder]}/registry.ts` &&
        !homes.get(place.id)!.includes(place.file) &&
        // An optimizer may have the name of a rule.
        !Object.keys(REGISTRIES).some((other) => homeOf(other as Folder, place.id).includes(place.file)) &&
        !ALLOWED.some(([file, id]) => file === place.file && id === place.id),
    );
    expect(wrong.map(({ file, id, line }) => `${file}: ${id} in ${line}`)).toEqual([]);
  });
});

it('every exception is needed', () => {
  const unused = ALLOWED.filter(([file, id]) => !all.some((place) => place.file === file && place.id === id));
  expect(unused).toEqual([]);
  for (const word of Object.keys(WORDS))
    expect(Object.values(REGISTRIES).some(({ ids }) => (ids as readonly string[]).includes(word))).toBe(true);
});

it('files of single rules, optimizers and formats are imported by their registry, or for what they alone export', () => {
  const homes = Object.entries(REGISTRIES).flatMap(([folder, { ids }]) =>
    ids.flatMap((id) => homeOf(folder as Folder, id)),
  );
  const outside = files.flatMap((file) => {
    const from = relative(src, file);
    return [...readFileSync(file, 'utf8').matchAll(/from '([^']+)'/g)].flatMap(([, target]) => {
      const to = relative(src, join(file, '..', target!));
      return homes.includes(to) && dirname(from) !== dirname(to) ? [`${from} → ${to}`] : [];
    });
  });
  expect(outside.sort()).toEqual([
    // Clippy as an optimizer of tfjs.
    'differentiate/autodiff/clippy-adagrad.ts → step/rules/clippy.ts',
  ]);
});

describe('the scan itself', () => {
  const scan = (text: string): string[] => placesIn(text, join(src, 'scanned.ts')).map(({ id }) => id);
  it.each([
    ["if (rule.id === 'clippy') act();", ['clippy']],
    ["const found = ['agc', 'spam'].includes(rule);", ['agc', 'spam']],
    ["switch (optimizer) { case 'adam': break; }", ['adam']],
    ['const TABLE = { adagrad: 1 };', ['adagrad']],
    ["const rules = parseRule('global-norm:1');", ['global-norm']],
    ["if (entry.rule !== 'none') act();", ['none']],
    ["const layout = shape.length > 1 ? 'OI' : 'none';", []],
    ["// rule === 'clippy'\nact();", []],
    ["act('no clippy here');", []],
  ])('%s', (text, ids) => {
    expect(scan(text)).toEqual(ids);
  });
});
