/** Every log format: a new one is a file in this folder, a line here, a fixture and a page in docs/formats. */
import { csv } from './csv.ts';
import type { LogFormat } from './format.ts';
import { hfTrainerState } from './hf-trainer-state.ts';
import { jsonl } from './jsonl.ts';
import { tfevents } from './tfevents.ts';

/** In the order in which they are asked. */
export const LOG_FORMATS = {
  tfevents,
  'hf-trainer-state': hfTrainerState,
  jsonl,
  csv,
} as const satisfies Record<string, LogFormat>;
