/** Side files of trainers that are neither logs nor checkpoints: a folder scan skips them and says why. */
import { basename } from 'node:path';
import { wandbOwnFile } from './wandb-folder.ts';

/** Why a file is skipped, by its name and the other names in its folder. */
interface Companion {
  readonly id: string;
  /** @param beside the names in its folder */
  file?(path: string, beside: ReadonlySet<string>): string | undefined;
}

/** `backup/training_metadata.json` next to `latest.weights.h5`: where `fit` would resume. */
const kerasBackup: Companion = {
  id: 'keras-backup',
  file: (path, beside) =>
    basename(path) === 'training_metadata.json' && beside.has('latest.weights.h5')
      ? 'the epoch at which BackupAndRestore of Keras would go on'
      : undefined,
};

/** A Trainer saves it with each model, as a pickle of its own class. */
const trainerArguments: Companion = {
  id: 'trainer-arguments',
  file: (path) =>
    basename(path) === 'training_args.bin' ? 'the settings of a Trainer, without weights' : undefined,
};

const wandbOwn: Companion = { id: 'wandb-own', file: wandbOwnFile };

/** A new companion is one line here. */
const COMPANIONS: readonly Companion[] = [kerasBackup, trainerArguments, wandbOwn];

/** The reason to skip a file; undefined where there is none. */
export function companionFile(path: string, beside: ReadonlySet<string>): string | undefined {
  for (const { file } of COMPANIONS) {
    const reason = file?.(path, beside);
    if (reason !== undefined) return reason;
  }
  return undefined;
}
