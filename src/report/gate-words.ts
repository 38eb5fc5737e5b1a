import type { GateResult } from '../model/gate.ts';

/** What a gate says, by its exit code. */
export const GATE_WORDS: Readonly<Record<GateResult['exitCode'], string>> = {
  0: 'passed',
  1: 'failed',
  3: 'not judged: damaged input',
  4: 'inconclusive',
};
