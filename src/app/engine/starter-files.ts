/** What `init` gives: a commented config, or a program that records, for a framework. */
import accelerate from './snippets/accelerate.py?raw';
import hf from './snippets/hf.py?raw';
import jax from './snippets/jax.py?raw';
import keras from './snippets/keras.py?raw';
import lightning from './snippets/lightning.py?raw';
import tfjs from './snippets/tfjs.mjs?raw';
import torch from './snippets/torch.py?raw';

/** A config in which every member is shown; what is off by default is a comment. */
export const STARTER_CONFIG = `# Policy of \`clippy-diag gate\`. Docs: docs/gate.md. Remove the # before a member to use it.
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

/**
 * Programs that train something small with a recorder, by framework: they run as they are printed, and what is yours to put in
 * is marked. Docs: docs/recorders.md
 */
export const SNIPPETS = { torch, hf, lightning, accelerate, keras, jax, tfjs } as const;

export type Framework = keyof typeof SNIPPETS;
/** Other names of frameworks. */
const ALIASES = { pytorch: 'torch' } as const satisfies Record<string, Framework>;

/** Every name that \`init --framework\` takes. */
export const FRAMEWORK_NAMES = [...Object.keys(SNIPPETS), ...Object.keys(ALIASES)] as readonly (
  | Framework
  | keyof typeof ALIASES
)[];

/** The program of a framework, by any of its names. */
export const snippetOf = (name: (typeof FRAMEWORK_NAMES)[number]): string =>
  SNIPPETS[name in ALIASES ? ALIASES[name as keyof typeof ALIASES] : (name as Framework)];
