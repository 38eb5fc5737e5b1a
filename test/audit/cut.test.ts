import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { auditCapture } from '../../src/experiment/audit/audit.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('cut');

/** A safetensors file of float32 vectors. */
function safetensors(tensors: Readonly<Record<string, readonly number[]>>): Buffer {
  let at = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { length }]) => {
      const entry = { dtype: 'F32', shape: [length], data_offsets: [at, at + 4 * length] };
      at += 4 * length;
      return [name, entry];
    }),
  );
  const text = Buffer.from(JSON.stringify(header).padEnd(512));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, text, Buffer.from(Float32Array.from(Object.values(tensors).flat()).buffer)]);
}

/** Twelve steps of plain gradient descent; from the fifth on `gone` have no gradient, and `unreached` ask for one. */
async function linkOf(gone: readonly string[], unreached: readonly string[]) {
  const folder = join(scratch(), 'capture');
  await mkdir(folder, { recursive: true });
  const names = ['first', 'second', 'head'];
  const steps = Array.from({ length: 12 }, (_, step) => ({
    step,
    file: `step-${step}.safetensors`,
    loss: 1,
    learningRate: 0.1,
    ...(step < 4 ? {} : { unreached }),
  }));
  const manifest = {
    version: 3,
    framework: 'pytorch 2.15.0',
    optimizer: { name: 'sgd', learningRate: 0.1, weightDecay: 0, momentum: 0 },
    parameters: names.map((name) => ({ name, shape: [2] })),
    steps,
  };
  await writeFile(join(folder, 'capture.json'), JSON.stringify(manifest));
  const of = (prefix: string, which: readonly string[]) =>
    safetensors(Object.fromEntries(which.map((name) => [prefix + name, [1, 2]])));
  await writeFile(join(folder, 'initial.safetensors'), of('param/', names));
  for (const { step, file } of steps) {
    const reached = names.filter((name) => step < 4 || !gone.includes(name));
    await writeFile(join(folder, file), of('grad/', reached));
  }
  const { links } = await auditCapture(await openCapture(folder));
  return links.find(({ statement }) => statement.includes('from step 4 on'));
}

it('first layers that ask for a gradient and get none from a step on are cut off', async () => {
  const link = await linkOf(['first', 'second'], ['first', 'second']);
  expect(link).toMatchObject({ outcome: 'broken', cause: 'detached', step: 4, tensor: 'first' });
});

it('layers that ask for none, and one between others, may be meant', async () => {
  expect(await linkOf(['first', 'second'], [])).toMatchObject({ outcome: 'cannot-tell', cause: null });
  const between = await linkOf(['second'], ['second']);
  expect(between).toMatchObject({ outcome: 'cannot-tell', cause: null });
  expect(between?.statement).toContain('not used');
});
