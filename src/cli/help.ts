/** Help, topics, and the commands of oclif's plugins: what needs oclif's whole configuration, and is loaded for that alone. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { type Command as Cached, Config, Errors, Help } from '@oclif/core';
import { type DiagError, diagError, EXIT, type ExitCode } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import type { Command, CommandIo } from './command.ts';
import { terminalOptions } from './terminal-options.ts';

type CommandOf = (id: string) => Promise<Command | undefined>;

/** There are no plugins of the user's; looking for them warns where the home folder cannot be read (containers). */
const configuration = (): Promise<Config> =>
  Config.load({
    root: dirname(createRequire(import.meta.url).resolve('clippy-diag/package.json')),
    userPlugins: false,
  });

/** What `--help`, `help COMMAND` and a topic alone print. */
export async function showHelp(
  argv: readonly string[],
  commandOf: CommandOf,
  io: CommandIo,
): Promise<ExitCode> {
  const config = await configuration();
  const lines: string[] = [];
  class Lines extends Help {
    override log(...args: string[]): void {
      lines.push(args.join(' '));
    }
    // The list of commands is that of the manifest, a command's own page is made from the command.
    override async showCommandHelp(cached: Cached.Loadable): Promise<void> {
      const command = await commandOf(cached.id);
      await super.showCommandHelp(
        command === undefined ? cached : ({ ...cached, ...command } as typeof cached),
      );
    }
  }
  const words = argv.filter((word, i) => !word.startsWith('-') && !(i === 0 && word === 'help'));
  const subject = subjectOf(config, words);
  if (words.length > 0 && subject === undefined) throw unknownCommand(config, words);
  const all = argv.includes('--nested-commands') || argv.includes('-n');
  const { colour } = terminalOptions(io.stdout, io.env, false);
  await new Lines(config, { all, stripAnsi: !colour }).showHelp(subject === undefined ? [] : [subject]);
  await io.print(lines.join('\n'));
  return EXIT.done;
}

/**
 * A command line that names none of our commands: a topic, a command of a plugin, or a mistake.
 *
 * @throws unknown-command, with the nearest one
 */
export async function runOther(
  argv: readonly string[],
  commandOf: CommandOf,
  io: CommandIo,
): Promise<ExitCode> {
  const config = await configuration();
  const subject = subjectOf(config, argv);
  if (subject === undefined) throw unknownCommand(config, argv);
  if (config.findCommand(subject) === undefined) return showHelp(argv, commandOf, io);
  try {
    // It prints where oclif prints: to the process.
    await config.runCommand(subject, argv.slice(subject.split(':').length));
    return EXIT.done;
  } catch (error) {
    if (error instanceof Errors.ExitError) return (error.oclif.exit ?? EXIT.done) as ExitCode;
    throw error;
  }
}

/** The command or topic that the first words name. */
function subjectOf(config: Config, [first = '', second = '']: readonly string[]): string | undefined {
  const command = [`${first}:${second}`, first].find((id) => config.findCommand(id) !== undefined);
  return command ?? (second === '' && config.findTopic(first) !== undefined ? first : undefined);
}

function unknownCommand(config: Config, [first = '', second = '']: readonly string[]): DiagError {
  const known = config.commands.filter(({ hidden }) => !hidden).map(({ id }) => id.replaceAll(':', ' '));
  const command = config.findTopic(first) === undefined || second === '' ? first : `${first} ${second}`;
  return diagError('unknown-command', { command, nearest: nearest(command, known) });
}
