/** Every regular expression of the sources: literals, and what their modules make while they are loaded. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSync } from 'oxc-parser';
import { vi } from 'vitest';
import { projectRoot } from './shared-data.ts';

export interface FoundPattern {
  /** In src/. */
  readonly file: string;
  readonly line: number;
  readonly pattern: RegExp;
}

/** The literals of one file. */
export function literalPatterns(file: string): FoundPattern[] {
  const text = readFileSync(join(projectRoot, 'src', file), 'utf8');
  const found: FoundPattern[] = [];
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) for (const one of node) visit(one);
    if (typeof node !== 'object' || node === null || Array.isArray(node)) return;
    const { regex, start } = node as { regex?: { pattern: string; flags: string }; start: number };
    if (regex !== undefined && regex !== null)
      found.push({
        file,
        line: text.slice(0, start).split('\n').length,
        pattern: new RegExp(regex.pattern, regex.flags),
      });
    for (const member of Object.values(node)) visit(member);
  };
  visit(parseSync(file, text).program);
  return found;
}

/** The TypeScript files of src/, as paths in it. */
export const sourceFiles = (): string[] =>
  readdirSync(join(projectRoot, 'src'), { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
    .sort();

/** What `new RegExp(…)` of a module makes while it is loaded. */
export async function madePatterns(file: string): Promise<FoundPattern[]> {
  const found: FoundPattern[] = [];
  const Own = RegExp;
  vi.resetModules();
  vi.stubGlobal(
    'RegExp',
    new Proxy(Own, {
      construct(target, args: [string, string?]) {
        const pattern = new target(...args);
        // Its own file alone, as the stack tells: what it imports is asked for itself.
        if (new Error().stack?.split('\n')[2]?.includes(`/src/${file}:`))
          found.push({ file, line: 0, pattern });
        return pattern;
      },
    }),
  );
  try {
    await import(join(projectRoot, 'src', file));
  } finally {
    vi.unstubAllGlobals();
  }
  return found;
}

/** Whether a file calls `new RegExp`. */
export const makesPatterns = (file: string): boolean =>
  readFileSync(join(projectRoot, 'src', file), 'utf8').includes('new RegExp(');
