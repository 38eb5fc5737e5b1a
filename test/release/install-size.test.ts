/** What an installation needs besides the package itself: the sources are read without another dependency. */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

/** Bytes of the 41 production packages of 0.2.0, by its lock. */
const BEFORE = 2_157_511;
/** By how many bytes they may grow. */
const MOST_MORE = 300_000;

interface Locked {
  readonly packages: Readonly<
    Record<string, { dev?: boolean; devOptional?: boolean; optional?: boolean; peer?: boolean }>
  >;
}
const { packages } = JSON.parse(readFileSync(join(projectRoot, 'package-lock.json'), 'utf8')) as Locked;
const production = Object.entries(packages).flatMap(([name, { dev, devOptional, optional, peer }]) =>
  name === '' || dev || devOptional || optional || peer ? [] : [join(projectRoot, name)],
);
const missing = production.filter((folder) => !existsSync(folder));

/** Bytes of the files of a package, without those of packages inside of it. */
const sizeOf = (folder: string): number =>
  readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? sum : sum + sizeOf(path);
    return entry.isFile() ? sum + lstatSync(path).size : sum;
  }, 0);

it.skipIf(missing.length > 0)(
  `the production dependencies are at most 300 kB larger than those of 0.2.0${missing.length > 0 ? ' (skipped: not all are installed)' : ''}`,
  () => {
    expect(production.length).toBeGreaterThan(0);
    expect(production.reduce((sum, folder) => sum + sizeOf(folder), 0)).toBeLessThanOrEqual(
      BEFORE + MOST_MORE,
    );
  },
);
