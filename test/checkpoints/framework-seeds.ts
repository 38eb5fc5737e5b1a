/** The files of Keras, TensorFlow, tfjs, ONNX and Flax that are cut and mutated. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../support/shared-data.ts';
import type { FuzzSeed } from './fuzz.ts';

const fixtures = join(projectRoot, 'fixtures/checkpoints');

const seedsOf = (folder: string, pattern: RegExp): FuzzSeed[] =>
  readdirSync(join(fixtures, folder))
    .filter((name) => pattern.test(name))
    .map((name) => ({
      name: `${folder}/${name}`,
      bytes: new Uint8Array(readFileSync(join(fixtures, folder, name))),
    }));

/** Where a seed lies: what lies beside it may be part of the checkpoint. */
export const seedPath = (seed: FuzzSeed): string => join(fixtures, seed.name);

export const hdf5Seeds = [...seedsOf('hdf5', /\.h5$/), ...seedsOf('keras2', /\.(h5|hdf5)$/)];
export const keras3Hdf5Seeds = seedsOf('keras3', /\.h5$/);
export const kerasSeeds = seedsOf('keras3', /\.keras$/);
export const tensorflowSeeds = [
  ...seedsOf('tensorflow', /\.index$/),
  ...seedsOf('tensorflow-keras2', /\.index$/),
];
export const tfjsSeeds = ['layers', 'quantised'].flatMap((name) => seedsOf(`tfjs/${name}`, /\.json$/));
export const onnxSeeds = seedsOf('onnx', /\.onnx$/);
export const flaxSeeds = seedsOf('flax', /\.msgpack$/);
