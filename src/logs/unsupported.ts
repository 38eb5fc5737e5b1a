/** Logs that are recognised by their first bytes and not read: what they are, and what to export instead. */
interface Unsupported {
  readonly format: string;
  readonly instead: string;
}

/** The one that a head shows, or undefined. */
export function unsupportedFormat(head: Buffer): Unsupported | undefined {
  if (head.toString('latin1', 0, 16) === 'SQLite format 3\0')
    return {
      format: 'a SQLite database (the newer MLflow store, Aim, Optuna)',
      instead:
        'export the metrics: `mlflow experiments csv -x ID`, or SELECT key, step, value FROM metrics as CSV',
    };
  // Header of a W&B datastore: ":W&B", the magic number 0xBEE1, version 0.
  if (head.toString('latin1', 0, 4) === ':W&B')
    return {
      format: 'a W&B transaction log (.wandb)',
      instead:
        'export the history: run.scan_history() to JSON lines in Python, or "Export CSV" of a chart; `wandb sync` uploads an offline run first',
    };
  return undefined;
}
