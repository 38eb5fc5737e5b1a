/**
 * Commits between a good and a bad one, and the files of each. Git is only asked for what it has stored: no hook, filter
 * or alias of the repository is run, and neither its index nor its work tree is touched.
 */
import { spawn } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { diagError } from '../../model/errors.ts';
import type { Dimension } from './dimension.ts';

/** Runs git in a repository and returns what it printed. @throws usage with git's own words */
function git(repository: string, args: readonly string[], input = ''): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'git',
      ['-C', repository, '-c', 'core.hooksPath=/dev/null', '-c', 'core.fsmonitor=false', ...args],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        // Objects that are not here are not fetched, and nobody is asked for a password.
        env: { ...process.env, GIT_NO_LAZY_FETCH: '1', GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0' },
      },
    );
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => out.push(part));
    child.stderr.on('data', (part: Buffer) => err.push(part));
    child.on('error', (error) => reject(refusal(error.message)));
    child.on('close', (code) =>
      code === 0 ? resolve(Buffer.concat(out)) : reject(refusal(Buffer.concat(err).toString().trim())),
    );
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

const refusal = (reason: string): Error =>
  diagError('usage', {
    problem: `git: ${reason.split('\n')[0]!.slice(0, 200)}`,
    hint: 'name two commits of the repository: --commits GOOD..BAD --repository FOLDER',
  });

async function commitOf(repository: string, name: string): Promise<string> {
  const found = await git(repository, ['rev-parse', '--verify', '--end-of-options', `${name}^{commit}`]);
  return found.toString().trim();
}

/** @param range `GOOD..BAD`. @param kept a folder of ours for the files of each commit. @throws usage */
export async function commitsOf(repository: string, range: string, kept: string): Promise<Dimension> {
  const [goodName, badName, ...more] = range.split('..');
  if (goodName === undefined || badName === undefined || goodName === '' || badName === '' || more.length > 0)
    throw refusal(`${range} is no range of commits`);
  const [good, bad] = [await commitOf(repository, goodName), await commitOf(repository, badName)];
  const listed = await git(repository, [
    ...['log', '--first-parent', '--reverse', '--no-show-signature', '--format=%H%x00%s'],
    `${good}..${bad}`,
  ]);
  const commits = listed
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\0'));
  const written = new Map<string, Promise<string>>();
  return {
    placeholder: 'commit',
    ordered: true,
    changes: commits.map(([hash, subject]) => ({
      kind: 'commit',
      name: `${hash!.slice(0, 10)} ${subject ?? ''}`,
      good: null,
      bad: hash!,
    })),
    write(chosen) {
      const commit = chosen.length === 0 ? good : commits[chosen.at(-1)!]![0]!;
      const root = join(kept, commit);
      if (!written.has(commit)) written.set(commit, writeTree(repository, commit, root));
      return written.get(commit)!;
    },
  };
}

interface Entry {
  readonly mode: string;
  readonly object: string;
  readonly path: string;
}

/** Writes the files of a commit as they are stored: without filters, line ends or submodules. */
async function writeTree(repository: string, commit: string, root: string): Promise<string> {
  const listed = await git(repository, ['ls-tree', '-r', '-z', '--full-tree', commit]);
  const entries = listed
    .toString()
    .split('\0')
    .flatMap((line): Entry[] => {
      const [, mode, type, object, path] = /^(\d+) (\w+) (\w+)\t(.+)$/s.exec(line) ?? [];
      return type === 'blob' && liesWithin(path!) ? [{ mode: mode!, object: object!, path: path! }] : [];
    });
  const blobs = blobsOf(
    await git(repository, ['cat-file', '--batch'], entries.map(({ object }) => `${object}\n`).join('')),
  );
  // Links come last, so that no file is written through one.
  const files = entries.map((entry, k) => ({ ...entry, bytes: blobs[k]! }));
  const isLink = ({ mode }: Entry): boolean => mode === '120000';
  for (const { path, mode, bytes } of files.filter((file) => !isLink(file))) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), bytes, { mode: mode === '100755' ? 0o755 : 0o644 });
  }
  for (const { path, bytes } of files.filter(isLink)) {
    const target = bytes.toString();
    if (isAbsolute(target) || !liesWithin(join(dirname(path), target))) continue;
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  return root;
}

/** A tree of a stranger may hold any path. */
function liesWithin(path: string): boolean {
  const [first] = normalize(path).split(sep);
  return first !== '' && first !== '..' && !path.split(/[/\\]/).includes('.git') && !/^[a-z]:/i.test(path);
}

/** The contents in the order that was asked for: `HASH blob SIZE\n…\n` each. */
function blobsOf(answer: Buffer): Buffer[] {
  const blobs: Buffer[] = [];
  for (let from = 0; from < answer.length; ) {
    const end = answer.indexOf(10, from);
    const [, , size] = answer.toString('latin1', from, end).split(' ');
    const start = end + 1;
    blobs.push(answer.subarray(start, start + Number(size)));
    from = start + Number(size) + 1;
  }
  return blobs;
}
