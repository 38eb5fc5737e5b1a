/**
 * `s3://bucket/key` and `s3://bucket/prefix/`: Amazon S3 and what speaks its protocol (AWS_ENDPOINT_URL). Requests are signed
 * (Signature Version 4) with the credentials that the AWS tools would take; without any they are not signed.
 */
import { diagError } from '../../model/errors.ts';
import { type AwsSettings, awsSettings } from './aws-settings.ts';
import { type HeadersFor, type HttpAnswer, send, textOf } from './http-client.ts';
import { type ObjectListing, objectSource } from './object-source.ts';
import { lies, statusError } from './ranged.ts';
import type { RemoteEntry, Source, SourceOptions } from './source.ts';
import { xmlMember } from './xml.ts';

const CREDENTIALS =
  'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE (one of single sign-on or of a role needs the AWS CLI 2.9, and `aws sso login` first); AWS_REGION and AWS_ENDPOINT_URL name the server';

/** As S3 counts an encoded key: everything but letters, digits and `-_.~/`. */
const encodedKey = (key: string): string =>
  encodeURIComponent(key)
    .replaceAll('%2F', '/')
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

interface Bucket {
  /** The URL of an object, or with an empty key of the bucket. */
  urlOf(key: string): URL;
  readonly sign: HeadersFor;
}

function bucketOf(bucket: string, { endpoint, region, credentials }: AwsSettings): Bucket {
  // A bucket with a dot in its name is no host that a certificate of AWS covers.
  const base =
    endpoint !== undefined
      ? `${endpoint}/${bucket}`
      : bucket.includes('.')
        ? `https://s3.${region}.amazonaws.com/${bucket}`
        : `https://${bucket}.s3.${region}.amazonaws.com`;
  return {
    urlOf: (key) => new URL(`${base}/${encodedKey(key)}`),
    sign: async (url) => {
      const own = await credentials();
      if (own === undefined) return {};
      const { AwsV4Signer } = await import('aws4fetch');
      const signed = await new AwsV4Signer({ url: url.href, service: 's3', region, ...own }).sign();
      return Object.fromEntries(signed.headers);
    },
  };
}

export function s3Source(text: string, options: SourceOptions): Source {
  const [, bucket = '', path = ''] = /^s3:\/\/([^/?#]*)\/?(.*)$/s.exec(text) ?? [];
  const shown = `s3://${bucket}${path === '' ? '' : `/${path}`}`;
  if (!/^[a-z0-9][a-z0-9._-]{1,62}$/i.test(bucket))
    throw diagError(
      'source-unsupported',
      { url: shown, what: 'this form of an S3 URL', instead: 'write s3://BUCKET/KEY or s3://BUCKET/PREFIX/' },
      { path: shown },
    );
  const opened = once(async () => bucketOf(bucket, await settingsFor(bucket, options)));
  const listing: ObjectListing = async (folder, cursor) => {
    const { urlOf, sign } = await opened();
    const url = urlOf('');
    url.search = new URLSearchParams({
      'list-type': '2',
      'encoding-type': 'url',
      prefix: folder,
      ...(cursor === undefined ? {} : { 'continuation-token': cursor }),
    })
      .toString()
      .replaceAll('+', '%20');
    const answer = await send({ url, secret: sign }, options);
    if (answer.status !== 200) {
      answer.body.destroy();
      throw statusError(answer.status, { shown, credentials: CREDENTIALS });
    }
    const xml = await textOf(answer, shown);
    const isCut = /<IsTruncated>true<\/IsTruncated>/.test(xml);
    return {
      entries: entriesOf(xml, folder, shown),
      next: isCut ? xmlMember(xml, 'NextContinuationToken') : undefined,
    };
  };
  return objectSource({
    shown,
    path,
    listing,
    options,
    object: async (key) => {
      const { urlOf, sign } = await opened();
      return { url: urlOf(key), shown: `s3://${bucket}/${key}`, secret: sign, credentials: CREDENTIALS };
    },
  });
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** The settings, with the region in which AWS says that the bucket is: a request to another one is refused. */
async function settingsFor(bucket: string, options: SourceOptions): Promise<AwsSettings> {
  const settings = await awsSettings(options.env);
  if (settings.endpoint !== undefined) return settings;
  const answer: HttpAnswer = await send(
    { url: new URL(`https://s3.${settings.region}.amazonaws.com/${bucket}?max-keys=0`) },
    options,
  );
  answer.body.destroy();
  const region = answer.headers['x-amz-bucket-region'];
  return typeof region === 'string' && /^[a-z0-9-]{1,40}$/.test(region) ? { ...settings, region } : settings;
}

/** The objects of a page of a listing; markers of folders are left out. @throws source-answer */
function entriesOf(xml: string, folder: string, shown: string): RemoteEntry[] {
  if (!xml.includes('<ListBucketResult')) throw lies(shown, 'its listing is not one of S3');
  return xml
    .split('<Contents>')
    .slice(1)
    .flatMap((one) => {
      const key = decodeURIComponent((xmlMember(one, 'Key') ?? '').replaceAll('+', '%20'));
      const bytes = Number(xmlMember(one, 'Size') ?? Number.NaN);
      const time = Date.parse(xmlMember(one, 'LastModified') ?? '');
      if (!key.startsWith(folder) || key.endsWith('/')) return [];
      return [
        {
          name: key.slice(folder.length),
          bytes: Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : null,
          modified: Number.isNaN(time) ? null : time,
          version: xmlMember(one, 'ETag') ?? null,
        },
      ];
    });
}
