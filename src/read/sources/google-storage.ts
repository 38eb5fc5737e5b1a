/**
 * `gs://bucket/object` and `gs://bucket/prefix/`: Google Cloud Storage by its JSON interface. Credentials are those of Google's tools;
 * without any, requests are not signed, which public buckets accept. STORAGE_EMULATOR_HOST names an emulator.
 */
import { createSign } from 'node:crypto';
import { join } from 'node:path';
import { isJsonObject } from '../../model/json.ts';
import { withoutEndSlashes } from '../../model/url.ts';
import { readUserFile } from '../bytes/source.ts';
import { askJson, formError, listIn } from './api.ts';
import type { HeadersFor } from './http-client.ts';
import { homeOf } from './netrc.ts';
import { type ObjectListing, objectSource } from './object-source.ts';
import { lies } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';

const CREDENTIALS =
  'run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or CLOUDSDK_AUTH_ACCESS_TOKEN to a token';
const SERVICE = 'https://storage.googleapis.com';
const TOKENS = 'https://oauth2.googleapis.com/token';
const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_only';

type Env = SourceOptions['env'];

const baseOf = ({ STORAGE_EMULATOR_HOST: host }: Env): string =>
  host ? withoutEndSlashes(/^https?:\/\//.test(host) ? host : `http://${host}`) : SERVICE;

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** What a file of credentials is exchanged for a token with. Tokens come from Google alone, whatever address the file names. */
function grantOf(file: Readonly<Record<string, unknown>>, now: number): Record<string, string> | undefined {
  const text = (name: string): string => String(file[name] ?? '');
  if (file.type === 'authorized_user')
    return {
      grant_type: 'refresh_token',
      client_id: text('client_id'),
      client_secret: text('client_secret'),
      refresh_token: text('refresh_token'),
    };
  if (file.type !== 'service_account') return undefined;
  const seconds = Math.floor(now / 1000);
  const claim = { iss: text('client_email'), scope: SCOPE, aud: TOKENS, iat: seconds, exp: seconds + 3600 };
  const unsigned = `${base64({ alg: 'RS256', typ: 'JWT' })}.${base64(claim)}`;
  const signature = createSign('RSA-SHA256').update(unsigned).sign(text('private_key'), 'base64url');
  return { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: `${unsigned}.${signature}` };
}

/** A token of the environment, or one for the credentials of Google's tools; undefined where there are none. */
async function tokenOf(options: SourceOptions, shown: string): Promise<string | undefined> {
  const { env } = options;
  const given = env.CLOUDSDK_AUTH_ACCESS_TOKEN || env.GOOGLE_OAUTH_ACCESS_TOKEN;
  if (given) return given;
  const folder = env.CLOUDSDK_CONFIG ?? join(homeOf(env), '.config/gcloud');
  const path = env.GOOGLE_APPLICATION_CREDENTIALS || join(folder, 'application_default_credentials.json');
  const text = await readUserFile(path);
  if (text === undefined) return undefined;
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {}
  const grant = isJsonObject(file) ? grantOf(file, Date.now()) : undefined;
  if (grant === undefined) return undefined;
  const answer = await askJson({ shown, credentials: CREDENTIALS }, new URL(TOKENS), options, grant);
  return typeof answer.access_token === 'string' ? answer.access_token : undefined;
}

/** The objects of a page of a listing; markers of folders are left out. @throws source-answer */
function entriesOf(items: readonly unknown[], folder: string, shown: string): RemoteEntry[] {
  return items.flatMap((item) => {
    if (!isJsonObject(item) || typeof item.name !== 'string')
      throw lies(shown, 'an object of its listing has no name');
    if (!item.name.startsWith(folder) || item.name.endsWith('/')) return [];
    const bytes = Number(item.size ?? Number.NaN);
    const time = Date.parse(String(item.updated ?? ''));
    return [
      {
        name: item.name.slice(folder.length),
        bytes: Number.isSafeInteger(bytes) ? bytes : null,
        modified: Number.isNaN(time) ? null : time,
        // The listing writes the ETag in another form than the answers with content.
        version: null,
      },
    ];
  });
}

export function googleSource(text: string, options: SourceOptions): Source {
  const [, bucket = '', path = ''] = /^gs:\/\/([^/?#]*)\/?(.*)$/s.exec(text) ?? [];
  const shown = `gs://${bucket}${path === '' ? '' : `/${path}`}`;
  if (!/^[a-z0-9][a-z0-9._-]{1,221}$/.test(bucket))
    throw formError(shown, 'a Cloud Storage URL', 'write gs://BUCKET/OBJECT or gs://BUCKET/PREFIX/');
  const base = baseOf(options.env);
  let token: Promise<string | undefined> | undefined;
  const secret: HeadersFor = async () => {
    // An emulator asks for nothing, and gets no token.
    if (base !== SERVICE) return {};
    token ??= tokenOf(options, shown);
    const own = await token;
    return own === undefined ? {} : { authorization: `Bearer ${own}` };
  };
  const listing: ObjectListing = async (folder, cursor) => {
    const url = new URL(`${base}/storage/v1/b/${bucket}/o`);
    url.search = new URLSearchParams({
      prefix: folder,
      ...(cursor === undefined ? {} : { pageToken: cursor }),
    }).toString();
    const page = await askJson({ shown, secret, credentials: CREDENTIALS }, url, options);
    const next = page.nextPageToken;
    return {
      entries: entriesOf(listIn(page, 'items', shown), folder, shown),
      next: typeof next === 'string' && next !== '' ? next : undefined,
    };
  };
  return objectSource({
    shown,
    path,
    listing,
    options,
    object: async (key) => ({
      url: new URL(`${base}/storage/v1/b/${bucket}/o/${encodeURIComponent(key)}?alt=media`),
      shown: `gs://${bucket}/${key}`,
      secret,
      credentials: CREDENTIALS,
    }),
  });
}
