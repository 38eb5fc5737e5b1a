/** Files of Keras 3, cut all over. A test file of its own, so that these long runs share the cores. */
import { describe, it } from 'vitest';
import { keras3Hdf5Seeds, kerasSeeds, seedPath } from './framework-seeds.ts';
import { cutEverywhere } from './fuzz.ts';

describe('cut files never pass for whole', () => {
  it.each([...keras3Hdf5Seeds, ...kerasSeeds])(
    '$name',
    (seed) => cutEverywhere(seed, seedPath(seed)),
    3_600_000,
  );
});
