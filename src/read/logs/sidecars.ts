/** Hyperparameters in files next to a log: hparams.json, config.yaml and the like, flattened with `.`. */
import { basename, join } from 'node:path';
import { namesIn } from '../bytes/source.ts';
import { parseSafeYaml } from '../bytes/yaml.ts';
import type { LogFormat } from './format.ts';
import { flatten, readSidecarFile, type Scalar, type SidecarFile, type Sidecars } from './hyperparameters.ts';
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
      const file = await readSidecarFile(path, async (text) => {
        if (ending === '.json') return flatten(JSON.parse(text), '', found);
        const syntaxError = (reason: string, line: number | null): Error =>
          new Error(`${reason}${line === null ? '' : ` in line ${line}`}`);
        flatten(await parseSafeYaml(text, path, `${name}${ending}`, syntaxError), '', found);
      });
      if (file === undefined) continue;
      files.push(file);
      if (file.problem !== null) notes.push(`${name}${ending} ${file.problem}`);
    }
  // W&B stores { key: { value, desc } }, together with keys of its own.
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
