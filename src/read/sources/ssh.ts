/**
 * `ssh://[USER@]HOST[:PORT]/PATH`: files of another machine by the user's own ssh, with its keys, agent, configuration and known hosts.
 * ssh asks nothing (BatchMode): what needs a password or a new host key is refused. The path is absolute; `/~/` is the home folder.
 */
import { spawn } from 'node:child_process';
import { diagError } from '../../model/errors.ts';
import { formError } from './api.ts';
import { checkEntryCount, lies } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

/** A folder without the slashes at its end. Character by character: an expression would look at each slash again. */
function folderName(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '/') end--;
  return path.slice(0, end);
}

const CREDENTIALS =
  'try `ssh HOST true` by hand: ssh must log in without a question (a key in the agent, the host in known_hosts)';
const FORM = 'write ssh://USER@HOST/PATH, or ssh://HOST/~/PATH below the home folder';

/** A path as a word of a POSIX shell; the shell puts the home folder in the place of `/~/`, so that all of them are absolute. */
const pathWord = (path: string): string =>
  path.startsWith('/~/') ? `~/${quoted(path.slice(3))}` : quoted(path);
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The status by which ssh says that it failed itself. */
const SSH_FAILED = 255;
/** What the remote command says where there is no such file. */
const NO_FILE = 44;

interface Remote {
  readonly args: readonly string[];
  readonly path: string;
  readonly shown: string;
}

function remoteOf(text: string): Remote {
  const [, user, host = '', port, path = ''] =
    /^ssh:\/\/(?:([^@/?#]*)@)?([^@/:?#]*)(?::(\d{1,5}))?(\/.*)?$/s.exec(text) ?? [];
  const shown = `ssh://${host}${port === undefined ? '' : `:${port}`}${path}`;
  // A host or a user that begins with a dash would be an option of ssh.
  const bad =
    !/^[A-Za-z0-9_.][\w.-]*$/.test(host) || (user !== undefined && !/^[A-Za-z0-9_.][\w.+-]*$/.test(user));
  if (bad || path.length < 2 || path.includes('\0')) throw formError(shown, 'an ssh URL', FORM);
  const target = user === undefined ? host : `${user}@${host}`;
  const args = [
    '-o',
    'BatchMode=yes',
    '-o',
    'ConnectTimeout=20',
    '-o',
    'ForwardAgent=no',
    '-o',
    'ClearAllForwardings=yes',
    '-T',
  ];
  if (port !== undefined) args.push('-p', port);
  return { args: [...args, '--', target], path, shown };
}

/** The output of a command of the other machine. @throws source-missing, source-denied, source-unreachable */
async function* outputOf(
  { args, shown }: Remote,
  command: string,
  { env, signal }: SourceOptions,
): AsyncGenerator<Uint8Array> {
  const child = spawn('ssh', [...args, command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: env as NodeJS.ProcessEnv,
    ...(signal === undefined ? {} : { signal }),
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000);
  });
  const ended = new Promise<number>((resolve) => {
    child.on('error', () => resolve(SSH_FAILED));
    child.on('close', (code) => resolve(code ?? SSH_FAILED));
  });
  try {
    for await (const piece of child.stdout) yield piece as Uint8Array;
    const code = await ended;
    if (code === 0) return;
    const where = { path: shown };
    if (code === NO_FILE) throw diagError('source-missing', { url: shown, status: 'no such file' }, where);
    if (code === SSH_FAILED && /denied|verification failed|Too many authentication/i.test(said))
      throw diagError('source-denied', { url: shown, status: 'ssh', credentials: CREDENTIALS }, where);
    const reason = said.trim().split('\n').at(-1) || `ssh ended with ${code}`;
    throw diagError('source-unreachable', { url: shown, reason }, where);
  } finally {
    child.kill();
  }
}

/** Every file below a path, `bytes seconds name` with a zero byte after each: with the options of GNU and of BSD. */
const listCommand = (path: string): string => {
  const p = pathWord(path);
  return (
    `[ -e ${p} ] || exit ${NO_FILE}; ` +
    `if stat -c %s / >/dev/null 2>&1; then f='%s %Y %n'; o=-c; else f='%z %m %N'; o=-f; fi; ` +
    `if [ -d ${p} ]; then cd ${p} && find . -type f -exec stat "$o" "$f" {} +; else stat "$o" "$f" ${p}; fi`
  );
};

export function sshSource(text: string, options: SourceOptions): Source {
  const remote = remoteOf(text);
  const { path, shown } = remote;
  if (options.publicOnly === true)
    throw diagError('source-refused', { url: shown, reason: 'ssh reaches every network of this machine' });
  const textOfCommand = async (command: string): Promise<string> => {
    const parts: Uint8Array[] = [];
    for await (const piece of outputOf(remote, command, options)) parts.push(piece);
    return Buffer.concat(parts).toString('utf8');
  };
  const list: Source['list'] = async () => {
    const lines = (await textOfCommand(listCommand(path))).split('\n').filter((line) => line !== '');
    checkEntryCount(lines.length, { shown, what: 'files', hint: 'name a folder further down' });
    const entries = lines.map((line): RemoteEntry => {
      const [, bytes, seconds, name = ''] = /^(\d{1,15}) (\d{1,12}) (.+)$/s.exec(line) ?? [];
      if (bytes === undefined) throw lies(shown, `a line of its listing is "${line.slice(0, 100)}"`);
      return {
        name: name.startsWith('./') ? name.slice(2) : '',
        bytes: Number(bytes),
        modified: 1000 * Number(seconds),
        version: null,
      };
    });
    const isFolder = entries.every(({ name }) => name !== '');
    if (entries.length === 0) throw lies(shown, 'the folder holds no file');
    return { isFolder, entries };
  };
  const pathOf = (name: string): string => pathWord(name === '' ? path : `${folderName(path)}/${name}`);
  return {
    shown,
    list,
    open: async function* (entry, start, end) {
      const from = pathOf(entry.name);
      const length = end === null ? '' : ` | head -c ${end - start}`;
      let bytes = 0;
      const command = `[ -f ${from} ] || exit ${NO_FILE}; tail -c +${start + 1} -- ${from}${length}`;
      for await (const piece of outputOf(remote, command, options)) {
        bytes += piece.length;
        yield piece;
      }
      if (end !== null && bytes !== end - start)
        throw diagError(
          'source-incomplete',
          { url: shown, got: start + bytes, reason: 'the file is shorter now' },
          { path: shown },
        );
    },
    again: async (entry) => {
      const line = await textOfCommand(
        listCommand(entry.name === '' ? path : `${folderName(path)}/${entry.name}`),
      );
      const [, bytes, seconds] = /^(\d{1,15}) (\d{1,12}) /.exec(line) ?? [];
      return { ...entry, bytes: Number(bytes), modified: 1000 * Number(seconds) };
    },
  };
}
