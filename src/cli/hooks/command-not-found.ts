import type { Hook } from '@oclif/core';
import { diagError } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { formatError } from '../error-text.ts';
import { writeErr } from '../output.ts';

/** An unknown command gets the nearest one named, on a terminal or not. */
const hook: Hook.CommandNotFound = async ({ config, id }) => {
  // oclif takes the words after an unknown command for subcommands and joins them by colons.
  const [command = id] = id.split(':');
  const known = config.commands.filter((c) => !c.hidden).map((c) => c.id);
  const error = diagError('unknown-command', { command, nearest: nearest(command, known) });
  process.exitCode = error.exitCode;
  await writeErr(formatError(error));
};
export default hook;
