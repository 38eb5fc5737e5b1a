/** Side files of trainers that are neither logs nor checkpoints: a folder scan skips them and says why. */
import { basename } from 'node:path';
import { wandbOwnFile } from './wandb-folder.ts';

/** Why a file or folder is passed over, by its name and what stands beside it or in it. */
interface Companion {
  readonly id: string;
  /** @param beside the names in its folder */
  file?(path: string, beside: ReadonlySet<string>): string | undefined;
}

/** `backup/training_metadata.json` beside `latest.weights.h5`: where `fit` would go on. */
const kerasBackup: Companion = {
  id: 'keras-backup',
  file: (path, beside) =>
    basename(path) === 'training_metadata.json' && beside.has('latest.weights.h5')
      ? 'the epoch at which BackupAndRestore of Keras would go on'
      : undefined,
};

/** Beside each model that a Trainer saves, as a pickle of a class of its own. */
const trainerArguments: Companion = {
  id: 'trainer-arguments',
  file: (path) =>
    basename(path) === 'training_args.bin' ? 'the settings of a Trainer, without weights' : undefined,
};

const wandbOwn: Companion = { id: 'wandb-own', file: wandbOwnFile };

/** A new one is a line here. */
const COMPANIONS: readonly Companion[] = [kerasBackup, trainerArguments, wandbOwn];

/** The reason to pass over a file; undefined where there is none. */
export function companionFile(path: string, beside: ReadonlySet<string>): string | undefined {
  for (const { file } of COMPANIONS) {
    const reason = file?.(path, beside);
    if (reason !== undefined) return reason;
  }
  return undefined;
}
