/** Hyperparameters that lie beside a log: hparams.json, config.yaml and the like, flattened with `.`. */
import { basename, join } from 'node:path';
import { kindOfPath, openFile } from '../bytes/source.ts';
import type { Run } from '../model/run.ts';
import type { LogFormat } from './format.ts';
import { LOG_FORMATS } from './registry.ts';

const NAMES = ['hparams', 'hyperparameters', 'config', 'args', 'params', 'train_args', 'training_args'];
const ENDINGS = ['.json', '.yaml', '.yml'];
/** Whether a file holds hyperparameters of a log: by its name, or by a format that knows where its own lie. */
export async function isSidecar(path: string): Promise<boolean> {
  if (NAMES.some((name) => ENDINGS.some((ending) => basename(path) === name + ending))) return true;
  for (const format of Object.values<LogFormat>(LOG_FORMATS))
    if (await format.isParameter?.(path)) return true;
  return false;
}

/** Larger ones hold something else. */
const MAX_BYTES = 1 << 20;
const MAX_ENTRIES = 2_000;

export interface Sidecars {
  readonly hyperparameters: Run['hyperparameters'];
  /** What could not be read; a damaged sidecar is no reason to refuse its log. */
  readonly notes: readonly string[];
}

type Scalar = string | number | boolean | null;

const flatten = (value: unknown, name: string, into: Map<string, Scalar>, depth: number): void => {
  if (into.size >= MAX_ENTRIES || depth > 20) return;
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) {
    if (name !== '') into.set(name, value as Scalar);
  } else if (Array.isArray(value)) {
    if (value.length <= 16 && value.every((one) => typeof one !== 'object'))
      into.set(name, JSON.stringify(value));
  } else if (typeof value === 'object')
    for (const [key, member] of value instanceof Map ? value : Object.entries(value as object))
      flatten(member, name === '' ? String(key) : `${name}.${String(key)}`, into, depth + 1);
};

/** Reads the sidecars in the folder of a log. Later names of the list win where two hold the same key. */
export async function readSidecars(folder: string): Promise<Sidecars> {
  const found = new Map<string, Scalar>();
  const notes: string[] = [];
  for (const name of NAMES)
    for (const ending of ENDINGS) {
      const path = join(folder, name + ending);
      try {
        if ((await kindOfPath(path)) !== 'file') continue;
        const source = await openFile(path);
        let text: string;
        try {
          if (source.byteLength > MAX_BYTES) {
            notes.push(`${name}${ending} has ${source.byteLength} bytes, more than ${MAX_BYTES}; not read`);
            continue;
          }
          text = Buffer.from(await source.slice(0, source.byteLength)).toString('utf8');
        } finally {
          await source.close();
        }
        if (ending === '.json') flatten(JSON.parse(text), '', found, 0);
        else {
          const { parse } = await import('yaml');
          flatten(parse(text, { maxAliasCount: 100, logLevel: 'silent', mapAsMap: true }), '', found, 0);
        }
      } catch (error) {
        notes.push(`${name}${ending} could not be read: ${(error as Error).message.split('\n')[0]}`);
      }
    }
  // W&B stores { key: { value, desc } }.
  const hyperparameters = new Map<string, Scalar>();
  for (const [key, value] of found)
    if (!(key.endsWith('.desc') && found.has(`${key.slice(0, -5)}.value`)))
      hyperparameters.set(key.replace(/\.value$/, ''), value);
  return { hyperparameters, notes };
}
