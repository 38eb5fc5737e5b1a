/**
 * Holds pages, comments and messages to plain English: build/prose-rules.json has the words to avoid and what to write.
 * `npm run prose` checks, as `npm run lint` does; `npm run prose -- FILE…` shows every place of a file.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Passage, passagesOfMarkdown, passagesOfProgram, passagesOfPython } from './prose-text.ts';
import { root } from './stamp.ts';

/** A word to avoid. */
interface Rule {
  /** A regular expression, for which case does not count. */
  readonly find: string;
  /** What to write in its place. */
  readonly write: string;
}

/** A place where a rule finds something. */
export interface Place {
  readonly line: number;
  readonly found: string;
  readonly write: string;
}

/** A sentence with more words than this has more than one idea. */
const LONGEST_SENTENCE = 40;

const rules = (JSON.parse(readFileSync(join(root, 'build/prose-rules.json'), 'utf8')) as Rule[]).map(
  ({ find, write }) => ({ find: new RegExp(find, 'gi'), write }),
);

/** Everything in a passage that the rules find. */
function placesOf({ line, text }: Passage): Place[] {
  const places = rules.flatMap(({ find, write }) =>
    [...text.matchAll(find)].map((match) => ({ line, found: match[0].trim(), write })),
  );
  for (const sentence of text.split(/(?<=[.!?:;])\s+|\s\|\s/)) {
    const words = sentence.match(/[\p{L}\p{N}]+/gu)?.length ?? 0;
    if (words > LONGEST_SENTENCE)
      places.push({
        line,
        found: `${sentence.slice(0, 40)}…`,
        write: `a sentence of at most ${LONGEST_SENTENCE} words, not ${words}`,
      });
  }
  return places;
}

/** Texts that are no sentences: a table of words, and programs of other shells. */
const OTHER_TEXTS = /^src\/(?:read\/logs\/text\/words|app\/cli\/completion)\.ts$/;

/** Whether the texts of a program are messages that people read. */
const hasMessages = (path: string): boolean => /^src\//.test(path) && !OTHER_TEXTS.test(path);

/** Everything in a file that the rules find, by the kind of the file. */
export function lintFile(path: string, text: string): Place[] {
  const passages = path.endsWith('.md')
    ? passagesOfMarkdown(text)
    : path.endsWith('.py')
      ? passagesOfPython(text)
      : passagesOfProgram(path, text, hasMessages(path));
  return passages.flatMap(placesOf);
}

/** Files whose prose is linted: pages and programs that git has. Pages that are written from programs are linted there. */
function files(): string[] {
  const tracked = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  return tracked
    .split('\0')
    .filter((path) =>
      /^(?:[^/]+\.md|docs\/.*\.md|python\/README\.md|(?:src|build)\/.*\.(?:ts|js)|python\/src\/.*\.py)$/.test(
        path,
      ),
    )
    .filter(
      (path) =>
        !/^docs\/(?:findings|rules|json)\b/.test(path) && path !== 'CHANGELOG.md' && !path.endsWith('.d.ts'),
    );
}

function show(path: string, places: readonly Place[]): void {
  for (const { line, found, write } of places) console.error(`${path}:${line}: "${found}": write ${write}`);
}

/** Checks every file. @returns the exit code */
function checkAll(): number {
  const checked = files();
  let count = 0;
  for (const path of checked) {
    const places = lintFile(path, readFileSync(join(root, path), 'utf8'));
    count += places.length;
    show(path, places);
  }
  console.log(`prose: ${count} places in ${checked.length} files`);
  return count > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const named = process.argv.slice(2);
  if (named.length === 0) process.exitCode = checkAll();
  else for (const path of named) show(path, lintFile(path, readFileSync(join(root, path), 'utf8')));
}
