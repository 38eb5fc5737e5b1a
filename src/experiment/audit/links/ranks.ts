/** The link `ranks`: whether the ranks of a distributed training hold the same weights, and work on data of their own. */
import type { AuditLink } from '../../../model/audit.ts';
import { counted } from '../../../model/format-number.ts';
import type { CaptureManifest, ManifestStep } from '../../../read/captures/manifest.ts';
import { broken, cannotTell, holds, named, notApplicable } from '../link.ts';

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
  const apart = replicasApart(steps, world.size);
  if (apart !== null) return apart;
  const replicas = steps.filter(({ record }) => record.rankWeights.length === world.size).length;
  const known = steps.filter(({ record }) => record.rankHashes.length === world.size);
  if (known.length < LEAST_STEPS)
    return cannotTell(
      'ranks',
      'the batches of the ranks were not recorded',
      'record(..., batch=...) on every rank',
    );
  const same = known.filter(({ record }) => new Set(record.rankHashes).size < world.size);
  if (same.length < known.length)
    return holds(
      'ranks',
      known.length + replicas,
      `the ${world.size} ranks were given batches of their own${replicas > 0 ? `, and held the same weights before ${counted(replicas, 'step')}` : ''}`,
    );
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

/** Replicas whose weights differ before a step: all of a data parallel training begin alike and take the same step. */
function replicasApart(
  steps: readonly Pick<ManifestStep, 'step' | 'record'>[],
  size: number,
): AuditLink | null {
  const known = steps.filter(({ record }) => record.rankWeights.length === size);
  const differing = known.filter(({ record }) => new Set(record.rankWeights.map(({ sum }) => sum)).size > 1);
  const [first] = differing;
  if (first === undefined) return null;
  const { rankWeights } = first.record;
  const like = ({ sum }: { readonly sum: string }): number =>
    rankWeights.filter((one) => one.sum === sum).length;
  // With the most replicas is right, of equally many the first: the others are named.
  const most = rankWeights.reduce((a, b) => (like(b) > like(a) ? b : a));
  const odd = rankWeights.flatMap(({ sum }, rank) => (sum === most.sum ? [] : [rank]));
  const tensors = odd.includes(0) ? most.apart : rankWeights[odd[0]!]!.apart;
  return broken('ranks', {
    checks: known.length,
    broken: differing.length,
    step: first.step,
    tensor: tensors[0] ?? null,
    cause: 'ranks-apart',
    confidence: 'shown',
    statement: `${odd.length > 1 ? 'ranks' : 'rank'} ${odd.join(', ')} held other weights of ${named(tensors)} than rank ${rankWeights.indexOf(most)} before step ${first.step}, and at ${differing.length} of ${counted(known.length, 'recorded step')} in all`,
    fix: 'let every rank begin from the same weights and take the same step: look for what one rank alone does (a load_state_dict(), a skipped step, a clip by its own norm, no_sync() left on) and broadcast the weights again',
  });
}
