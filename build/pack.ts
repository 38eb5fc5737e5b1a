/** Packs what npm publishes: the files of package.json, with a manifest that has no script and no development dependency. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './stamp.ts';

/** A tarball as `npm publish` takes it. */
export interface Packed {
  /** Its path. */
  readonly file: string;
  /** Its size in bytes. */
  readonly size: number;
  /** Bytes of its files. */
  readonly unpackedSize: number;
  /** Paths of its files, with forward slashes, relative to the package. */
  readonly files: readonly string[];
  /** The package.json in it. */
  readonly manifest: Readonly<Record<string, unknown>>;
}

/** Runs npm and returns what it printed on standard output. npm is a script, so this works without a shell on Windows too. */
export function npm(args: readonly string[], cwd: string = root): string {
  const script = process.env.npm_execpath;
  const [program, first] = script === undefined ? ['npm', []] : [process.execPath, [script]];
  return execFileSync(program, [...first, ...args], {
    cwd,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Members of package.json that only a checkout needs. A script in a published manifest may be run where it is installed. */
const OF_THE_CHECKOUT = ['scripts', 'devDependencies'];

/** Documents that programs alone read: without blanks they take a fifth less. */
const isForPrograms = (file: string): boolean => file === 'oclif.manifest.json' || file.startsWith('schema/');

/**
 * Packs the build of this checkout. `npm run build` comes first.
 *
 * @param destination folder in which the tarball is put
 */
export function pack(destination: string): Packed {
  const work = mkdtempSync(join(tmpdir(), 'clippy-diag-pack-'));
  try {
    const whole = packed(root, work);
    execFileSync('tar', ['-xzf', whole.file], { cwd: work });
    const folder = join(work, 'package');
    const path = join(folder, 'package.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    for (const member of OF_THE_CHECKOUT) delete manifest[member];
    writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
    for (const file of whole.files.filter(isForPrograms)) {
      const text = readFileSync(join(folder, file), 'utf8');
      writeFileSync(join(folder, file), JSON.stringify(JSON.parse(text)));
    }
    return { ...packed(folder, destination), manifest };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function packed(folder: string, destination: string): Omit<Packed, 'manifest'> {
  const said = npm(['pack', '--json', '--ignore-scripts', '--pack-destination', destination], folder);
  const [one] = JSON.parse(said) as [
    { filename: string; size: number; unpackedSize: number; files: { path: string }[] },
  ];
  const { filename, size, unpackedSize, files } = one;
  return { file: join(destination, filename), size, unpackedSize, files: files.map(({ path }) => path) };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  console.log(pack(resolve(process.argv[2] ?? root)).file);
