/** Where alerts are sent: one interface, one file a channel. */
import { post, textOf } from '../../read/sources/http-client.ts';
import type { Message } from './message.ts';

export interface Channel {
  /** As `--notify` names it. */
  readonly name: string;
  /** Whether a message that failed is not sent again. */
  readonly once?: boolean;
  /** @returns undefined where it arrived, else the reason in words, which hold no address and no key */
  send(message: Message): Promise<string | undefined>;
}

/** A message is sent by one request. One without an answer for so long, in milliseconds, has failed. */
const PATIENCE = 10_000;

export type Env = Readonly<Record<string, string | undefined>>;

/**
 * Sends a JSON document by one request. It is not repeated here, and no redirect is followed: the address is a secret.
 *
 * @param env names the proxy
 * @returns undefined where the server accepts it
 */
export async function postJson(
  url: string,
  document: unknown,
  env: Env,
  headers: Readonly<Record<string, string>> = {},
): Promise<string | undefined> {
  let address: URL;
  try {
    address = new URL(url);
  } catch {
    return 'its address is not a URL';
  }
  if (address.protocol !== 'https:' && address.protocol !== 'http:')
    return 'its address is not http or https';
  const { username, password } = address;
  address.username = '';
  address.password = '';
  const login: Record<string, string> =
    username === '' && password === ''
      ? {}
      : {
          authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`,
        };
  try {
    const answer = await post(
      {
        url: address,
        body: JSON.stringify(document),
        headers: { 'content-type': 'application/json', ...login, ...headers },
      },
      { env, idle: PATIENCE, signal: AbortSignal.timeout(2 * PATIENCE) },
    );
    if (answer.status >= 200 && answer.status < 300) {
      await textOf(answer, 'the answer').catch(() => {});
      return undefined;
    }
    answer.body.destroy();
    return `the server answers with status ${answer.status}`;
  } catch (error) {
    return (error as Error).name === 'AbortError' ? 'no answer in time' : (error as Error).message;
  }
}
