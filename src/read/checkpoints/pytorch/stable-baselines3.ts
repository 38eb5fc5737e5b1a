/**
 * stable-baselines3: a zip archive of PyTorch archives (`policy.pth`, `policy.optimizer.pth`), whose names become
 * prefixes of the tensors' names; the optimizer's state is linked to the policy's parameters.
 *
 * Source: stable_baselines3/common/save_util.py, `save_to_zip_file`.
 */
import type { Extent } from '../../bytes/source.ts';
import { openZip, zipNames } from '../../bytes/zip.ts';
import type { CheckpointFormat } from '../format.ts';
import { looksLikeTorchLegacy, readTorchLegacy } from './pytorch-legacy.ts';
import { readTorchZip, torchCheckpoint } from './pytorch-zip.ts';

const MEMBER = /^[^/]+\.pth$/;

export const stableBaselines3: CheckpointFormat = {
  id: 'stable-baselines3',
  title: 'stable-baselines3',
  sniff: async (head, source) => (await zipNames(head, source)).some((name) => MEMBER.test(name)),
  open: async (source) => {
    const found = [];
    const others: Extent[] = [];
    for (const [name, member] of await openZip(source)) {
      if (!MEMBER.test(name)) {
        others.push(member.extent);
        continue;
      }
      const inner = member.source();
      const legacy = looksLikeTorchLegacy(await inner.slice(0, Math.min(64, inner.byteLength)));
      found.push(await (legacy ? readTorchLegacy : readTorchZip)(inner, `${name}/`));
    }
    return torchCheckpoint(source, stableBaselines3.id, found, others);
  },
};
