/** What is watched: a path of this machine, or a URL that is fetched anew before each look. */
import { DiagError, type ErrorCode } from '../../model/errors.ts';
import type { Report } from '../../model/report.ts';
import type { AnalyzeOptions } from '../engine/analyze.ts';
import { type Watcher, watchPath } from '../engine/watch.ts';

export interface Place extends Watcher {
  /** As it is shown. */
  readonly path: string;
  /** Whether the server of a URL did not answer at the last look: what is known is of the look before. */
  fails?(): boolean;
}

/** What may pass by itself: a training that has not begun, a network that comes back. */
const PASSING: readonly ErrorCode[] = [
  'source-unreachable',
  'source-incomplete',
  'source-changed',
  'source-missing',
];

export const placeOfPath = (path: string, options: AnalyzeOptions): Place => ({
  path,
  ...watchPath(path, options),
});

/**
 * Watches a URL.
 *
 * @param remark says that the server does not answer, and that it does again; each once
 * @throws source-unsupported, output-unwritable
 */
export async function placeOfUrl(
  url: string,
  options: AnalyzeOptions,
  env: Readonly<Record<string, string | undefined>>,
  remark: (text: string) => Promise<void>,
): Promise<Place> {
  const { makeMirror } = await import('../../read/sources/mirror.ts');
  // A look is repeated by itself; the file is asked for again then.
  const mirror = await makeMirror(url, { env, retries: 1 });
  const watcher = watchPath(mirror.path, options);
  let failing: string | undefined;
  const refresh = async (): Promise<void> => {
    try {
      await mirror.refresh();
      if (failing !== undefined) await remark(`${mirror.shown} is read again`);
      failing = undefined;
    } catch (error) {
      if (!(error instanceof DiagError) || !PASSING.includes(error.code)) throw mirror.rename(error);
      const said = mirror.rename(error) as DiagError;
      if (failing !== said.code) await remark(`${said.message}; asked again at each look`);
      failing = said.code;
    }
  };
  const shown = async <T extends Report | undefined>(report: Promise<T>): Promise<T> =>
    mirror.rename(
      await report.catch((error: unknown) => {
        throw mirror.rename(error);
      }),
    );
  return {
    path: mirror.shown,
    fails: () => failing !== undefined,
    look: async () => {
      await refresh();
      return shown(watcher.look());
    },
    finish: async () => {
      await refresh();
      return shown(watcher.finish());
    },
    close: async () => {
      await watcher.close();
      await mirror.close();
    },
  };
}
