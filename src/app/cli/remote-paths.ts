/** URLs among the paths of a command: whether the network is allowed, and which local paths replace them while the command works. */
import * as Flags from '@oclif/core/flags';
import { type DiagError, diagError } from '../../model/errors.ts';
import { isUrl, withoutSecrets } from '../../model/url.ts';
import type { Mounted } from '../../read/sources/mount.ts';
import { findConfig } from '../gate/config-file.ts';
import type { Io } from './io.ts';

export const offlineFlag = {
  offline: Flags.boolean({
    description: 'refuse URLs: nothing is sent anywhere',
    helpGroup: 'INPUT',
  }),
};

export const tagFlag = {
  tag: Flags.boolean({
    description:
      'also write the class of verdict to the server, as a tag of each run: of W&B clippy-diag:CLASS, of MLflow clippy-diag with the class as value',
    helpGroup: 'OUTPUT',
  }),
};

/** The mistake of `--tag` where no run can have one. */
export const nothingToTag = (): DiagError =>
  diagError('usage', {
    problem: '--tag writes to runs of W&B and MLflow, and no path is one of them',
    hint: 'name one as wandb://ENTITY/PROJECT/RUN or mlflow://runs/RUN_ID, or leave --tag out',
  });

interface RemoteFlags {
  readonly offline: boolean;
  readonly config?: string | undefined;
  readonly 'no-config'?: boolean;
}

/** Where a command works on files of this machine alone. @throws usage for a URL */
export function refuseUrls(paths: readonly (string | undefined)[], why: string): void {
  const url = paths.find((path) => path !== undefined && isUrl(path));
  if (url !== undefined)
    throw diagError('usage', {
      problem: `${withoutSecrets(url)}: ${why}`,
      hint: 'copy it to this machine, and name the copy',
    });
}

/** What a command works with in place of the paths that were named. */
export type LocalPaths = Pick<Mounted, 'paths' | 'shown' | 'changed' | 'tag'>;

/** What forbids the network: a flag, the environment or the configuration; null where it is allowed. */
export async function offlineBy(flags: RemoteFlags, env: Io['env']): Promise<string | null> {
  if (flags.offline) return '--offline';
  if (env.CLIPPY_DIAG_OFFLINE !== undefined && !['', '0'].includes(env.CLIPPY_DIAG_OFFLINE))
    return 'CLIPPY_DIAG_OFFLINE';
  if (flags['no-config'] === true) return null;
  const found = await findConfig({
    cwd: process.cwd(),
    ...(flags.config === undefined ? {} : { file: flags.config }),
  });
  const { offline } = (found?.value ?? {}) as { offline?: unknown };
  return offline === true ? `offline of ${found!.path}` : null;
}

/**
 * Works on paths, of which some may be URLs; what was fetched is removed afterwards.
 *
 * @throws source-…, and what `use` throws, with URLs in its texts
 */
export async function withLocalPaths<T>(
  paths: readonly string[],
  flags: RemoteFlags,
  { env }: Pick<Io, 'env'>,
  use: (local: LocalPaths) => Promise<T>,
): Promise<T> {
  const url = paths.find(isUrl);
  if (url === undefined)
    return use({ paths, shown: (value) => value, changed: async () => [], tag: async () => 0 });
  const reason = await offlineBy(flags, env);
  const shownUrl = withoutSecrets(url);
  if (reason !== null) throw diagError('source-offline', { url: shownUrl, reason }, { path: shownUrl });
  // Loaded here: paths of files wait for no code of the network.
  const { mountSources } = await import('../../read/sources/mount.ts');
  const mounted = await mountSources(paths, { env });
  try {
    return await use(mounted);
  } catch (error) {
    throw mounted.shown(error);
  } finally {
    await mounted.close();
  }
}
