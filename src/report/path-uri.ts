/** Paths of inputs as URIs. */
import { inertName } from '../model/inert-text.ts';

/**
 * A path as a relative or `file:` URI: every character that is not unreserved is escaped, so that no path reads as a
 * scheme, a host, a query or a fragment. Control characters and lone surrogates are shown as their code points.
 */
export function pathToUri(path: string): string {
  const parts = path.split(/[\\/]/);
  // A letter and a colon begin an absolute path of Windows, and no name of a folder there.
  const drive = /^[A-Za-z]:$/.test(parts[0]!) && parts.length > 1 ? `file:///${parts.shift()}/` : '';
  const escaped = parts.map((part) => encodeURIComponent(inertName(part))).join('/');
  if (drive !== '') return drive + escaped.replace(/^\/+/, '');
  return path.startsWith('/') ? `file://${escaped.replace(/^\/+/, '/')}` : escaped;
}
