/** Hyperparameters that lie beside a log: hparams.json, config.yaml and the like, flattened with `.`. */
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { kindOfPath, namesIn, openFile } from '../bytes/source.ts';
import { parseSafeYaml } from '../bytes/yaml.ts';
import type { HyperparameterFile } from '../model/inspection.ts';
import type { Run } from '../model/run.ts';
import type { LogFormat } from './format.ts';
import { flatten, type Scalar } from './hyperparameters.ts';
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

const WANDB_OWN = '_wandb.';

/** Larger ones hold something else. */
const MAX_BYTES = 1 << 20;

/** A file of hyperparameters that was read, or that could not be: then all of it is passed over, and a note says why. */
export interface SidecarFile extends HyperparameterFile {
  readonly sha256: string | null;
}

export interface Sidecars {
  readonly files: readonly SidecarFile[];
  readonly hyperparameters: Run['hyperparameters'];
  /** What could not be read; a damaged sidecar is no reason to refuse its log. */
  readonly notes: readonly string[];
}

/** Reads the sidecars in the folder of a log. Later names of the list win where two hold the same key. */
export async function readSidecars(folder: string): Promise<Sidecars> {
  const found = new Map<string, Scalar>();
  const notes: string[] = [];
  const files: SidecarFile[] = [];
  // One look at the folder instead of one for each name. A folder that may not be listed may still hold them.
  const there = await namesIn(folder);
  for (const name of NAMES)
    for (const ending of ENDINGS) {
      if (there?.has(name + ending) === false) continue;
      const path = join(folder, name + ending);
      let file: { readonly bytes: number; readonly sha256: string | null } | undefined;
      const told = (problem: string | null): void => {
        if (problem !== null) notes.push(`${name}${ending} ${problem}`);
        if (file === undefined) return;
        const { bytes, sha256 } = file;
        const [records, passedOver] = problem === null ? [bytes, 0] : [0, bytes];
        const account = { bytes, records, overhead: 0, passedOver, lost: [] };
        files.push({ path, sha256, account, problem });
      };
      try {
        if ((await kindOfPath(path)) !== 'file') continue;
        const source = await openFile(path);
        let text: string;
        try {
          file = { bytes: source.byteLength, sha256: null };
          if (source.byteLength > MAX_BYTES) {
            told(`has ${source.byteLength} bytes, more than ${MAX_BYTES}; not read`);
            continue;
          }
          const bytes = Buffer.from(await source.slice(0, source.byteLength));
          file = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
          text = bytes.toString('utf8');
        } finally {
          await source.close();
        }
        if (ending === '.json') flatten(JSON.parse(text), '', found);
        else {
          const syntaxError = (reason: string, line: number | null): Error =>
            new Error(`${reason}${line === null ? '' : ` in line ${line}`}`);
          flatten(await parseSafeYaml(text, path, `${name}${ending}`, syntaxError), '', found);
        }
        told(null);
      } catch (error) {
        told(`could not be read: ${(error as Error).message.split('\n')[0]}`);
      }
    }
  // W&B stores { key: { value, desc } }, and things of its own beside them.
  const hyperparameters = new Map<string, Scalar>();
  for (const [key, value] of found)
    if (
      key !== 'wandb_version' &&
      !key.startsWith(WANDB_OWN) &&
      !(key.endsWith('.desc') && found.has(`${key.slice(0, -5)}.value`))
    )
      hyperparameters.set(key.replace(/\.value$/, ''), value);
  return { files, hyperparameters, notes };
}
