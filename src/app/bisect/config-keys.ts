/** Keys in which two configurations differ, and a configuration with some of the bad ones. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { Cell } from '../../model/cell.ts';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import type { Dimension } from './dimension.ts';

type Config = Record<string, unknown>;
type KeyPath = readonly string[];

const EXTENSIONS = ['.json', '.yaml', '.yml'];
/** Names of configurations in the folder of a run, the likeliest first. */
const NAMES = ['config', 'hparams', 'hyperparameters', 'params', 'args', 'training_args'].flatMap((name) =>
  EXTENSIONS.map((extension) => name + extension),
);

/** @throws usage where a side names no configuration */
export async function configKeys(good: string, bad: string): Promise<Dimension> {
  const [goodFile, badFile] = [await fileOf(good), await fileOf(bad)];
  const [goodConfig, badConfig] = [await parsed(goodFile), await parsed(badFile)];
  const differences = differencesOf(goodConfig, badConfig, []);
  const extension = extname(goodFile);
  return {
    placeholder: 'config',
    ordered: false,
    changes: differences.map((path) => ({
      kind: 'config',
      name: path.join('.'),
      good: cellOf(at(goodConfig, path)),
      bad: cellOf(at(badConfig, path)),
    })),
    async write(chosen, folder) {
      const mixed = structuredClone(goodConfig);
      for (const k of chosen) put(mixed, differences[k]!, at(badConfig, differences[k]!));
      const path = join(folder, basename(goodFile));
      await writeFile(
        path,
        extension === '.json' ? `${JSON.stringify(mixed, null, 2)}\n` : (await yaml()).stringify(mixed),
      );
      return path;
    },
  };
}

// Bundled, a package in CommonJS has its default export alone.
const yaml = async () => (await import('yaml')).default;

async function fileOf(side: string): Promise<string> {
  if (!(await stat(side)).isDirectory()) return side;
  const there = new Set(await readdir(side));
  const name = NAMES.find((one) => there.has(one));
  if (name === undefined)
    throw diagError('usage', {
      problem: `${side} has no configuration (${NAMES.slice(0, 3).join(', ')}, …)`,
      hint: 'name the two configurations themselves with --good and --bad',
    });
  return join(side, name);
}

async function parsed(path: string): Promise<Config> {
  const text = await readFile(path, 'utf8');
  let found: unknown;
  try {
    found = extname(path) === '.json' ? JSON.parse(text) : (await yaml()).parse(text, { maxAliasCount: 100 });
  } catch {
    // Reported below.
  }
  if (isJsonObject(found)) return found;
  throw diagError('usage', {
    problem: `${path} is no configuration: a mapping in JSON or YAML is needed`,
    hint: 'name the two configurations with --good and --bad',
  });
}

/** Paths of what differs; mappings are entered, lists are one value. */
function differencesOf(good: Config, bad: Config, path: KeyPath): KeyPath[] {
  return [...new Set([...Object.keys(good), ...Object.keys(bad)])].flatMap((key) => {
    const [a, b] = [own(good, key), own(bad, key)];
    if (isJsonObject(a) && isJsonObject(b)) return differencesOf(a, b, [...path, key]);
    return JSON.stringify(a) === JSON.stringify(b) ? [] : [[...path, key]];
  });
}

/** Names come from files: one such as `__proto__` is a key like any other. */
const own = (config: Config, key: string): unknown => (Object.hasOwn(config, key) ? config[key] : undefined);

const at = (config: Config, path: KeyPath): unknown =>
  path.reduce<unknown>((found, key) => (isJsonObject(found) ? own(found, key) : undefined), config);

function put(config: Config, path: KeyPath, value: unknown): void {
  let inner = config;
  for (const key of path.slice(0, -1)) inner = own(inner, key) as Config;
  const key = path.at(-1)!;
  if (value === undefined) delete inner[key];
  else Object.defineProperty(inner, key, { value, enumerable: true, writable: true, configurable: true });
}

const cellOf = (value: unknown): Cell =>
  value === undefined || value === null
    ? null
    : ['string', 'number', 'boolean'].includes(typeof value)
      ? (value as Cell)
      : JSON.stringify(value);
