/** The link `ranks`: whether the ranks of a distributed training work on data of their own. */
import type { AuditLink } from '../../../model/audit.ts';
import type { CaptureManifest, ManifestStep } from '../../../read/captures/manifest.ts';
import { broken, cannotTell, holds, notApplicable } from '../link.ts';

/** Steps in a row on which ranks must have the same batch: one may be drawn twice by chance from few rows. */
export const LEAST_STEPS = 4;

export function ranksLink(
  { run, world }: CaptureManifest['training'],
  steps: readonly Pick<ManifestStep, 'step' | 'record'>[],
): AuditLink {
  if (world === null)
    return notApplicable('ranks', run === null ? 'one rank was recorded' : 'the training ran on one rank');
  if (world.kind === 'tp')
    return notApplicable(
      'ranks',
      `the ${world.size} ranks of a tensor parallel training share their batches`,
    );
  const known = steps.filter(({ record }) => record.rankHashes.length === world.size);
  if (known.length < LEAST_STEPS)
    return cannotTell(
      'ranks',
      'the batches of the ranks were not recorded',
      'record(..., batch=...) on every rank',
    );
  const same = known.filter(({ record }) => new Set(record.rankHashes).size < world.size);
  if (same.length < known.length)
    return holds('ranks', known.length, `the ${world.size} ranks were given batches of their own`);
  return broken('ranks', {
    checks: known.length,
    broken: same.length,
    step: same[0]!.step,
    cause: 'same-data-on-ranks',
    confidence: 'shown',
    statement: `ranks were given the same batch in all ${known.length} recorded steps`,
    fix: 'give each rank its own part of the data: DistributedSampler, or split_dataset_by_node, with set_epoch at every epoch',
  });
}
