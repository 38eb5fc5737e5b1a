/** Every log format: a new one is a file in this folder, a line here, a fixture and a page in docs/formats. */
import { csv } from './csv.ts';
import type { LogFormat } from './format.ts';
import { hfTrainerState } from './hf-trainer-state.ts';
import { json } from './json-arrays.ts';
import { jsonl } from './jsonl.ts';
import { mlflow } from './mlflow.ts';
import { parquet } from './parquet.ts';
import { stdout } from './stdout.ts';
import { tfevents } from './tfevents.ts';
import { wandb } from './wandb.ts';

/** In the order in which they are asked. */
export const LOG_FORMATS = {
  tfevents,
  wandb,
  'hf-trainer-state': hfTrainerState,
  jsonl,
  json,
  mlflow,
  csv,
  parquet,
  stdout,
} as const satisfies Record<string, LogFormat>;
