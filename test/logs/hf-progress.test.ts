import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { analyze } from '../../src/index.ts';

test('what a trainer_state.json says of its progress is no setting of the run', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'trainer-state-'));
  try {
    const state = {
      best_metric: 0.4,
      best_global_step: 40,
      epoch: 2.5,
      global_step: 50,
      eval_steps: 20,
      is_hyper_param_search: false,
      is_local_process_zero: true,
      is_world_process_zero: true,
      log_history: Array.from({ length: 50 }, (_, i) => ({ step: i + 1, loss: 2 - i / 50 })),
      max_steps: 60,
      num_input_tokens_seen: 12,
      total_flos: 1e12,
      train_batch_size: 8,
    };
    await writeFile(join(folder, 'trainer_state.json'), JSON.stringify(state));
    const { runs } = await analyze([folder], { toolVersion: 'test', now: () => new Date(0) });
    expect(runs[0]!.hyperparameters).toEqual({ eval_steps: 20, max_steps: 60, train_batch_size: 8 });
  } finally {
    await rm(folder, { recursive: true });
  }
});
