/** Which scheme of a URL is read by what, and what to do about those that are not. */
import { diagError } from '../../model/errors.ts';
import { withoutSecrets } from '../../model/url.ts';
import { azureSource } from './azure.ts';
import { googleSource } from './google-storage.ts';
import { httpSource } from './http-source.ts';
import { hubSource, isHubUrl } from './hugging-face.ts';
import { isMlflowPage, mlflowSource } from './mlflow-server.ts';
import { s3Source } from './s3.ts';
import type { Source, SourceOptions } from './source.ts';
import { sshSource } from './ssh.ts';
import { isTensorboardPage, tensorboardSource } from './tensorboard.ts';
import { isWandbPage, wandbSource } from './wandb-server.ts';

/** Schemes that are not read, with what to do instead. */
const INSTEAD: Readonly<Record<string, readonly [what: string, instead: string]>> = {
  abfs: ['Azure Data Lake', 'write az://CONTAINER/PATH, or copy it first (`azcopy copy`)'],
  sftp: ['sftp', 'write ssh://HOST/PATH'],
  ftp: ['ftp', 'download it first'],
  file: ['a file URL', 'name the path itself'],
};

type Open = (text: string, options: SourceOptions) => Source;

/** What reads each scheme but http and https. */
const SCHEMES: Readonly<Record<string, Open>> = {
  hf: hubSource,
  s3: s3Source,
  gs: googleSource,
  az: azureSource,
  ssh: sshSource,
  wandb: wandbSource,
  mlflow: mlflowSource,
  tensorboard: tensorboardSource,
  'tensorboard+https': tensorboardSource,
};

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;

function unsupported(text: string, scheme: string): Error {
  const [what, instead] = INSTEAD[scheme] ?? [
    `the scheme ${scheme}://`,
    `known are http, https, ${Object.keys(SCHEMES).join(', ')}; download it first and name the file`,
  ];
  const shown = withoutSecrets(text);
  return diagError('source-unsupported', { url: shown, what, instead }, { path: shown });
}

/** Opens what a URL names; nothing is sent before it is listed. @throws source-unsupported */
export function sourceOf(text: string, options: SourceOptions): Source {
  const scheme = (SCHEME.exec(text)?.[1] ?? '').toLowerCase();
  const own = Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined;
  if (own !== undefined) return own(text, options);
  if (scheme !== 'http' && scheme !== 'https') throw unsupported(text, scheme);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw unsupported(text, 'not-a-url');
  }
  if (isHubUrl(url, options.env)) return hubSource(text, options);
  if (isWandbPage(url, options.env)) return wandbSource(text, options);
  if (isMlflowPage(url)) return mlflowSource(text, options);
  return isTensorboardPage(url) ? tensorboardSource(text, options) : httpSource(url, options);
}
