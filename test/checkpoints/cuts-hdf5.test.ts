/** Files in HDF5, of h5py and Keras 2, cut all over. A test file of its own, so that these long runs share the cores. */
import { describe, it } from 'vitest';
import { hdf5Seeds, seedPath } from './framework-seeds.ts';
import { cutEverywhere } from './fuzz.ts';

describe('cut files never pass for whole', () => {
  it.each([...hdf5Seeds])('$name', (seed) => cutEverywhere(seed, seedPath(seed)), 3_600_000);
});
