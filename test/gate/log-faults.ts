/** Logs with faults in eight formats, judged by every rule: the loops that the fast test and the long one share. */

import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { type GateConfig, gateConfigFrom } from '../../src/gate/config.ts';
import { readGateEvidence } from '../../src/gate/evidence.ts';
import { type GateEvidence, judgeGate } from '../../src/gate/judge.ts';
import { PRESETS } from '../../src/gate/presets.ts';
import { DiagError } from '../../src/model/errors.ts';
import type { GateResult } from '../../src/model/gate.ts';
import { LOG_CONTROLS, LOG_FAULTS, type LogFile } from '../support/log-faults.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { TRAINING_LOGS } from '../support/training-logs.ts';

/** Rules that hold on the healthy logs of training-logs.ts, in every format. */
export const LOG_RULES = [
  ...['non-finite-loss', 'missing-loss', 'full-divergence', 'non-finite', 'micro-divergence', 'drift'],
  ...['last(loss) < 1e9', 'max(loss) < 1e9', 'first(loss) > -1', 'min(loss) >= -1', 'mean(loss) < 1e9'],
  ...['p50(loss) < 1e9', 'p99(loss) < 1e9', 'count(loss) >= 1', 'nan(loss) <= 1e9', 'missing(loss) <= 1e9'],
  'refused(loss) <= 1e9',
];

/** Reads files as the gate does; null where nothing could be read, which is no pass. */
export async function evidenceOf(root: string, files: readonly LogFile[]): Promise<GateEvidence | null> {
  rmSync(root, { recursive: true, force: true });
  for (const { name, bytes } of files) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    utimesSync(path, 1e9, 1e9);
  }
  try {
    const read = await readGateEvidence([root], { toolVersion: '0', now: () => new Date(), settle: 0 });
    return { ...read, baseline: null };
  } catch (error) {
    if (error instanceof DiagError) return null;
    throw error;
  }
}

export const judged = (evidence: GateEvidence, file: object): GateResult =>
  judgeGate(evidence, gateConfigFrom({ version: 1, ...file }));

const policies = (alone: boolean): [string, GateConfig][] => [
  ...Object.keys(PRESETS).map((name): [string, GateConfig] => [
    name,
    gateConfigFrom({ version: 1, extends: name }),
  ]),
  ...LOG_RULES.map((rule): [string, GateConfig] => [
    rule,
    gateConfigFrom({
      version: 1,
      ...(alone ? {} : { extends: 'recommended' }),
      rules: { [rule]: 'error' },
    }),
  ]),
];
/** Every preset, and every rule alone or beside `recommended`; read once. */
const POLICIES = { alone: policies(true), added: policies(false) };

/** What passes of the policies that must not: every rule alone where something is lost, else beside `recommended`. */
export const falsePasses = (evidence: GateEvidence | null, lost: boolean): string[] =>
  evidence === null
    ? []
    : POLICIES[lost ? 'alone' : 'added']
        .filter(([, config]) => judgeGate(evidence, config).passed)
        .map(([name]) => name);

/**
 * Declares the test of so many combinations: a fault (or, one in ten, a control) in a format, at a random place, under a
 * random policy. Each log is judged under ten policies. `CLIPPY_DIAG_GATE_SEED` replays a sequence.
 */
export function combinations(count: number): void {
  const scratch = scratchFolders('log-combinations');
  test(`0 false passes and 0 false failures in ${count} seeded combinations`, async () => {
    const seed = Number(process.env.CLIPPY_DIAG_GATE_SEED ?? 20_261_126);
    const next = random(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
    const root = join(scratch(), 'in');
    const wrong: string[] = [];
    for (let done = 0; done < count; ) {
      const control = next() < 0.1;
      const name = pick(Object.keys(control ? LOG_CONTROLS : LOG_FAULTS));
      const [format, writer] = pick(Object.entries(TRAINING_LOGS));
      const place = { at: next(), size: next() };
      const files = (control ? LOG_CONTROLS[name]! : LOG_FAULTS[name]!.make)(writer, place);
      if (files === undefined) continue;
      const evidence = await evidenceOf(root, files);
      for (let k = 0; k < 10; k++, done++) {
        const severity = pick(['error', 'warning', 'note']);
        const rules = Object.fromEntries(
          Array.from({ length: 1 + Math.floor(next() * 3) }, () => [pick(LOG_RULES), severity]),
        );
        const alone = control || LOG_FAULTS[name]!.lost ? next() < 0.5 : false;
        const policy = {
          // A rule of the flags is an error; a file may only make one of recommended stricter here.
          // What else a preset forbids (repeated steps) is no fault.
          ...(alone ? {} : { extends: control ? 'recommended' : pick(Object.keys(PRESETS)) }),
          rules: alone ? rules : Object.fromEntries(Object.keys(rules).map((rule) => [rule, 'error'])),
          ...(next() < 0.3 ? { aggregate: pick(['worst', 'median', 'mean', 'best']) } : {}),
        };
        const passed = evidence !== null && judged(evidence, policy).passed;
        const expected = control && (alone || evidence !== null);
        if (passed !== expected)
          wrong.push(
            `${name}, ${format}, at ${place.at}, ${JSON.stringify(policy)}: ${passed ? 'passes' : 'fails'}`,
          );
      }
    }
    expect({ seed, wrong: wrong.slice(0, 20), of: wrong.length }).toEqual({ seed, wrong: [], of: 0 });
  });
}
