/** Flags of the commands that judge: the config, its rules and its thresholds. */

import * as Flags from '@oclif/core/flags';
import { readThresholdList } from '../../judge/findings/thresholds.ts';
import { diagError } from '../../model/errors.ts';
import type { Thresholds } from '../../model/finding.ts';
import type { TextLayout } from '../../model/layout.ts';
import { VERDICT_CLASSES } from '../../model/report.ts';
import type { Role, Run } from '../../model/run.ts';
import { findConfig, loadGateConfig } from '../gate/config-file.ts';
import type { ConfigFile } from '../gate/config-schema.ts';
import { thresholdsFor } from '../gate/for-run.ts';
import type { GateConfig } from '../gate/resolve-config.ts';
import { DEFAULT_SETTLE, type SettleOptions } from '../gate/settled.ts';
import type { Io } from './io.ts';
import { knowing } from './known-values.ts';

/** Where thresholds come from. */
export const configFlags = {
  config: Flags.string({
    description: 'use this config instead of the first .clippy-diag.yaml found upward',
    helpValue: 'FILE',
    helpGroup: 'POLICY',
    exclusive: ['no-config'],
  }),
  'no-config': Flags.boolean({
    description: 'look for no config, and judge by no preset',
    helpGroup: 'POLICY',
  }),
  threshold: knowing(
    Flags.string({
      description:
        'judge by this number instead of the default, e.g. drift.driftRatio=2; `explain` lists them (may be repeated)',
      helpValue: 'FINDING.NAME=N',
      helpGroup: 'POLICY',
      multiple: true,
      multipleNonGreedy: true,
    }),
    async () => {
      const { FINDINGS } = await import('../../judge/findings/registry.ts');
      return Object.values(FINDINGS).flatMap(({ id, thresholds }) =>
        thresholds.map(({ name }) => `${id}.${name}=`),
      );
    },
  ),
};

export const gateFlags = {
  ...configFlags,
  rule: knowing(
    Flags.string({
      description:
        'add a rule of severity error: a finding, a class of verdict, or a threshold like "last(loss) <= 0.2" (may be repeated)',
      helpValue: 'RULE',
      helpGroup: 'POLICY',
      multiple: true,
      multipleNonGreedy: true,
    }),
    async () => [
      ...new Set([
        'audit',
        ...VERDICT_CLASSES.filter((name) => name !== 'healthy'),
        ...Object.keys((await import('../../judge/findings/registry.ts')).FINDINGS),
      ]),
    ],
  ),
};

/** How long an input must have rested. */
export const settleFlag = {
  settle: Flags.integer({
    description:
      'seconds that must have passed since an input was last written to: the gate waits for them, and does not pass where it is written to meanwhile; 0 looks twice and does not wait',
    default: DEFAULT_SETTLE,
    min: 0,
    max: 3600,
    helpValue: 'SECONDS',
    helpGroup: 'INPUT',
  }),
};

/** How a gate waits. */
export const settleOf = (
  { settle }: { readonly settle: number },
  io: Pick<Io, 'sleep'>,
): Pick<SettleOptions, 'settle' | 'sleep'> => ({
  settle,
  sleep: (milliseconds) => io.sleep(milliseconds, new AbortController().signal),
});

interface ConfigFlags {
  readonly config?: string | undefined;
  readonly 'no-config': boolean;
  readonly threshold?: readonly string[] | undefined;
}

const optionsOf = (flags: ConfigFlags) => ({
  cwd: process.cwd(),
  ...(flags.config === undefined ? {} : { file: flags.config }),
  search: !flags['no-config'],
  thresholds: readFlags(flags.threshold ?? []),
});

/** The config that the flags ask for. */
export async function configOf(
  flags: ConfigFlags & { readonly rule?: readonly string[] | undefined },
): Promise<GateConfig> {
  return loadGateConfig({ ...optionsOf(flags), rules: flags.rule ?? [] });
}

/** Where the config of these flags lies, if there is one: no output replaces it. */
export async function configPathOf(flags: ConfigFlags): Promise<string[]> {
  const { thresholds: _, search, ...place } = optionsOf(flags);
  const found = search ? await findConfig(place) : null;
  return found === null ? [] : [found.path];
}

/** The thresholds of each run, by the config and the flags. */
export async function thresholdsByFlags(
  flags: ConfigFlags,
): Promise<(run: Pick<Run, 'id' | 'paths'>) => Thresholds> {
  const { thresholds, search, ...place } = optionsOf(flags);
  const found = search ? await findConfig(place) : null;
  if (found === null) return () => thresholds;
  // A config takes a library for schemas, which nobody without one is to wait for.
  const { configFrom } = await import('../gate/config.ts');
  const { atItsLine } = await import('../gate/config-line.ts');
  const config = await atItsLine(found.path, () => configFrom(found.path, found.value, [], thresholds));
  return (run) => thresholdsFor(run, config);
}

/** What a config says of how logs are read. */
export interface ConfigReading {
  readonly roles: ReadonlyMap<string, Role>;
  readonly layouts: readonly TextLayout[];
}

/** `notify` of the config: names of environment variables and templates, for the channels of `watch --notify`. */
export async function notifyByConfig(flags: ConfigFlags): Promise<NonNullable<ConfigFile['notify']>> {
  const { thresholds: _, search, ...place } = optionsOf(flags);
  const found = search ? await findConfig(place) : null;
  if (found === null) return {};
  const { parseConfig } = await import('../gate/config-schema.ts');
  const { atItsLine } = await import('../gate/config-line.ts');
  return (await atItsLine(found.path, () => parseConfig(found.value, found.path))).notify ?? {};
}

/** Roles and layouts of the config that the flags name. @throws what reading a config throws */
export async function readingByConfig(flags: ConfigFlags): Promise<ConfigReading> {
  const { thresholds: _, search, ...place } = optionsOf(flags);
  const found = search ? await findConfig(place) : null;
  if (found === null) return { roles: new Map(), layouts: [] };
  const { parseConfig } = await import('../gate/config-schema.ts');
  const { atItsLine } = await import('../gate/config-line.ts');
  const { map = {}, layouts = [] } = await atItsLine(found.path, () => parseConfig(found.value, found.path));
  const roles = new Map(
    Object.entries(map).flatMap(([role, names]) =>
      [names].flat().map((name) => [name, role as Role] as const),
    ),
  );
  return { roles, layouts: layouts as readonly TextLayout[] };
}

/** @throws usage, finding-unknown, threshold-unknown, threshold-range, threshold-conflict */
function readFlags(flags: readonly string[]): Thresholds {
  const given = flags.map((text) => {
    const match = /^([^.=]+)\.([^.=]+)=(.*)$/s.exec(text);
    if (match === null)
      throw diagError('usage', {
        problem: `--threshold ${text} is not FINDING.NAME=NUMBER`,
        hint: 'for example --threshold drift.driftRatio=2; `clippy-diag explain drift` lists the thresholds of drift',
      });
    const [, finding = '', name = '', number = ''] = match;
    // Number('') is 0 and Number('0x10') is 16: only decimal numbers are meant.
    const isDecimal = /^\s*[-+]?(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?\s*$/i.test(number);
    return { finding, name, value: isDecimal ? Number(number) : number };
  });
  return readThresholdList(given, { at: (finding, name) => `--threshold ${finding}.${name}` });
}
