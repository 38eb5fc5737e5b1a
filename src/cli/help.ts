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
  const { out, err, code } = await collected(() =>
    config.runCommand(subject, argv.slice(subject.split(':').length)),
  );
  if (err !== '') await io.remark(err);
  if (out !== '') await io.write(out);
  return code;
}

/**
 * What a command of oclif prints, and its code. It prints to the process, where nobody would see that the device is
 * full: oclif throws out of the event loop then, which ends the process with 1.
 */
async function collected(
  work: () => Promise<unknown>,
): Promise<{ out: string; err: string; code: ExitCode }> {
  const written = { stdout: '', stderr: '' };
  const own = { stdout: process.stdout.write, stderr: process.stderr.write };
  // Its progress goes around what is replaced here; a standard error that is full or gone is no reason to fail.
  const ignore = (): void => {};
  process.stderr.on('error', ignore);
  for (const name of ['stdout', 'stderr'] as const)
    process[name].write = ((text: string | Uint8Array, ...rest: unknown[]) => {
      written[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      (rest.find((one) => typeof one === 'function') as (() => void) | undefined)?.();
      return true;
    }) as typeof process.stdout.write;
  let code: ExitCode = EXIT.done;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Errors.ExitError)) throw error;
    code = (error.oclif.exit ?? EXIT.done) as ExitCode;
  } finally {
    Object.assign(process.stdout, { write: own.stdout });
    Object.assign(process.stderr, { write: own.stderr });
    // Errors of streams are told in the next round of the event loop.
    await new Promise(setImmediate);
    process.stderr.off('error', ignore);
  }
  return { out: written.stdout, err: written.stderr, code };
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
