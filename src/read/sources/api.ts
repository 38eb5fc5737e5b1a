/** Requests to the JSON interfaces of servers: one answer, checked, with what to set where it is refused. */
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { type HeadersFor, send, textOf } from './http-client.ts';
import { lies, statusError } from './ranged.ts';
import type { SourceOptions } from './source.ts';

export interface Api {
  /** What errors name. */
  readonly shown: string;
  readonly secret?: HeadersFor;
  /** What to set where the server asks for credentials. */
  readonly credentials: string;
}

/**
 * Asks for a JSON object.
 *
 * @param body sent as JSON by POST; without one the request is a GET
 * @throws source-missing, source-denied, source-unreachable, source-refused, source-answer, source-incomplete
 */
export async function askJson(
  { shown, secret, credentials }: Api,
  url: URL,
  options: SourceOptions,
  body?: unknown,
): Promise<Readonly<Record<string, unknown>>> {
  const headers: Record<string, string> = {
    accept: 'application/json',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const answer = await send(
    {
      url,
      headers,
      ...(secret === undefined ? {} : { secret }),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    },
    options,
  );
  if (answer.status !== 200) {
    answer.body.destroy();
    throw statusError(answer.status, { shown, credentials });
  }
  const text = await textOf(answer, shown);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw lies(shown, 'its answer is not JSON');
  }
  if (!isJsonObject(parsed)) throw lies(shown, 'its answer is not a JSON object');
  return parsed;
}

/** A member that must be a list; an absent one is empty. @throws source-answer */
export function listIn(
  of: Readonly<Record<string, unknown>>,
  name: string,
  shown: string,
): readonly unknown[] {
  const value = of[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw lies(shown, `"${name}" of its answer is not a list`);
  return value;
}

/** A name of a server as one part of a path: no separators, no colon. */
export const partOf = (text: string): string => {
  const safe = text.replace(/[/\\:\0]/g, '_').slice(0, 200);
  return safe === '' || safe === '.' || safe === '..' ? `_${safe}` : safe;
};

/** The error of a URL of a known scheme that is written in another form. */
export const formError = (shown: string, what: string, instead: string): Error =>
  diagError('source-unsupported', { url: shown, what: `this form of ${what}`, instead }, { path: shown });

/** The header of a user and a password. */
export const basic = (user: string, password: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
});

/** One text as a stream of bytes from `start` on. */
export async function* bytesOf(text: string, start: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text).subarray(start);
  if (bytes.length > 0) yield bytes;
}
