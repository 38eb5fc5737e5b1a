/** Seeded random vectors: the same seed gives the same vectors on every machine. */
export interface RandomVectors {
  /** Independent N(0, 1) entries. */
  gaussian(length: number): Float64Array;
  /** Independent entries ±1. */
  signs(length: number): Float64Array;
  /** Independent entries from [0, 1). */
  uniform(length: number): Float64Array;
}

/** @param seed any integer; seeds that differ modulo 2³² give independent streams */
export function randomVectors(seed: number): RandomVectors {
  const uniform = sfc32(seed);
  return {
    gaussian: (length) => {
      const x = new Float64Array(length);
      for (let i = 0; i < length; i += 2) {
        // Box–Muller; 1 − u is never 0.
        const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
        const angle = 2 * Math.PI * uniform();
        x[i] = radius * Math.cos(angle);
        if (i + 1 < length) x[i + 1] = radius * Math.sin(angle);
      }
      return x;
    },
    signs: (length) => Float64Array.from({ length }, () => (uniform() < 0.5 ? -1 : 1)),
    uniform: (length) => {
      const x = new Float64Array(length);
      for (let i = 0; i < length; i++) x[i] = uniform();
      return x;
    },
  };
}

/** Doty-Humphrey's sfc32 (PractRand), uniform in [0, 1). */
function sfc32(seed: number): () => number {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed | 0;
  let counter = 1;
  const next = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  for (let i = 0; i < 15; i++) next();
  return next;
}
