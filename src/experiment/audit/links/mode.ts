/** Whether the model is in training mode while it is trained. */

import type { AuditLink } from '../../../model/audit.ts';
import type { Capture } from '../../../read/captures/read.ts';
import { broken, cannotTell, holds, named, notApplicable } from '../link.ts';

/** Modules that act differently in training: torch.nn's and Keras's names. */
const ACTS = /^(?:Lazy)?(?:Sync)?(?:BatchNorm|InstanceNorm|.*Dropout|GaussianNoise|SpectralNormalization)/;

export function modeLink({ manifest, steps, buffers }: Capture): AuditLink {
  const { training } = manifest;
  const modes = new Map(training.modes ?? []);
  if (manifest.framework.startsWith('jax'))
    return notApplicable('mode', 'a model in JAX has no mode: the loss function says what dropout does');
  if (modes.size === 0 && steps.every(({ record }) => record.modes === null))
    return cannotTell('mode', 'the modes of the modules were not recorded', 'record with the Python package');
  const acting = new Map([...(training.modeModules ?? [])].filter(([, kind]) => ACTS.test(kind)));
  // A capture of version 2 names no classes; running statistics are those of a normalisation.
  const normalised = buffers.filter((name) => /running_(?:mean|var)$/.test(name));
  const names =
    acting.size > 0 ? [...acting.keys()] : normalised.map((name) => name.replace(/\.?running_\w+$/, ''));
  const evaluating: number[] = [];
  for (const { step, record } of steps) {
    for (const [name, mode] of record.modes ?? []) modes.set(name, mode);
    // A part that is kept in evaluation mode, such as a frozen BatchNorm, is meant; the whole model is not.
    if (modes.get('') !== false) continue;
    evaluating.push(step);
  }
  if (evaluating.length === 0)
    return holds('mode', steps.length, 'the model is in training mode at every step');
  const unique = [...new Set(names)];
  const some = unique.filter((name) => modes.get(name) !== true);
  if (some.length === 0)
    return holds(
      'mode',
      steps.length,
      'the model is in evaluation mode, and holds no module on which that acts',
    );
  const kinds = [...new Set(some.map((name) => acting.get(name) ?? 'BatchNorm'))].join(' and ');
  const [first] = evaluating as [number];
  const lasts = steps.filter(({ step }) => step >= first).length === evaluating.length;
  const when = lasts
    ? `from step ${first} on (${evaluating.length} of ${steps.length} recorded steps)`
    : `at ${evaluating.length} of ${steps.length} steps, first at step ${first}`;
  return broken('mode', {
    checks: steps.length,
    broken: evaluating.length,
    step: first,
    cause: 'eval-mode',
    confidence: 'shown',
    statement: `the model is in evaluation mode ${when}: ${kinds} (${named(some)}) acts as in evaluation`,
    fix: manifest.framework.startsWith('keras')
      ? 'call model(x, training=True) in the training step'
      : 'call model.train() before each training step, and after each evaluation',
  });
}
