/**
 * A look-alike of S3 on loopback: path-style URLs, ListObjectsV2 by pages of one key, ranges, and signatures that it checks by
 * an implementation of its own, after the description of Signature Version 4.
 */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FaultyServer } from './http-server.ts';

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const hex = (text: string): string => createHash('sha256').update(text).digest('hex');
const uri = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Whether a request is signed with the secret for the region. */
export function isSigned(request: IncomingMessage, secret: string, region: string): boolean {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    );
  if (match === null || match[3] !== region) return false;
  const [, , day = '', , names = '', signature] = match;
  const url = new URL(request.url!, 'http://h');
  const query = [...url.searchParams]
    .map(([name, value]) => `${uri(name)}=${uri(value)}`)
    .sort()
    .join('&');
  const path = decodeURIComponent(url.pathname).split('/').map(uri).join('/');
  const headers = names
    .split(';')
    .map((name) => `${name}:${String(request.headers[name] ?? '').trim()}\n`)
    .join('');
  const payload = String(request.headers['x-amz-content-sha256']);
  const canonical = [request.method, path, query, headers, names, payload].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const date = String(request.headers['x-amz-date']);
  const text = ['AWS4-HMAC-SHA256', date, scope, hex(canonical)].join('\n');
  const key = hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), 's3'), 'aws4_request');
  return hmac(key, text).toString('hex') === signature;
}

const xmlText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

export interface Bucket {
  readonly name: string;
  readonly objects: Map<string, Buffer>;
  /** null: anybody may read. */
  readonly secret: string | null;
  readonly token?: string;
  readonly region: string;
}

export async function startS3(bucket: Bucket): Promise<FaultyServer> {
  const server = await FaultyServer.start();
  server.handler = (request, response) => {
    const url = new URL(request.url!, server.url);
    const refuse = (status: number, code: string): true => {
      response.writeHead(status).end(`<Error><Code>${code}</Code></Error>`);
      return true;
    };
    if (bucket.secret !== null) {
      if (!isSigned(request, bucket.secret, bucket.region)) return refuse(403, 'SignatureDoesNotMatch');
      if (bucket.token !== undefined && request.headers['x-amz-security-token'] !== bucket.token)
        return refuse(403, 'InvalidToken');
    }
    if (url.pathname.split('/')[1] !== bucket.name) return refuse(404, 'NoSuchBucket');
    for (const [key, body] of bucket.objects)
      server.files.set(`/${bucket.name}/${key}`, {
        body,
        etag: `"${hex(body.toString('base64')).slice(0, 32)}"`,
        modified: new Date('2026-01-02'),
      });
    if (url.searchParams.get('list-type') !== '2') return false;
    const prefix = url.searchParams.get('prefix') ?? '';
    const keys = [...bucket.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    const at = Number(url.searchParams.get('continuation-token')?.replace('next &<', '') ?? 0);
    const key = keys[at];
    const contents =
      key === undefined
        ? ''
        : `<Contents><Key>${uri(key).replaceAll('%2F', '/').replaceAll('%20', '+')}</Key><LastModified>2026-01-02T00:00:00.000Z</LastModified><ETag>"${hex(bucket.objects.get(key)!.toString('base64')).slice(0, 32)}"</ETag><Size>${bucket.objects.get(key)!.length}</Size></Contents>`;
    const more = at + 1 < keys.length;
    response
      .writeHead(200)
      .end(
        `<?xml version="1.0"?><ListBucketResult xmlns="x"><IsTruncated>${more}</IsTruncated>${contents}${more ? `<NextContinuationToken>${xmlText(`next &<${at + 1}`)}</NextContinuationToken>` : ''}</ListBucketResult>`,
      );
    return true;
  };
  return server;
}
