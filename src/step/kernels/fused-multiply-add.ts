/**
 * Fused multiply-add of Relaxed SIMD (WebAssembly 3.0, f32x4.relaxed_madd): a · b + c, rounded once where the processor has
 * the instruction, and twice where it has not.
 */
import { setFlagsFromString } from 'node:v8';
import { assemble, I32, load, newMemory, op, store, vec, type WasmMemory } from './wasm-assembler.ts';

/** `not-in-node`: this Node does not compile it; `not-in-processor`: it rounds twice and is no faster. */
export type FusedMultiplyAdd = 'fused' | 'not-in-processor' | 'not-in-node';

let known: FusedMultiplyAdd | undefined;

/** What there is of it; asks once, and lets Node 20 compile it. */
export function fusedMultiplyAdd(): FusedMultiplyAdd {
  known ??= ask();
  return known;
}

/** a · b exceeds −c by less than a float32 next to it has room for: 0 after two roundings, 2⁻²⁴ after one. */
const [FACTOR, ADDEND] = [1 + 2 ** -12, -(1 + 2 ** -11)];

function ask(): FusedMultiplyAdd {
  const memory = newMemory(64);
  const numbers = new Float32Array(memory.buffer);
  numbers.fill(FACTOR, 0, 4).fill(ADDEND, 4, 8);
  const run = runOn(memory);
  if (run === null) return 'not-in-node';
  run();
  return numbers[8] === 0 ? 'not-in-processor' : 'fused';
}

function runOn(memory: WasmMemory): (() => void) | null {
  const pointer = 0;
  const functions = [
    {
      name: 'run',
      parameters: [],
      results: [],
      locals: [I32],
      body: store(pointer, op(vec.multiplyAdd, load(pointer), load(pointer), load(pointer, 16)), 32),
    },
  ];
  // Node has it from version 21 on, and before that behind a flag, which later ones do not know.
  for (const allow of [false, true])
    try {
      if (allow) setFlagsFromString('--experimental-wasm-relaxed-simd');
      return assemble<{ run(): void }>(functions, memory).run;
    } catch (error) {
      if ((error as Error).name !== 'CompileError') throw error;
    }
  return null;
}
