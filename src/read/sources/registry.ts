/** Which scheme of a URL is read by what, and what to do about those that are not. */
import { diagError } from '../../model/errors.ts';
import { withoutSecrets } from '../../model/url.ts';
import { httpSource } from './http-source.ts';
import { hubSource, isHubUrl } from './hugging-face.ts';
import { s3Source } from './s3.ts';
import type { Source, SourceOptions } from './source.ts';

/** Schemes that name a place of runs and are not read, with what to do instead. */
const INSTEAD: Readonly<Record<string, readonly [what: string, instead: string]>> = {
  gs: ['Google Cloud Storage', 'copy it first (`gcloud storage cp -r`), or use a signed https URL'],
  az: [
    'Azure Blob Storage',
    'copy it first (`az storage blob download-batch`), or use an https URL with a SAS token',
  ],
  abfs: ['Azure Data Lake', 'copy it first (`azcopy copy`), or use an https URL with a SAS token'],
  wandb: [
    'the W&B server',
    'run `wandb sync` the other way: keep the `run-*.wandb` file, or export the history as CSV',
  ],
  mlflow: [
    'the MLflow server',
    'name the folder of the run in its file store (`mlruns/…`), or download the metrics',
  ],
  ssh: ['ssh', 'copy it first (`scp -r` or `rsync`), or mount it with sshfs'],
  sftp: ['sftp', 'copy it first (`sftp` or `rsync`), or mount it with sshfs'],
  ftp: ['ftp', 'download it first'],
  file: ['a file URL', 'name the path itself'],
};

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;

/** Pages of services whose history is behind an interface of their own: what they answer to is a web page. */
const PAGES: readonly (readonly [RegExp, string])[] = [
  [/^https?:\/\/([\w-]+\.)?wandb\.ai\//i, 'wandb'],
  [/^https?:\/\/[^/]+\/#\/experiments\//i, 'mlflow'],
];

function unsupported(text: string, scheme: string): Error {
  const [what, instead] = INSTEAD[scheme] ?? [
    `the scheme ${scheme}://`,
    'known are http, https, hf and s3; download it first and name the file',
  ];
  const shown = withoutSecrets(text);
  return diagError('source-unsupported', { url: shown, what, instead }, { path: shown });
}

/** Opens what a URL names; nothing is sent before it is listed. @throws source-unsupported */
export function sourceOf(text: string, options: SourceOptions): Source {
  const scheme = (SCHEME.exec(text)?.[1] ?? '').toLowerCase();
  const page = PAGES.find(([pattern]) => pattern.test(text));
  if (page !== undefined) throw unsupported(text, page[1]);
  if (scheme === 'hf') return hubSource(text, options);
  if (scheme === 's3') return s3Source(text, options);
  if (scheme !== 'http' && scheme !== 'https') throw unsupported(text, scheme);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw unsupported(text, 'not-a-url');
  }
  return isHubUrl(url, options.env) ? hubSource(text, options) : httpSource(url, options);
}
