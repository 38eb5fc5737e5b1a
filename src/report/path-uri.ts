/** Paths of inputs as URIs. */
import { inertName } from '../model/inert-text.ts';

/**
 * A path as a relative or `file:` URI: every character that is not unreserved is escaped, so that no path reads as a
 * scheme, a host, a query or a fragment. Control characters and lone surrogates are shown as their code points.
 */
export function pathToUri(path: string): string {
  const escaped = path
    .replace(/\\/g, '/')
    .split('/')
    .map((part) => encodeURIComponent(inertName(part)))
    .join('/');
  return path.startsWith('/') ? `file://${escaped.replace(/^\/+/, '/')}` : escaped;
}
