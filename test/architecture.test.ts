/** Keeps the layout true: who may import whom, and what may not be written. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from './support/shared-data.ts';

const src = join(projectRoot, 'src');

/** The wings of src, the lowest first: a wing imports itself and those before it. */
const WINGS = ['model', 'step', 'read', 'judge', 'differentiate', 'experiment', 'report', 'app'];

/** Room → rooms whose code it may import, itself apart. A room is a folder of a wing, or a wing without folders. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  model: [],
  bytes: ['model'],
  threads: [],
  tensor: ['threads', 'model'],
  kernels: ['threads', 'model'],
  job: ['model'],
  sources: ['bytes', 'model'],
  seen: ['bytes', 'model'],
  logs: ['bytes', 'job', 'seen', 'model'],
  checkpoints: ['bytes', 'optimizers', 'model'],
  captures: ['bytes', 'checkpoints', 'tensor', 'model'],
  ledger: ['bytes', 'model'],
  compare: ['captures', 'ledger', 'tensor', 'model'],
  rules: ['tensor', 'threads', 'model'],
  optimizers: ['kernels', 'model'],
  incidents: ['model'],
  coverage: ['model'],
  failures: ['detectors', 'incidents', 'job', 'model'],
  recorder: ['bytes', 'incidents', 'ledger', 'tensor'],
  detectors: ['incidents', 'model'],
  findings: ['detectors', 'incidents', 'model'],
  report: ['findings', 'rules', 'model'],
  curvature: ['model'],
  autodiff: ['bytes', 'checkpoints', 'kernels', 'rules', 'tensor', 'threads', 'model'],
  replay: [
    'captures',
    'findings',
    'incidents',
    'kernels',
    'rules',
    'optimizers',
    'tensor',
    'curvature',
    'threads',
    'model',
  ],
  audit: ['captures', 'kernels', 'ledger', 'optimizers', 'replay', 'rules', 'tensor', 'model'],
  cause: ['captures', 'failures', 'incidents', 'replay', 'rules', 'tensor', 'model'],
  measure: [
    'cause',
    'autodiff',
    'bytes',
    'captures',
    'checkpoints',
    'curvature',
    'incidents',
    'optimizers',
    'replay',
    'rules',
    'model',
  ],
  study: [
    'bytes',
    'autodiff',
    'checkpoints',
    'curvature',
    'incidents',
    'kernels',
    'optimizers',
    'replay',
    'rules',
    'threads',
    'model',
  ],
  engine: [
    'audit',
    'bytes',
    'captures',
    'cause',
    'checkpoints',
    'compare',
    'coverage',
    'detectors',
    'failures',
    'findings',
    'incidents',
    'ledger',
    'logs',
    'measure',
    'replay',
    'rules',
    'model',
  ],
  gate: ['bytes', 'engine', 'findings', 'report', 'model'],
  bisect: ['bytes', 'cli', 'compare', 'engine', 'model'],
  mcp: ['bytes', 'engine', 'gate', 'report', 'sources', 'model'],
  cli: [
    'autodiff',
    'bytes',
    'findings',
    'gate',
    'logs',
    'measure',
    'report',
    'rules',
    'sources',
    'study',
    'model',
  ],
  notify: ['bytes', 'cli', 'engine', 'report', 'sources', 'model'],
  watch: ['bytes', 'cli', 'engine', 'notify', 'report', 'sources', 'model'],
  commands: [
    'autodiff',
    'bytes',
    'captures',
    'cli',
    'curvature',
    'engine',
    'gate',
    'bisect',
    'ledger',
    'mcp',
    'measure',
    'notify',
    'replay',
    'report',
    'rules',
    'study',
    'watch',
    'model',
  ],
  'run.ts': ['cli', 'commands', 'model'],
  'index.ts': [
    'captures',
    'checkpoints',
    'engine',
    'findings',
    'gate',
    'kernels',
    'logs',
    'model',
    'optimizers',
    'replay',
    'report',
    'rules',
  ],
};
/** Folder → folders of which it may import the types, and nothing that runs. */
const TYPES_ONLY: Record<string, readonly string[]> = {
  replay: ['findings', 'autodiff'],
  optimizers: ['tensor'],
  cause: ['autodiff'],
  measure: ['captures'],
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
  /** Imported where it is needed, with `import()`. */
  readonly lazy: boolean;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((f) => f.endsWith('.ts') && !f.endsWith('.d.ts'))
  .map((f) => join(src, f));

const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(file, 'utf8');
  const found = (statement: RegExp, lazy: boolean): Import[] =>
    [...text.matchAll(statement)].map((m) => ({
      file,
      target: m[2]!,
      typeOnly: m[1] !== undefined && m[1] !== '',
      lazy,
    }));
  return [
    ...found(/^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'/gms, false),
    ...found(/^import\s+()'([^']+)'/gm, false),
    ...found(/\b()(?:import|require)\(\s*'([^']+)'\s*\)/g, true),
  ];
});

