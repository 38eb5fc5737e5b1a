/** A thread that says which kernels of products it has. */
import { parentPort } from 'node:worker_threads';
import { productKernels } from '../../src/step/kernels/matrix-product.ts';
import { mayHaveWideVectors } from '../../src/step/kernels/wide-vectors.ts';

const { narrow, wide } = productKernels(false);
parentPort!.postMessage({
  compilesWide: mayHaveWideVectors(),
  columns: [narrow, wide].map((kernels) => kernels?.tileColumns ?? null),
});
