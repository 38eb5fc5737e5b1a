/**
 * Credentials, region and endpoint for S3, where the AWS tools look for them: the environment, then the profile in ~/.aws. Where these say
 * only how credentials are made (single sign-on, a role, a program, a pod), the user's own AWS CLI makes them.
 */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { withoutEndSlashes } from '../../model/url.ts';
import { readUserFile } from '../bytes/source.ts';
import { homeOf } from './netrc.ts';
import type { SourceOptions } from './source.ts';

type Env = SourceOptions['env'];

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface AwsSettings {
  /** Those of now, for some last an hour. Without any requests are not signed, which public buckets accept. */
  credentials(): Promise<AwsCredentials | undefined>;
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

/** Settings of a profile, and variables of a pod, by which the AWS CLI makes credentials. */
const MADE_BY_PROFILE = [
  'sso_session',
  'sso_start_url',
  'login_session',
  'role_arn',
  'credential_process',
  'web_identity_token_file',
] as const;
const MADE_BY_POD = [
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
] as const;

/** Made credentials are asked for again so many milliseconds before they end, and after as many where none were made. */
const EARLY = 60_000;
/** Longest time that the AWS CLI may take. */
const PATIENCE = 60_000;

/** What the AWS CLI makes, asked for again when it ends; undefined where it makes none. */
function madeByCli(profile: string, env: Env): AwsSettings['credentials'] {
  let until = 0;
  let made: Promise<AwsCredentials | undefined> | undefined;
  return () => {
    if (made !== undefined && Date.now() < until) return made;
    until = Date.now() + EARLY;
    made = exported(profile, env).then((found) => {
      if (found === undefined) return undefined;
      until = found.expires - EARLY;
      return found.credentials;
    });
    return made;
  };
}

/** Asks the AWS CLI (2.9 and later). Its output is a secret and is in no message. */
async function exported(
  profile: string,
  env: Env,
): Promise<{ readonly credentials: AwsCredentials; readonly expires: number } | undefined> {
  const args = ['configure', 'export-credentials', '--format=process', `--profile=${profile}`];
  const text = await new Promise<string>((resolve) => {
    const options = { env: env as NodeJS.ProcessEnv, timeout: PATIENCE };
    execFile('aws', args, options, (error, out) => resolve(error === null ? out : ''));
  });
  try {
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = JSON.parse(text);
    if (typeof AccessKeyId !== 'string' || typeof SecretAccessKey !== 'string') return undefined;
    const expires = Date.parse(Expiration ?? '');
    return {
      credentials: {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        ...(typeof SessionToken === 'string' ? { sessionToken: SessionToken } : {}),
      },
      expires: Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires,
    };
  } catch {
    return undefined;
  }
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
  const own =
    id === undefined || secret === undefined
      ? undefined
      : { accessKeyId: id, secretAccessKey: secret, ...(token ? { sessionToken: token } : {}) };
  const isMade =
    MADE_BY_PROFILE.some((name) => setting(name) !== undefined) || MADE_BY_POD.some((name) => env[name]);
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || setting('endpoint_url');
  return {
    credentials: own === undefined && isMade ? madeByCli(profile, env) : async () => own,
    region: env.AWS_REGION || env.AWS_DEFAULT_REGION || setting('region') || 'us-east-1',
    endpoint: endpoint && withoutEndSlashes(endpoint),
  };
}