/** Wings that are one room. */
const UNDIVIDED = ['model', 'report'];
const wingOf = (path: string): string => relative(src, path).split('/')[0]!;
/** The room of a file of src: `rules` for `src/step/rules/agc.ts`, `model` for all of `src/model/`. */
const folderOf = (path: string): string => {
  const [wing, room] = relative(src, path).split('/');
  return UNDIVIDED.includes(wing!) || room === undefined ? wing! : room;
};

/** Circles that are still there: this list only becomes shorter. */
const OPEN_CIRCLES: readonly (readonly string[])[] = [];

/** The circles of a graph: its strongly connected components of more than one node (Tarjan, 1972). */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const circles: string[][] = [];
  const visit = (node: string): void => {
    index.set(node, index.size);
    lowest.set(node, index.get(node)!);
    open.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!index.has(next)) visit(next);
      if (open.includes(next)) lowest.set(node, Math.min(lowest.get(node)!, lowest.get(next)!));
    }
    if (lowest.get(node) !== index.get(node)) return;
    const component = open.splice(open.indexOf(node));
    if (component.length > 1) circles.push(component);
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return circles;
}

describe('layout', () => {
  it('reads imports at all', () => {
    expect(imports.length).toBeGreaterThan(20);
  });

  it('is what the page of the docs shows: each folder, and what it may import', () => {
    const page = readFileSync(join(projectRoot, 'docs/architecture.md'), 'utf8');
    for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
      if (folder.endsWith('.ts')) continue;
      const row = new RegExp(`^\\|[^|]*\`${folder}\`[^|]*\\|[^|]*\\|([^|]*)\\|$`, 'm').exec(page);
      expect(row, folder).not.toBeNull();
      const listed = row![1]!
        .split(';')[0]!
        .split(',')
        .map((name) => name.trim());
      // Rows of words: nothing, all, all above but some.
      if (/^(?:nothing|all\b.*)$/.test(listed[0]!)) continue;
      expect([folder, listed.filter((name) => !name.endsWith(' as types')).sort()]).toEqual([
        folder,
        [...allowed].sort(),
      ]);
    }
  });

  it('has eight wings, and each imports only those before it', () => {
    const wings = [...new Set(files.map(wingOf))].filter((wing) => !wing.endsWith('.ts'));
    expect(wings.sort()).toEqual([...WINGS].sort());
    const upwards = imports.flatMap(({ file, target }) => {
      const [from, to] = [wingOf(file), target.startsWith('.') ? wingOf(resolve(dirname(file), target)) : ''];
      return !from.endsWith('.ts') && WINGS.indexOf(to) > WINGS.indexOf(from)
        ? [`${relative(projectRoot, file)} → ${to}`]
        : [];
    });
    expect(upwards).toEqual([]);
  });

  it('imports between rooms only what the table allows', () => {
    const wrong = imports.flatMap(({ file, target, typeOnly }) => {
      if (!target.startsWith('.')) return [];
      const from = folderOf(file);
      const to = folderOf(resolve(dirname(file), target));
      if (from === to || MAY_IMPORT[from]?.includes(to)) return [];
      return typeOnly && TYPES_ONLY[from]?.includes(to) ? [] : [`${relative(projectRoot, file)} → ${to}`];
    });
    expect(wrong).toEqual([]);
  });

  it('names every folder, and allows no import that nothing needs', () => {
    const folders = [...new Set(files.map(folderOf))].sort();
    expect(Object.keys(MAY_IMPORT).sort()).toEqual(folders);
    const used = new Set(
      imports
        .filter(({ target }) => target.startsWith('.'))
        .map(({ file, target }) => `${folderOf(file)} → ${folderOf(resolve(dirname(file), target))}`),
    );
    const unused = [...Object.entries(MAY_IMPORT), ...Object.entries(TYPES_ONLY)].flatMap(([from, targets]) =>
      targets.map((to) => `${from} → ${to}`).filter((arrow) => !used.has(arrow)),
    );
    expect(unused).toEqual([]);
  });

  it('has no circles of files, imports of types included', () => {
    const circles = circlesOf(
      new Map(
        files.map((file) => [
          file,
          imports
            .filter((one) => one.file === file && !one.lazy && one.target.startsWith('.'))
            .map(({ target }) => resolve(dirname(file), target)),
        ]),
      ),
    ).map((circle) => circle.map((file) => relative(src, file)).sort());
    expect(circles.sort()).toEqual(OPEN_CIRCLES);
  });

  it('keeps tfjs in src/differentiate/autodiff, file access in src/read/bytes and in bisect, which makes folders of trials', () => {
    const outside = (pattern: RegExp, ...homes: string[]): string[] =>
      imports
        .filter(
          ({ file, target, typeOnly }) =>
            !typeOnly && pattern.test(target) && !homes.includes(folderOf(file)),
        )
        .map(({ file, target }) => `${relative(src, file)}: ${target}`);
    expect(outside(/^@tensorflow\//, 'autodiff')).toEqual([]);
    expect(outside(/^node:fs/, 'bytes', 'bisect')).toEqual([]);
  });

  it('makes no regular expression of text from outside: --pattern runs on an engine of linear time', () => {
    const found = files.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/(?:^const (\w+) = .*|new )RegExp\(([^\n]*)/gm)].map(
        (m) => `${relative(src, file)}: ${m[1] === undefined ? m[2] : 'constant'}`,
      ),
    );
    // A constant is made once, of constants, when its file is loaded; model/glob.ts matches what strangers write.
    expect(found.filter((one) => !/: (constant|String\.raw`)/.test(one))).toEqual([]);
  });

  it('loads heavy libraries only when they are used', () => {
    const heavy = /^(@tensorflow\/|h5wasm|hyparquet|yaml$|uplot|ml-matrix)/;
    const statically = files.flatMap((file) =>
      folderOf(file) === 'autodiff'
        ? []
        : [...readFileSync(file, 'utf8').matchAll(/^import\s+(?!type\s)[^'";]*?from\s+'([^']+)'/gms)]
            .filter(
              (m) =>
                heavy.test(m[1]!) &&
                !m[1]!.endsWith('?raw') &&
                !(m[1] === 'ml-matrix' && folderOf(file) === 'curvature'),
            )
            .map((m) => `${relative(src, file)}: ${m[1]}`),
    );
    expect(statically).toEqual([]);
  });

  it('loads readers of checkpoints and captures, replays and curvature where there is one to read or replay', () => {
    const loaded = new Set<string>();
    const visit = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const { file: from, target, typeOnly, lazy } of imports)
        if (from === file && target.startsWith('.') && !typeOnly && !lazy)
          visit(resolve(dirname(file), target));
    };
    for (const name of ['analyze', 'gate', 'inspect']) visit(join(src, `app/commands/${name}.ts`));
    const names = [...loaded].map((file) => relative(src, file)).sort();
    expect(names).toContain('app/engine/judge-run.ts');
    expect(
      names.filter((name) =>
        /^\w+\/(autodiff|checkpoints|curvature|kernels|measure|optimizers|study)\/|^(read\/captures\/read|read\/logs\/text\/(by-words|table|templates)|experiment\/replay\/(from|follow|replay))/.test(
          name,
        ),
      ),
    ).toEqual([]);
    // A gate tries no rules.
    loaded.clear();
    visit(join(src, 'app/commands/gate.ts'));
    expect([...loaded].map(folderOf)).not.toContain('rules');
  });

  it('writes counts in one place: the tables of Intl take a gate a twentieth of its time', () => {
    const found = files.filter((file) => /\.toLocaleString\(|\bnew Intl\./.test(readFileSync(file, 'utf8')));
    expect(found.map((file) => relative(src, file)).sort()).toEqual([
      'judge/findings/checkpoint-run.ts',
      'model/format-number.ts',
    ]);
  });

  it('derives what a page says once: of the pages one file asks the judge, and none measures or trains', () => {
    const asked = imports.filter(
      ({ file, target, typeOnly }) =>
        wingOf(file) === 'report' &&
        !typeOnly &&
        ['judge', 'read', 'differentiate', 'experiment'].includes(wingOf(resolve(dirname(file), target))),
    );
    expect([...new Set(asked.map(({ file }) => relative(src, file)))]).toEqual(['report/finding-words.ts']);
    expect(asked).toHaveLength(3);
  });

  it('has no default exports but those of oclif', () => {
    const found = files
      .filter((f) => /^export default/m.test(readFileSync(f, 'utf8')))
      .map((f) => relative(src, f));
    expect(found.filter((f) => !f.startsWith('app/commands/'))).toEqual([]);
  });

  it('names no utils and no helpers', () => {
    expect(
      files.filter((f) => /(^|[/-])(utils?|helpers?|common|misc)(\.|\/|-)/.test(relative(src, f))),
    ).toEqual([]);
  });
});
