/**
 * Writes what a release decides into every file that repeats it: the version (from package.json), the owner of the repository
 * and whether the packages are on npm and PyPI (both from build/release.json), and the commits to which the workflows pin
 * other people's actions. `npm run stamp` rewrites the files; a test says which of them are behind.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** What the stamped files repeat. */
export interface Facts {
  /** Account or organisation on GitHub that holds the repository. */
  readonly owner: string;
  /** Whether npm and PyPI have the package, so that a line that installs from them works. */
  readonly published: boolean;
  /** Version of both packages, as in package.json. */
  readonly version: string;
  /** Commit and tag of each action that the workflows use, as in `0123abc # v1.0.0`, by its name. */
  readonly actions: ReadonlyMap<string, string>;
}

/** Files that name the repository, pin the version or an action. */
export const STAMPED = [
  '.github/ISSUE_TEMPLATE/config.yml',
  'CITATION.cff',
  'README.md',
  'action.yml',
  'bench/incidents/make/croissant.py',
  'ci/Dockerfile',
  'ci/Jenkinsfile',
  'ci/gate-once.sh',
  'ci/gitlab.yml',
  'docs/ci.md',
  'examples/github-matrix.yml',
  'package-lock.json',
  'package.json',
  'python/README.md',
  'python/pyproject.toml',
  'python/src/clippy_diag/__init__.py',
] as const;

/** Where a file names the owner: what is matched is replaced by the owner. */
const OWNER_PLACES = [
  /(?<=github\.com\/|raw\.githubusercontent\.com\/)[\w-]+(?=\/clippy-diag\b)/g,
  /(?<=https:\/\/)[\w-]+(?=\.github\.io\/clippy-diag\b)/g,
  /(?<=uses: )[\w-]+(?=\/clippy-diag@)/g,
];

/** Where a file pins the version: what is matched is replaced by the version. */
const VERSION_PLACES: Readonly<Record<string, RegExp>> = {
  'action.yml': /(?<=from npm; `local`.*\n {4}default: )\S+/g,
  'package-lock.json':
    /(?<=^\{\n {2}"name": "clippy-diag",\n {2}"version": "|^ {4}"": \{\n {6}"name": "clippy-diag",\n {6}"version": ")[^"]+/gm,
  'python/src/clippy_diag/__init__.py': /(?<=^__version__ = ")[^"]+/gm,
  'CITATION.cff': /(?<=^version: )\S+/gm,
};
const PINNED =
  /(?<=clippy-diag(?:@(?:\$\{CLIPPY_DIAG_VERSION:-|v)?|\/v)|VERSION(?:=|: )|rev: v)\d+\.\d+\.\d+/g;

/** An action of somebody else's, with what it is pinned to. */
const USES = /\buses: ([\w-]+\/[\w/-]+)@(\S+(?: # v\S+)?)/g;

/** Parts of a page that differ before and after the first publish, by the name in their marks. */
const PARTS: Readonly<Record<string, (published: boolean) => string>> = {
  install: (published) =>
    published
      ? `\`\`\`sh
npx clippy-diag runs/                # Node 20 or newer; nothing to install
pip install 'clippy-diag[cli]'       # recorders for Python, and a Node for machines without one
\`\`\`

In a checkout, with Node 20 or newer, npm and git, these install, build and run:
`
      : `Nothing is on npm or PyPI yet. In a checkout, with Node 20 or newer, npm and git, these install,
build and run:
`,
  'after-publish': (published) =>
    published
      ? ''
      : `After the first release \`npx clippy-diag runs/\` will do the same without a checkout, and
\`pip install 'clippy-diag[cli]'\` will bring the recorders for Python and a Node.
`,
  'pypi-install': (published) =>
    published
      ? `\`\`\`sh
pip install clippy-diag          # where Node 20 or newer is on PATH
pip install 'clippy-diag[cli]'   # brings a Node
\`\`\`
`
      : `Not on PyPI yet. From a checkout, with Node 20 or newer and npm:

\`\`\`sh
npm ci && npm run build:wheel && pip install python/dist/*.whl
\`\`\`
`,
};

/**
 * The text of a file with the facts in it.
 *
 * @param path the file, relative to the project
 * @param text what is in it
 * @throws Error where a part of a page has a mark that no part is named by
 */
export function stamp(path: string, text: string, { owner, published, version, actions }: Facts): string {
  let stamped = text.replace(USES, (whole, name: string) => {
    const pin = actions.get(name);
    return pin === undefined ? whole : `uses: ${name}@${pin}`;
  });
  for (const place of OWNER_PLACES) stamped = stamped.replace(place, owner);
  const own = VERSION_PLACES[path];
  if (own !== undefined) stamped = stamped.replace(own, version);
  if (path.startsWith('ci/') || path === 'docs/ci.md') stamped = stamped.replace(PINNED, version);
  return stamped.replace(
    /(<!-- stamp: ([\w-]+) -->\n)[\s\S]*?(<!-- \/stamp -->)/g,
    (_whole, begin: string, name: string, end: string) => {
      const part = PARTS[name];
      if (part === undefined) throw new Error(`${path}: no part of a page is named "${name}"`);
      return `${begin}\n${part(published)}\n${end}`.replace(/\n{3,}/g, '\n\n');
    },
  );
}

/** The commits to which the workflows of this checkout pin actions. @throws Error where two workflows disagree */
function actionsOfWorkflows(): ReadonlyMap<string, string> {
  const actions = new Map<string, string>();
  const folder = join(root, '.github/workflows');
  for (const name of readdirSync(folder)) {
    for (const [, action = '', pin = ''] of readFileSync(join(folder, name), 'utf8').matchAll(USES)) {
      const other = actions.get(action);
      if (other !== undefined && other !== pin)
        throw new Error(`${name} pins ${action} to ${pin}, another workflow to ${other}`);
      actions.set(action, pin);
    }
  }
  return actions;
}

/** The facts of this checkout. */
export function facts(): Facts {
  const { owner, published } = JSON.parse(readFileSync(join(root, 'build/release.json'), 'utf8')) as Facts;
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Facts;
  return { owner, published, version, actions: actionsOfWorkflows() };
}

/** Stamps every file of a checkout. @returns the files that changed */
export function stampAll(known: Facts, folder: string = root): string[] {
  return STAMPED.filter((path) => {
    const before = readFileSync(join(folder, path), 'utf8');
    const after = stamp(path, before, known);
    if (after === before) return false;
    writeFileSync(join(folder, path), after);
    return true;
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const changed = stampAll(facts());
  console.log(changed.length === 0 ? 'nothing to stamp' : changed.join('\n'));
}
