/** Flags that several commands have, and what their values mean. */

import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError } from '../../model/errors.ts';
import type { TextLayout } from '../../model/layout.ts';
import { ROLES, type Role } from '../../model/run.ts';
import { LOG_FORMATS } from '../../read/logs/registry.ts';
import type { ConfigReading } from './gate-flags.ts';
import type { Io } from './io.ts';
import { knowing } from './known-values.ts';
import { offlineFlag } from './remote-paths.ts';

/** The paths of a command that reads whatever lies under them; its class sets `strict = false` to take several. */
export const pathArgs = {
  path: Args.string({
    required: true,
    description:
      'files, folders and URLs (https, hf, s3, gs, az, wandb, mlflow, tensorboard, ssh); - is standard input',
  }),
};

/** How logs are read. */
export const logFlags = {
  ...offlineFlag,
  format: knowing(
    Flags.string({
      description: `read inputs in this format whatever they look like (${Object.keys(LOG_FORMATS).join(', ')}, or a checkpoint format)`,
      helpValue: 'FORMAT',
      helpGroup: 'INPUT',
    }),
    () => Object.keys(LOG_FORMATS),
  ),
  map: knowing(
    Flags.string({
      description: `give a series a role whatever its name says, e.g. loss=train/nll; roles: ${ROLES.join(', ')}`,
      helpValue: 'ROLE=NAME',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup: 'INPUT',
    }),
    () => ROLES.map((role) => `${role}=`),
  ),
  pattern: Flags.string({
    description:
      'read lines of text by a regular expression whose named groups are series and axis, e.g. "it (?<step>\\d+) loss (?<loss>\\S+)"',
    helpValue: 'REGEXP',
    helpGroup: 'INPUT',
  }),
};

/**
 * The options of a reader from the values of {@link logFlags}, and of a config, which the flags outrank.
 *
 * @throws usage for an unknown role
 */
export function readOptionsOf(
  flags: {
    readonly format?: string | undefined;
    readonly map?: readonly string[] | undefined;
    readonly pattern?: string | undefined;
  },
  { stdin }: Pick<Io, 'stdin'>,
  config: ConfigReading = { roles: new Map(), layouts: [] },
): {
  roles: Map<string, Role>;
  mayLack: ReadonlySet<string>;
  layouts: readonly TextLayout[];
  stdin: Io['stdin'];
  format?: string;
  pattern?: string;
} {
  const roles = new Map<string, Role>(config.roles);
  for (const one of flags.map ?? []) {
    const equals = one.indexOf('=');
    const role = ROLES.find((known) => known === one.slice(0, equals));
    const name = one.slice(equals + 1);
    if (equals < 0 || name === '' || role === undefined)
      throw diagError('usage', {
        problem: `--map ${one} is not ROLE=NAME`,
        hint: `roles are ${ROLES.join(', ')}; the name is that of a series, as \`inspect\` shows it`,
      });
    roles.set(name, role);
  }
  const named = new Set((flags.map ?? []).map((one) => one.slice(one.indexOf('=') + 1)));
  return {
    roles,
    mayLack: new Set([...config.roles.keys()].filter((name) => !named.has(name))),
    layouts: config.layouts,
    stdin,
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.pattern === undefined ? {} : { pattern: flags.pattern }),
  };
}
