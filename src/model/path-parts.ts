/** Folders and file of a path, as the machine that it is of writes it. */
import { sep } from 'node:path';

/**
 * The names between the separators. On Windows both kinds separate, as users type both; elsewhere a backslash is part of a name.
 *
 * @param separator that of the machine
 */
export const pathParts = (path: string, separator: string = sep): string[] =>
  path.split(separator === '\\' ? /[\\/]/ : '/');
