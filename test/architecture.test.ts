/** Keeps the layout true: who may import whom, and what may not be written. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from './support/shared-data.ts';

const src = join(projectRoot, 'src');

/** Folder → folders it may import from, itself apart. Type-only imports of what stands behind `type` are free of charge. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  model: [],
  bytes: ['model'],
  tensor: ['model'],
  logs: ['bytes', 'model'],
  checkpoints: ['bytes', 'tensor', 'model'],
  captures: ['bytes', 'checkpoints', 'tensor', 'model'],
  rules: ['tensor', 'model'],
  optimizers: ['rules', 'tensor', 'model'],
  detectors: ['model'],
  reports: ['model'],
  autodiff: ['bytes', 'checkpoints', 'captures', 'tensor', 'rules', 'optimizers', 'model'],
  curvature: ['tensor', 'model'],
  replay: ['captures', 'rules', 'optimizers', 'tensor', 'curvature', 'model'],
};
/** Only their types. */
const TYPES_ONLY: Record<string, readonly string[]> = {
  replay: ['autodiff', 'bytes', 'checkpoints'],
  curvature: ['autodiff', 'captures', 'optimizers'],
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((f) => f.endsWith('.ts') && !f.endsWith('.d.ts'))
  .map((f) => join(src, f));

const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(file, 'utf8');
  return [
    ...text.matchAll(/^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'/gms),
    ...text.matchAll(/^import\s+()'([^']+)'/gm),
    ...text.matchAll(/\b()(?:import|require)\(\s*'([^']+)'\s*\)/g),
  ].map((m) => ({ file, target: m[2]!, typeOnly: m[1] !== undefined && m[1] !== '' }));
});

const folderOf = (path: string): string => relative(src, path).split('/')[0]!;

describe('layout', () => {
  it('reads imports at all', () => {
    expect(imports.length).toBeGreaterThan(20);
  });

  it('imports only downwards', () => {
    const wrong = imports.flatMap(({ file, target, typeOnly }) => {
      if (!target.startsWith('.')) return [];
      const from = folderOf(file);
      const to = folderOf(resolve(dirname(file), target));
      const allowed = MAY_IMPORT[from];
      if (allowed === undefined || from === to || allowed.includes(to)) return [];
      return typeOnly && TYPES_ONLY[from]?.includes(to) ? [] : [`${relative(projectRoot, file)} → ${to}`];
    });
    expect(wrong).toEqual([]);
  });

  it('keeps tfjs in src/autodiff, and file access in src/bytes', () => {
    const outside = (pattern: RegExp, ...homes: string[]): string[] =>
      imports
        .filter(
          ({ file, target, typeOnly }) =>
            !typeOnly && pattern.test(target) && !homes.includes(folderOf(file)),
        )
        .map(({ file, target }) => `${relative(src, file)}: ${target}`);
    expect(outside(/^@tensorflow\//, 'autodiff')).toEqual([]);
    // The parts that an HTML report inlines are code of ours that lies in files.
    expect(outside(/^node:fs/, 'bytes', 'cli', 'commands', 'engine')).toEqual([
      'reports/html-parts.ts: node:fs',
    ]);
  });

  it('loads heavy libraries only when they are used', () => {
    const heavy = /^(@tensorflow\/|h5wasm|hyparquet|yaml$|uplot|ml-matrix)/;
    const statically = files.flatMap((file) =>
      folderOf(file) === 'autodiff'
        ? []
        : [...readFileSync(file, 'utf8').matchAll(/^import\s+(?!type\s)[^'";]*?from\s+'([^']+)'/gms)]
            .filter((m) => heavy.test(m[1]!) && !(m[1] === 'ml-matrix' && folderOf(file) === 'curvature'))
            .map((m) => `${relative(src, file)}: ${m[1]}`),
    );
    expect(statically).toEqual([]);
  });

  it('has no default exports but those of oclif', () => {
    const found = files
      .filter((f) => /^export default/m.test(readFileSync(f, 'utf8')))
      .map((f) => relative(src, f));
    expect(found.filter((f) => !f.startsWith('commands/') && !f.startsWith('cli/hooks/'))).toEqual([]);
  });

  it('names no utils and no helpers', () => {
    expect(
      files.filter((f) => /(^|[/-])(utils?|helpers?|common|misc)(\.|\/|-)/.test(relative(src, f))),
    ).toEqual([]);
  });
});
