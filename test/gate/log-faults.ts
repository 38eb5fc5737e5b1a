/** Logs with faults in eight formats, judged by every rule: the loops that the fast test and the long one share. */

import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { readGateEvidence } from '../../src/app/gate/evidence.ts';
import { type GateEvidence, judgeGate } from '../../src/app/gate/judge.ts';
import { PRESETS } from '../../src/app/gate/presets.ts';
import { type GateConfig, RULE_IDS } from '../../src/app/gate/resolve-config.ts';
import { STATISTICS, type Statistic } from '../../src/app/gate/thresholds.ts';
import { DiagError } from '../../src/model/errors.ts';
import type { GateResult } from '../../src/model/gate.ts';
import { LOG_CONTROLS, LOG_FAULTS, type LogFile } from '../support/log-faults.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { TRAINING_LOGS } from '../support/training-logs.ts';

/** A statistic of a series that is in every log, and a limit that it keeps. */
const LIMITS: Readonly<Record<Statistic, string>> = {
  ...(Object.fromEntries(STATISTICS.map((name) => [name, '< 1e9'])) as Record<Statistic, string>),
  first: '> -1',
  min: '>= -1',
  count: '>= 1',
};
/** Every rule there is: each kind of finding, each class of verdict, each statistic. */
export const RULES: readonly string[] = [
  ...RULE_IDS,
  ...STATISTICS.map((name) => `${name}(loss) ${LIMITS[name]}`),
];
/** What is reported of a log in which nothing is wrong, by the control: these rules fail, and rightly. */
export const REPORTED: Readonly<Record<string, readonly string[]>> = {
  'norms of infinity, of a loss scaler': ['non-finite-gradient-norm'],
  'a run that was resumed at its level': ['repeated-or-lost-steps'],
};
/**
 * A policy of rules that are left out where there is nothing that they look at (no AUC, no checkpoint): what makes one of
 * them pass is no hole in the log. One that always looks stands beside them, since a policy of which all is left out passes nothing.
 */
export const skipping = (rules: Readonly<Record<string, string>>): object => ({
  'count(loss) >= 1': 'error',
  ...Object.fromEntries(
    Object.entries(rules).map(([rule, severity]) => [rule, [severity, { missing: 'skip' }]]),
  ),
});

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
  ...RULES.map((rule): [string, GateConfig] => [
    rule,
    gateConfigFrom({
      version: 1,
      ...(alone ? {} : { extends: 'recommended' }),
      rules: skipping({ [rule]: 'error' }),
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
      const mayPass = control ? RULES.filter((rule) => REPORTED[name]?.includes(rule) !== true) : RULES;
      for (let k = 0; k < 10; k++, done++) {
        const severity = pick(['error', 'warning', 'note']);
        const rules = Object.fromEntries(
          Array.from({ length: 1 + Math.floor(next() * 3) }, () => [pick(mayPass), severity]),
        );
        const alone = control || LOG_FAULTS[name]!.lost ? next() < 0.5 : false;
        const policy = {
          // A rule of the flags is an error; a file may only make one of recommended stricter here.
          // What else a preset forbids (repeated steps) is no fault.
          ...(alone ? {} : { extends: control ? 'recommended' : pick(Object.keys(PRESETS)) }),
          rules: skipping(
            alone ? rules : Object.fromEntries(Object.keys(rules).map((rule) => [rule, 'error'])),
          ),
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
