/** What the terminal can show, from the stream and the environment. */
import { PLAIN, type RenderOptions } from '../../report/format.ts';
import type { OutputStream } from './io.ts';

/**
 * Width: the terminal's, else COLUMNS, else that of files; between 40 and 300. Colour on a terminal only, NO_COLOR and
 * TERM=dumb turn it off, FORCE_COLOR on. ASCII when asked for, or when the locale is not UTF-8.
 */
export function terminalOptions(
  stream: Pick<OutputStream, 'isTTY' | 'columns'>,
  env: Readonly<Record<string, string | undefined>>,
  ascii: boolean,
): RenderOptions {
  const asked = Number.parseInt(env.COLUMNS ?? '', 10);
  const columns = stream.columns ?? (asked > 0 ? asked : PLAIN.width);
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  const forced = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== '';
  return {
    width: Math.min(300, Math.max(40, columns)),
    colour: !env.NO_COLOR && (forced || (stream.isTTY === true && env.TERM !== 'dumb')),
    ascii: ascii || (locale !== '' && stream.isTTY === true && !/utf-?8/i.test(locale)),
  };
}
