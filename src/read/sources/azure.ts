/**
 * `az://container/blob` and `az://container/prefix/`: Azure Blob Storage by its REST interface, with the settings of Azure's tools: an
 * account key (Shared Key), a SAS token or a connection string; without any, requests are not signed.
 */
import { createHmac } from 'node:crypto';
import { withoutEndSlashes } from '../../model/url.ts';
import { formError } from './api.ts';
import { type HeadersFor, send, textOf } from './http-client.ts';
import { type ObjectListing, objectSource } from './object-source.ts';
import { lies, statusError } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';
import { xmlMember } from './xml.ts';

const CREDENTIALS =
  'set AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or set AZURE_STORAGE_CONNECTION_STRING';
const VERSION = '2021-08-06';

interface Settings {
  readonly account: string;
  readonly endpoint: string;
  readonly key: string | undefined;
  readonly sas: string | undefined;
}

/** The account and how it is asked; undefined where none is named. */
function settingsOf(env: SourceOptions['env']): Settings | undefined {
  const parts = new Map(
    (env.AZURE_STORAGE_CONNECTION_STRING ?? '').split(';').flatMap((part): [string, string][] => {
      const equals = part.indexOf('=');
      return equals < 0 ? [] : [[part.slice(0, equals), part.slice(equals + 1)]];
    }),
  );
  const account = parts.get('AccountName') ?? env.AZURE_STORAGE_ACCOUNT;
  if (!account) return undefined;
  const suffix = parts.get('EndpointSuffix') ?? 'core.windows.net';
  return {
    account,
    endpoint: withoutEndSlashes(parts.get('BlobEndpoint') ?? `https://${account}.blob.${suffix}`),
    key: parts.get('AccountKey') ?? (env.AZURE_STORAGE_KEY || undefined),
    sas: (parts.get('SharedAccessSignature') ?? env.AZURE_STORAGE_SAS_TOKEN)?.replace(/^\?/, '') || undefined,
  };
}

/**
 * The headers of Shared Key for a GET without a body:
 * https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
 */
function signed(url: URL, { account, key }: Settings, range = ''): Record<string, string> {
  const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': VERSION };
  if (key === undefined) return headers;
  const canonical = Object.entries(headers)
    .map(([name, value]) => `${name}:${value}\n`)
    .join('');
  const query = [...url.searchParams]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `\n${name.toLowerCase()}:${value}`)
    .join('');
  // Ten standard headers come before the range, and are empty.
  const text = `GET\n${'\n'.repeat(10)}${range}\n${canonical}/${account}${url.pathname}${query}`;
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  return { ...headers, authorization: `SharedKey ${account}:${signature}` };
}

/** The blobs of a page of a listing. @throws source-answer */
function entriesOf(xml: string, folder: string, shown: string): RemoteEntry[] {
  if (!xml.includes('<EnumerationResults')) throw lies(shown, 'its listing is not one of Azure');
  return xml
    .split('<Blob>')
    .slice(1)
    .flatMap((one) => {
      const key = xmlMember(one, 'Name') ?? '';
      const bytes = Number(xmlMember(one, 'Content-Length') ?? Number.NaN);
      const time = Date.parse(xmlMember(one, 'Last-Modified') ?? '');
      if (!key.startsWith(folder) || key.endsWith('/')) return [];
      const etag = xmlMember(one, 'Etag');
      return [
        {
          name: key.slice(folder.length),
          bytes: Number.isSafeInteger(bytes) ? bytes : null,
          modified: Number.isNaN(time) ? null : time,
          version: etag === undefined ? null : etag.startsWith('"') ? etag : `"${etag}"`,
        },
      ];
    });
}

export function azureSource(text: string, options: SourceOptions): Source {
  const [, container = '', path = ''] = /^az:\/\/([^/?#]*)\/?(.*)$/s.exec(text) ?? [];
  const shown = `az://${container}${path === '' ? '' : `/${path}`}`;
  const settings = settingsOf(options.env);
  if (!/^(\$root|\$web|[a-z0-9][a-z0-9-]{2,62})$/.test(container))
    throw formError(shown, 'an Azure URL', 'write az://CONTAINER/BLOB or az://CONTAINER/PREFIX/');
  if (settings === undefined) throw formError(shown, 'an Azure URL without an account', CREDENTIALS);
  const { endpoint, sas } = settings;
  const secret: HeadersFor = async (url, { range }) => signed(url, settings, range);
  const address = (tail: string, query: Record<string, string>): URL => {
    const url = new URL(`${endpoint}/${container}${tail}`);
    url.search =
      new URLSearchParams(query).toString().replaceAll('+', '%20') + (sas === undefined ? '' : `&${sas}`);
    return url;
  };
  const listing: ObjectListing = async (folder, cursor) => {
    const url = address('', {
      restype: 'container',
      comp: 'list',
      prefix: folder,
      ...(cursor === undefined ? {} : { marker: cursor }),
    });
    const answer = await send({ url, secret }, options);
    if (answer.status !== 200) {
      answer.body.destroy();
      throw statusError(answer.status, { shown, credentials: CREDENTIALS });
    }
    const xml = await textOf(answer, shown);
    return { entries: entriesOf(xml, folder, shown), next: xmlMember(xml, 'NextMarker') || undefined };
  };
  return objectSource({
    shown,
    path,
    listing,
    options,
    object: async (key) => ({
      url: address(`/${key.split('/').map(encodeURIComponent).join('/')}`, {}),
      shown: `az://${container}/${key}`,
      secret,
      credentials: CREDENTIALS,
    }),
  });
}
