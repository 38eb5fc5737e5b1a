import { createRequire } from 'node:module';

/** The version in package.json, found from the package's own root: the same from the sources and from the bundle. */
export const toolVersion = (): string =>
  (createRequire(import.meta.url)('clippy-diag/package.json') as { version: string }).version;
