/** What lies below a folder: each file once, in the order of the names. */
import { basename } from 'node:path';
import { DiagError, diagError } from '../../model/errors.ts';
import type { Skipped } from '../../model/inspection.ts';
import { entriesOf, type FolderEntry } from '../../read/bytes/folder.ts';
import { sizeOfPath } from '../../read/bytes/source.ts';
import { companionFile } from '../../read/logs/companions.ts';
import { isSidecar } from '../../read/logs/sidecars.ts';
import { nameSaysLog, saying, signOfName } from './says-log.ts';

/** What a walk finds: a file to be opened, the folder of a capture or of a ledger, what is skipped, and what cannot be read. */
export type Met =
  | { readonly kind: 'file' | 'capture' | 'ledger'; readonly path: string }
  | ({ readonly kind: 'passed' } & Skipped)
  | { readonly kind: 'error'; readonly path: string; readonly error: DiagError };

export const CAPTURE_MANIFEST = 'capture.json';
const LEDGER_LINES = 'steps.jsonl';
/** Folders of tools, which hold no runs and may hold a great many files. */
const TOOL_FOLDERS =
  /^(node_modules|__pycache__|site-packages|\.(git|hg|svn|venv|env|conda|tox|nox|eggs|cache|local|config|npm|cargo|rustup|idea|vscode|vscode-server|dvc|terraform|ssh|gnupg|docker|kube|aws|ipynb_checkpoints|Trash|[a-z]+_cache))$/;
const HIDDEN = /^\./;
/** Kinds of files that are not worth opening. */
const PASSED_FILES =
  /\.(py|pyc|md|rst|html?|css|js|ts|png|jpe?g|gif|svg|pdf|mp4|wav|zip\.tmp|lock|toml|sh|so|whl)$/i;

/** Whether a file is not worth opening by its name. */
export const isPassedByName = (path: string): boolean => PASSED_FILES.test(path);

/** Walks down from a folder. Links are followed and each folder is visited once: a link back up would never end. */
export async function* walk(folder: string, visited = new Set<string>()): AsyncGenerator<Met> {
  let listed: Awaited<ReturnType<typeof entriesOf>>;
  try {
    listed = await entriesOf(folder);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    yield { kind: 'error', path: folder, error };
    return;
  }
  const { real, entries } = listed;
  if (visited.has(real)) return;
  visited.add(real);
  const names = new Set(entries.map(({ name }) => name));
  const { partOfCheckpoint } = await import('../../read/checkpoints/registry.ts');
  if (names.has(LEDGER_LINES) && (await saysLedger(folder))) {
    yield { kind: 'ledger', path: folder };
    return;
  }
  const isCapture = names.has(CAPTURE_MANIFEST);
  if (isCapture) yield { kind: 'capture', path: folder };
  // A capture names its files itself; a log may have been written next to them.
  for (const { name, path, kind } of [...entries.filter(isOwn), ...entries.filter((entry) => !isOwn(entry))])
    if (isCapture && !(kind !== 'folder' && nameSaysLog(path))) continue;
    else if (kind instanceof DiagError) yield { kind: 'error', path, error: kind };
    else if (kind === 'folder') {
      if (TOOL_FOLDERS.test(name)) yield { kind: 'passed', path, reason: 'the folder of a tool' };
      else if (HIDDEN.test(name)) yield* hiddenLogs(path, visited);
      else if (partOfCheckpoint(name, kind, names) === undefined) yield* walk(path, visited);
    } else if (kind !== 'file')
      yield { kind: 'passed', path, reason: `not a regular file (${kind})`, ...saying(signOfName(path)) };
    else yield (await passedOver(path, names)) ?? { kind: 'file', path };
}

/** A folder that is linked comes last: one that the walk meets under its own name goes by that (W&B's `latest-run`). */
const isOwn = ({ kind, linked }: FolderEntry): boolean => !(linked && kind === 'folder');

/** A hidden folder is not walked; files in it with the name of a log are reported. */
async function* hiddenLogs(folder: string, visited: Set<string>): AsyncGenerator<Met> {
  let logs = 0;
  for await (const { kind, path } of walk(folder, visited)) {
    if (kind !== 'file' || !nameSaysLog(path)) continue;
    logs++;
    yield { kind: 'passed', path, reason: 'in a hidden folder', saysLog: 'name' };
  }
  if (logs === 0) yield { kind: 'passed', path: folder, reason: 'a hidden folder' };
}

/** Whether a folder is a ledger; one that cannot be read is walked like any other, which says why. */
async function saysLedger(folder: string): Promise<boolean> {
  const { isLedger } = await import('../../read/ledger/read.ts');
  return isLedger(folder).catch(() => false);
}

/** A file that is not worth opening, with the reason. */
async function passedOver(path: string, names: ReadonlySet<string>): Promise<Met | undefined> {
  const passed = (reason: string): Met => ({ kind: 'passed', path, reason });
  if (await isSidecar(path)) return passed('hyperparameters');
  if (isPassedByName(path)) return passed('no log by its name');
  const { partOfCheckpoint, saysCheckpoint } = await import('../../read/checkpoints/registry.ts');
  const part = partOfCheckpoint(basename(path), 'file', names) ?? companionFile(path, names);
  if (part !== undefined) return passed(part);
  if ((await sizeOfPath(path)) !== 0) return undefined;
  return saysCheckpoint(basename(path), names)
    ? { kind: 'error', path, error: diagError('file-empty', { path }, { path }) }
    : { kind: 'passed', path, reason: 'empty (0 bytes)', ...saying(signOfName(path)) };
}
