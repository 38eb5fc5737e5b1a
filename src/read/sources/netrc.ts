/** Logins by host from the user's netrc file, as curl and the clients of W&B and the Hub read it. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { readUserFile } from '../bytes/source.ts';

type Env = Readonly<Record<string, string | undefined>>;

export const homeOf = (env: Env): string => env.HOME ?? env.USERPROFILE ?? homedir();

/** Login and password of a host; undefined where the file names none. */
export async function netrcOf(
  host: string,
  env: Env,
): Promise<{ login: string; password: string } | undefined> {
  const text = await readUserFile(env.NETRC ?? join(homeOf(env), '.netrc'));
  if (text === undefined) return undefined;
  const words = text.replace(/^[ \t]*#.*$/gm, '').split(/\s+/);
  let machine: string | undefined;
  let login = '';
  for (let i = 0; i < words.length; i++) {
    const [word, next = ''] = [words[i], words[i + 1]];
    if (word === 'machine') {
      machine = next;
      login = '';
    } else if (word === 'default') machine = undefined;
    else if (word === 'login') login = next;
    else if (word === 'password' && machine === host) return { login, password: next };
  }
  return undefined;
}
