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

interface RemoteFlags {
  readonly offline: boolean;
  readonly config?: string | undefined;
  readonly 'no-config'?: boolean;
}

/** What a command works with in place of the paths that were named. */
export type LocalPaths = Pick<Mounted, 'paths' | 'shown' | 'changed'>;

/** @throws source-offline */
async function checkOnline(url: string, flags: RemoteFlags, env: Io['env']): Promise<void> {
  const refuse = (reason: string): DiagError =>
    diagError('source-offline', { url: withoutSecrets(url), reason }, { path: withoutSecrets(url) });
  if (flags.offline) throw refuse('--offline');
  if (env.CLIPPY_DIAG_OFFLINE !== undefined && !['', '0'].includes(env.CLIPPY_DIAG_OFFLINE))
    throw refuse('CLIPPY_DIAG_OFFLINE');
  if (flags['no-config'] === true) return;
  const found = await findConfig({
    cwd: process.cwd(),
    ...(flags.config === undefined ? {} : { file: flags.config }),
  });
  if ((found?.value as { offline?: unknown } | null | undefined)?.offline === true)
    throw refuse(`offline of ${found!.path}`);
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
  if (url === undefined) return use({ paths, shown: (value) => value, changed: async () => [] });
  await checkOnline(url, flags, env);
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
