/** The pages of docs/ that are written by hand. They come with the package: `explain` reads them without a network. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { listFolder } from '../../read/bytes/folder.ts';
import { readText } from '../../read/bytes/source.ts';

export interface Guide {
  /** The name of its file; a page whose name another one has is named with its folder (`formats/json`). */
  readonly id: string;
  readonly kind: 'guide' | 'format' | 'decision';
  /** The title of the page. */
  readonly summary: string;
  /** Markdown. */
  readonly text: string;
}

const docs = (): string =>
  join(dirname(createRequire(import.meta.url).resolve('clippy-diag/package.json')), 'docs');

/** Folders of hand-written pages and what they are; '' is docs/ itself. */
const FOLDERS = { '': 'guide', formats: 'format', adr: 'decision' } as const;

const titleOf = (text: string): string => /^# (.*)$/m.exec(text)?.[1]?.replaceAll('`', '') ?? '';

/** Every hand-written page, in the order of {@link FOLDERS} and of their names. */
export async function guides(): Promise<Guide[]> {
  const found: Guide[] = [];
  for (const [folder, kind] of Object.entries(FOLDERS))
    for (const name of (await listFolder(join(docs(), folder))) ?? []) {
      if (!name.endsWith('.md')) continue;
      const base = name.slice(0, -'.md'.length);
      const text = await readText(join(docs(), folder, name));
      const id = found.some((other) => other.id === base) ? `${folder}/${base}` : base;
      found.push({ id, kind, summary: titleOf(text), text });
    }
  return found;
}
