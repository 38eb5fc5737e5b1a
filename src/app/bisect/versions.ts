/** Packages whose versions differ between two lists of requirements, and a list with some of the bad ones. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import type { Dimension } from './dimension.ts';

/** A list of a large environment has some thousand lines. */
const LARGEST = 1 << 22;

/** What a list asks for, by package. */
type Requirements = ReadonlyMap<string, string>;

/**
 * Lists as `pip freeze`, `uv pip freeze` and a `requirements.txt` have them.
 *
 * @param good path of a list
 * @throws usage where a list is too large, or names nothing
 */
export async function versionsOf(good: string, bad: string): Promise<Dimension> {
  const [a, b] = [await requirementsIn(good), await requirementsIn(bad)];
  const differing = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key));
  return {
    placeholder: 'versions',
    ordered: false,
    changes: differing.map((key) => ({
      kind: 'version',
      name: key,
      good: shown(a.get(key)),
      bad: shown(b.get(key)),
    })),
    async write(chosen, folder) {
      const mixed = new Map(a);
      for (const key of chosen.map((k) => differing[k]!)) {
        const text = b.get(key);
        if (text === undefined) mixed.delete(key);
        else mixed.set(key, text);
      }
      const path = join(folder, basename(good));
      await writeFile(path, [...mixed.values()].map((text) => `${text}\n`).join(''));
      return path;
    },
  };
}

const shown = (text: string | undefined): string | null =>
  text?.replaceAll(/\s+/g, ' ').slice(0, 200) ?? null;

async function requirementsIn(path: string): Promise<Requirements> {
  if ((await stat(path)).size > LARGEST)
    throw diagError('usage', {
      problem: `${path} is larger than 4 MB`,
      hint: 'give --versions two lists of requirements, such as pip freeze prints',
    });
  const found = requirementsOf(await readFile(path, 'utf8'));
  if (found.size > 0) return found;
  throw diagError('usage', {
    problem: `${path} names no package`,
    hint: 'give --versions two lists of requirements, such as pip freeze prints',
  });
}

/**
 * What a list asks for, by normalised name of the package (PEP 503); an option of pip has its own text for a name. Lines for one package
 * with different markers belong together.
 *
 * @see https://pip.pypa.io/en/stable/reference/requirements-file-format/
 */
export function requirementsOf(text: string): Requirements {
  const found = new Map<string, string>();
  for (const line of text.replaceAll(/\\\r?\n/g, ' ').split(/\r?\n/)) {
    // A number sign begins a comment at the begin of a line or after white space.
    const asked = line.replace(/(?:^|\s)#.*$/, '').trim();
    if (asked === '') continue;
    const name =
      /^[A-Za-z0-9][A-Za-z0-9._-]*/.exec(asked)?.[0] ?? /#egg=([A-Za-z0-9][A-Za-z0-9._-]*)/.exec(asked)?.[1];
    const key = name === undefined ? asked : name.replaceAll(/[-_.]+/g, '-').toLowerCase();
    const before = found.get(key);
    found.set(key, before === undefined || before === asked ? asked : `${before}\n${asked}`);
  }
  return found;
}
