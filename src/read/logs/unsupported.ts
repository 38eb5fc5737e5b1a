import { WANDB_HEADER } from './wandb.ts';

/** What is recognised by its first bytes and not read: what it is, and what to export instead. */
export interface Unsupported {
  readonly format: string;
  readonly instead: string;
}

/** Descriptions of a checkpoint of orbax look like records of a log. */
const ORBAX: Unsupported = {
  format: 'part of an orbax checkpoint (JAX)',
  instead: 'give the folder that it lies in: its _METADATA names the arrays',
};
const ORBAX_KEY = /^\s*\{\s*"(item_handlers|array_metadatas)"\s*:/;

/** The one that a head shows, or undefined. */
export function unsupportedFormat(head: Buffer): Unsupported | undefined {
  if (head.toString('latin1', 0, 16) === 'SQLite format 3\0')
    return {
      format: 'a SQLite database (the newer MLflow store, Aim, Optuna)',
      instead:
        'export the metrics: `mlflow experiments csv -x ID`, or SELECT key, step, value FROM metrics as CSV',
    };
  if (
    head.toString('latin1', 0, 4) === ':W&B' &&
    !WANDB_HEADER.subarray(0, head.length).equals(head.subarray(0, WANDB_HEADER.length))
  )
    return {
      format: 'a W&B transaction log (.wandb) of another version',
      instead:
        'export the history: run.scan_history() to JSON lines in Python, or "Export CSV" of a chart; `wandb sync` uploads an offline run first',
    };
  return ORBAX_KEY.test(head.toString('latin1', 0, 64)) ? ORBAX : undefined;
}
