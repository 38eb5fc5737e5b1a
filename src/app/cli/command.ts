/**
 * What a command is: what oclif needs to parse and to explain it, and a function from what was parsed to an exit code.
 * oclif's own command class is not used: it prints, exits and writes JSON in its own ways (docs/adr/0003-command-line.md).
 */
import * as Flags from '@oclif/core/flags';
import type { ArgInput, FlagInput, InferredArgs, InferredFlags } from '@oclif/core/interfaces';
import { parse as parseWords } from '@oclif/core/parser';
import type { ExitCode } from '../../model/errors.ts';
import type { Io } from './io.ts';
import type { Output } from './output.ts';
import { toolVersion } from './tool-version.ts';

/** The commands by their ids; each is loaded when it is asked for. */
export type Commands = Readonly<Record<string, () => Promise<{ readonly default: Command }>>>;

/** What a command works with besides its flags. */
export type CommandIo = Io & Output & { readonly commands: Commands };

export interface Parsed<F extends FlagInput, A extends ArgInput> {
  readonly flags: InferredFlags<F> & { readonly json: boolean };
  readonly args: InferredArgs<A>;
  /** All arguments that are no flags, for a command that takes any number. */
  readonly argv: readonly string[];
}

interface Description<F extends FlagInput, A extends ArgInput> {
  /** One line in the list of commands. */
  readonly summary: string;
  readonly description?: string;
  /** `<%= config.bin %> <%= command.id %>` is replaced by the command. */
  readonly examples: string[];
  /** Whether it takes more arguments than `args` names. */
  readonly takesMany?: boolean;
  /** Whether its exit code is a verdict that holds although nobody read the report to its end. */
  readonly judges?: boolean;
  readonly args: A;
  readonly flags: F;
  run(parsed: Parsed<F, A>, io: CommandIo): Promise<ExitCode>;
}

/** A command in the form that oclif's parser, help and manifest read. */
export interface Command extends Omit<Description<FlagInput, ArgInput>, 'run'> {
  readonly strict: boolean;
  readonly usage: string;
  run(parsed: Parsed<never, never>, io: CommandIo): Promise<ExitCode>;
}

const json = Flags.boolean({
  description: 'print one JSON document to standard output instead of text',
  helpGroup: 'GLOBAL',
});

/** Describes a command; every one has `--json`. */
export function command<F extends FlagInput, A extends ArgInput>(description: Description<F, A>): Command {
  return {
    ...description,
    run: description.run as Command['run'],
    strict: description.takesMany !== true,
    // All flags are below it, by group.
    usage: `<%= command.id %>${Object.entries(description.args)
      .map(([name, arg]) => usageOf(name, arg, description.takesMany === true))
      .join('')} [FLAGS]`,
    args: named(
      // Arguments are never read from standard input: that is for what `-` names.
      Object.fromEntries(
        Object.entries(description.args).map(([name, arg]) => [name, { ...arg, ignoreStdin: true }]),
      ),
    ),
    flags: named({ ...description.flags, json }),
  };
}

const usageOf = (name: string, { required }: { readonly required?: boolean }, many: boolean): string => {
  const word = `${name.toUpperCase()}${many ? '...' : ''}`;
  return required === true ? ` ${word}` : ` [${word}]`;
};

/** oclif's help wants its name in each. */
const named = <T extends object>(members: Record<string, T>): Record<string, T & { name: string }> =>
  Object.fromEntries(Object.entries(members).map(([name, member]) => [name, { ...member, name }]));

/** What a report says of its making. */
export const makingOf = (io: Io): { toolVersion: string; now: () => Date } => ({
  toolVersion: toolVersion(),
  now: () => new Date(io.now()),
});

/**
 * Parses the words after a command as oclif does, but for the order of its arguments: oclif sorts them by where each word
 * comes first, so a word that is there twice (`--steps` of a command after `--`) is moved.
 *
 * @throws what oclif throws, which `tellError` makes a usage error of
 */
export async function parse(command: Command, argv: readonly string[]): Promise<Parsed<never, never>> {
  const { args, flags, strict } = command;
  const parsed = await parseWords([...argv], { args, flags, strict });
  const given = parsed.raw.filter(({ type }) => type === 'arg').map(({ input }) => input);
  const inOrder = { ...parsed, argv: given.length > 0 ? given : parsed.argv };
  return inOrder as unknown as Parsed<never, never>;
}
