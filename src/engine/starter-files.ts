/** What `init` writes: a commented config, or the recorder of a framework. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

/** A config in which every member is shown; what is off by default is a comment. */
export const STARTER_CONFIG = `# Policy of \`clippy-diag gate\`. Docs: docs/gate.md. Take the # away where one stands before a member.
# yaml-language-server: $schema=./node_modules/clippy-diag/schema/config.schema.json
version: 1

# recommended: a run that ends diverged, dead or non-finite fails; one that came back is reported.
# Others: strict, recsys, llm. Several may be listed; later ones win.
extends: recommended

rules:
  # A finding (\`clippy-diag explain\` lists them): off, note, warning or error. Only error fails the gate.
  # This one with a budget: at most five spikes.
  loss-spike: [warning, { max: 5 }]
  # With a threshold of its own (\`clippy-diag explain drift\` lists them); analyze and watch take it too.
  #drift: [error, { driftRatio: 2 }]
  # A threshold: p50 p90 p95 p99 mean min max first last count nan, of a series or a role.
  #"last(loss) <= 0.2": error
  #"p95(grad_norm) < 5": warning
  # Judged from step 1000 on; without the metric the gate is inconclusive (error), or goes on (warn, skip).
  #"last(auc) >= 0.75": { severity: error, missing: error, from: 1000 }

# A run that has done fewer steps is not complete.
#expect: { steps: 20000 }

# Values of an accepted run (\`clippy-diag baseline update PATH\`); worse by more than the tolerance fails.
#baseline: { file: .clippy-diag-baseline.json, tolerance: { relative: 0.05 } }

# Seeds of one setting (names that differ in seed-3, seed=3): worst (default), median, mean or best.
#aggregate: worst

# Other rules for some runs.
#overrides: [{ runs: "nightly/**", rules: { loss-spike: off } }]
`;

export interface Recorder {
  /** Paths in the package's recorders/ folder. */
  readonly files: readonly string[];
  readonly instructions: string;
}

/** Recorders by framework. Docs: docs/recorders.md */
export const RECORDERS = {
  pytorch: {
    files: [
      'python/clippy_judge.py',
      'python/clippy_capture.py',
      'pytorch/clippy_recorder.py',
      'pytorch/clippy_curvature.py',
      'pytorch/closed_loop.py',
    ],
    instructions: `In the training loop, after backward() and before clipping and step():

    from clippy_recorder import ClippyRecorder

    recorder = ClippyRecorder(model, optimizer, "capture")
    ...
    loss.backward()
    recorder.record(step, loss, batch={"x": x})
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()

When the loss jumps, the folder "capture" holds the steps around it:

    clippy-diag replay capture

closed_loop.py trains on from a capture in your own model, under several clipping rules.`,
  },
  keras: {
    files: ['python/clippy_judge.py', 'python/clippy_capture.py', 'keras/clippy_recorder.py'],
    instructions: `In the training loop, which runs eagerly (loss and gradients may come from a tf.function):

    from clippy_recorder import ClippyRecorder

    recorder = ClippyRecorder(model, optimizer, "capture")
    ...
    recorder.record(step, loss, gradients)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))

When the loss jumps, the folder "capture" holds the steps around it:

    clippy-diag replay capture`,
  },
  tfjs: {
    files: ['tfjs/clippy-judge.js', 'tfjs/clippy-recorder.js'],
    instructions: `Before fit():

    import { clippyRecorder } from './clippy-recorder.js';

    const variables = model.trainableWeights.map((weight) => weight.read());
    clippyRecorder({ variables, optimizer: model.optimizer, folder: 'capture' }).attach();

When the loss jumps, the folder "capture" holds the steps around it:

    clippy-diag replay capture`,
  },
} as const satisfies Record<string, Recorder>;
export type Framework = keyof typeof RECORDERS;

/** The files of a recorder: name and content. They lie in the package beside the program. */
export function recorderFiles(framework: Framework): { readonly name: string; readonly text: string }[] {
  const root = dirname(createRequire(import.meta.url).resolve('clippy-diag/package.json'));
  return RECORDERS[framework].files.map((path) => ({
    name: basename(path),
    text: readFileSync(join(root, 'recorders', path), 'utf8'),
  }));
}
