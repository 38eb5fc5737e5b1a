/**
 * 256-bit instructions for pairs of 128-bit ones that lie side by side (V8's revectorization, on processors with AVX2). Each
 * lane is computed as before: what comes out is the same to the bit.
 *
 * V8 calls it experimental. So it is on only while a module of ours compiles, and who uses it compares what comes out first
 * (matrix-product.ts). An interrupt within a loop might save half of a register: modules compiled here ask for none, and it
 * comes once their function has returned.
 */
import { setFlagsFromString } from 'node:v8';
import { isMainThread } from 'node:worker_threads';
import { compileModule, type WasmModule } from './wasm-assembler.ts';

/** In Node 22 pairs stay what they are; a later Node than the last may not know a flag, and would print that. */
const NODES = [24, 26] as const;

/**
 * Whether this Node can make them here: in the main thread, since two threads that set flags would do so in the midst of what
 * the other compiles. Whether the processor has them is seen by their speed alone.
 */
export function mayHaveWideVectors(): boolean {
  const { variables } = process.config as { variables: { v8_enable_wasm_simd256_revec?: number } };
  const major = Number.parseInt(process.versions.node, 10);
  return (
    isMainThread &&
    process.arch === 'x64' &&
    variables.v8_enable_wasm_simd256_revec === 1 &&
    major >= NODES[0] &&
    major <= NODES[1] &&
    process.env.CLIPPY_DIAG_WIDE_VECTORS !== '0'
  );
}

const [REVECTORIZE, ...OPTIMIZE] = [
  ['--experimental-wasm-revectorize', '--no-experimental-wasm-revectorize'],
  ['--no-wasm-stack-checks', '--wasm-stack-checks'],
  // A whole module at once, by the compiler that knows of pairs.
  ['--no-liftoff', '--liftoff'],
  ['--no-wasm-lazy-compilation', '--wasm-lazy-compilation'],
  ['--no-wasm-dynamic-tiering', '--wasm-dynamic-tiering'],
] as const;

/** Compiles a module to its fastest code, with wide vectors or without; where {@link mayHaveWideVectors}. */
export function compileOptimized(bytes: Uint8Array, wide: boolean): WasmModule {
  const flags = wide ? [REVECTORIZE, ...OPTIMIZE] : OPTIMIZE;
  for (const [on] of flags) setFlagsFromString(on);
  try {
    return compileModule(bytes);
  } finally {
    for (const [, off] of flags) setFlagsFromString(off);
  }
}
