/** Credentials, region and endpoint for S3, where the AWS tools look for them: the environment, then the profile in ~/.aws. */

import { join } from 'node:path';
import { withoutEndSlashes } from '../../model/url.ts';
import { readUserFile } from '../bytes/source.ts';
import { homeOf } from './netrc.ts';
import type { SourceOptions } from './source.ts';

type Env = SourceOptions['env'];

export interface AwsSettings {
  /** Without credentials requests are not signed, which public buckets accept. */
  readonly credentials:
    | { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
    | undefined;
  readonly region: string;
  /** Of a server that speaks S3; undefined for AWS itself. */
  readonly endpoint: string | undefined;
}

/** The sections of an INI file, as AWS writes it: `[name]` or `[profile name]`, then `key = value`. */
function sections(text: string | undefined): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const found = new Map<string, Map<string, string>>();
  let current: Map<string, string> | undefined;
  for (const line of (text ?? '').split(/\r?\n/)) {
    const head = /^\[([^\]]+)\]/.exec(line);
    if (head !== null) {
      const name = head[1]!.trim().replace(/^profile\s+/, '');
      current = found.get(name) ?? new Map<string, string>();
      found.set(name, current);
    }
    const equals = line.indexOf('=');
    // An indented line belongs to a table of another service.
    if (head === null && equals > 0 && !/^[\s#;]/.test(line))
      current?.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }
  return found;
}

export async function awsSettings(env: Env): Promise<AwsSettings> {
  const folder = join(homeOf(env), '.aws');
  const profile = env.AWS_PROFILE || env.AWS_DEFAULT_PROFILE || 'default';
  const secrets = sections(
    await readUserFile(env.AWS_SHARED_CREDENTIALS_FILE ?? join(folder, 'credentials')),
  ).get(profile);
  const config = sections(await readUserFile(env.AWS_CONFIG_FILE ?? join(folder, 'config'))).get(profile);
  const setting = (name: string): string | undefined => secrets?.get(name) ?? config?.get(name);
  // A profile that was asked for comes before keys in the environment that belong to no profile.
  const asked = Boolean(env.AWS_PROFILE) && setting('aws_access_key_id') !== undefined;
  const fromEnv = !asked && Boolean(env.AWS_ACCESS_KEY_ID) && Boolean(env.AWS_SECRET_ACCESS_KEY);
  const id = fromEnv ? env.AWS_ACCESS_KEY_ID : setting('aws_access_key_id');
  const secret = fromEnv ? env.AWS_SECRET_ACCESS_KEY : setting('aws_secret_access_key');
  const token = fromEnv ? env.AWS_SESSION_TOKEN : setting('aws_session_token');
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || setting('endpoint_url');
  return {
    credentials:
      id === undefined || secret === undefined
        ? undefined
        : { accessKeyId: id, secretAccessKey: secret, ...(token ? { sessionToken: token } : {}) },
    region: env.AWS_REGION || env.AWS_DEFAULT_REGION || setting('region') || 'us-east-1',
    endpoint: endpoint && withoutEndSlashes(endpoint),
  };
}
