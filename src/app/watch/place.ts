/** What is watched: a path of this machine, or a URL that is fetched anew before each look. */
import { DiagError, type ErrorCode } from '../../model/errors.ts';
import type { Report } from '../../model/report.ts';
import { nothingToTag } from '../cli/remote-paths.ts';
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

export interface UrlOptions extends AnalyzeOptions {
  /** Whether the verdict on each run is written to the server. */
  readonly tags?: boolean;
}

/**
 * Watches a URL.
 *
 * @param remark says that the server does not answer, and that it does again; each once
 * @throws source-unsupported, output-unwritable; usage where `tags` is asked for and the server takes none
 */
export async function placeOfUrl(
  url: string,
  { tags = false, ...options }: UrlOptions,
  env: Readonly<Record<string, string | undefined>>,
  remark: (text: string) => Promise<void>,
): Promise<Place> {
  const { makeMirror } = await import('../../read/sources/mirror.ts');
  // A look is repeated by itself; the file is asked for again then.
  const mirror = await makeMirror(url, { env, retries: 1 });
  if (tags && !mirror.takesTags) {
    await mirror.close();
    throw nothingToTag();
  }
  const watcher = watchPath(mirror.path, options);
  /** Does what a server may refuse for a while: the refusal is reported once, and its end. @returns whether it succeeded */
  const trying = (what: string) => {
    let failing: string | undefined;
    return async (work: () => Promise<void>): Promise<boolean> => {
      try {
        await work();
        if (failing !== undefined) await remark(`${mirror.shown} is ${what} again`);
        failing = undefined;
      } catch (error) {
        if (!(error instanceof DiagError) || !PASSING.includes(error.code)) throw mirror.rename(error);
        const said = mirror.rename(error) as DiagError;
        if (failing !== said.code) await remark(`${said.message}; asked again at each look`);
        failing = said.code;
      }
      return failing === undefined;
    };
  };
  const [read, write] = [trying('read'), trying('tagged')];
  let isRead = true;
  const refresh = async (): Promise<void> => {
    isRead = await read(mirror.refresh);
  };
  let latest: Report | undefined;
  const shown = async <T extends Report | undefined>(looking: Promise<T>): Promise<T> => {
    const report = await looking.catch((error: unknown) => {
      throw mirror.rename(error);
    });
    latest = report ?? latest;
    // Also of a look that found nothing new: the server may have refused the tag at the look before.
    if (tags)
      await write(async () => {
        for (const run of latest?.runs ?? []) await mirror.tag(run);
      });
    return mirror.rename(report);
  };
  return {
    path: mirror.shown,
    fails: () => !isRead,
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
