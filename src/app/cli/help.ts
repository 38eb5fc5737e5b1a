/** Help and topics: what needs oclif's whole configuration, and is loaded for that alone. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { type Command as Cached, Config, Help } from '@oclif/core';
import { type DiagError, diagError, EXIT, type ExitCode } from '../../model/errors.ts';
import { nearest } from '../../model/nearest.ts';
import { wrap } from '../../report/wrap.ts';
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
    override async showRootHelp(): Promise<void> {
      lines.push(...rootHelp(config));
    }
    // The list of commands is that of the manifest, a command's own page is made from the command.
    override async showCommandHelp(cached: Cached.Loadable): Promise<void> {
      const command = await commandOf(cached.id);
      await super.showCommandHelp(
        command === undefined
          ? cached
          : ({ ...cached, ...command, flags: withValues(command.flags) } as typeof cached),
      );
    }
  }
  const words = argv.filter((word, i) => !word.startsWith('-') && !(i === 0 && word === 'help'));
  const subject = subjectOf(config, words);
  if (words.length > 0 && subject === undefined) throw unknownCommand(config, words);
  const all = argv.includes('--nested-commands') || argv.includes('-n');
  const { colour } = terminalOptions(io.stdout, io.env, false);
  await new Lines(config, {
    all,
    stripAnsi: !colour,
    flagSortOrder: 'none',
    hideCommandSummaryInDescription: true,
  }).showHelp(subject === undefined ? [] : [subject]);
  await io.print(lines.join('\n'));
  return EXIT.done;
}

/** Values of a flag that are shown in its place, in at most so many columns; longer lists are in its description. */
const TITLE_WIDTH = 28;

/** Flags with a closed set of values, as the help shows them. */
const withValues = (flags: Command['flags']): Command['flags'] =>
  Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => {
      if (flag.type !== 'option') return [name, flag];
      // An empty list is no default that anybody wants to read of.
      const {
        options,
        description = '',
        ...rest
      } = Array.isArray(flag.default) && flag.default.length === 0 ? { ...flag, default: undefined } : flag;
      if (options === undefined) return [name, { ...rest, description }];
      const inTitle = options.join('|');
      return [
        name,
        inTitle.length <= TITLE_WIDTH
          ? { ...rest, description, helpValue: inTitle }
          : {
              ...rest,
              description: `${description}: ${options.join(', ')}`,
              helpValue: flag.helpValue ?? name.toUpperCase(),
            },
      ];
    }),
  );

/** Commands by purpose; a test finds a command without a group. */
export const COMMAND_GROUPS: Readonly<Record<string, readonly string[]>> = {
  'A RUN': ['analyze', 'compare', 'bisect', 'watch', 'chart', 'inspect', 'teach', 'report'],
  'IN CI': ['gate', 'baseline update', 'baseline show'],
  'RECORDED STEPS': [
    'audit',
    'resume',
    'who',
    'preflight',
    'replay',
    'curvature',
    'matrix',
    'matrix merge',
    'matrix worker',
    'strip-batches',
    'donate',
  ],
  'HELP AND SETUP': ['explain', 'mcp', 'init', 'completion', 'help'],
};

/** Examples of the page without a command; a test runs them. */
export const ROOT_EXAMPLES = [
  'clippy-diag analyze runs/a',
  'clippy-diag watch runs/a --stall 10m',
  'clippy-diag gate runs/',
  'clippy-diag explain',
] as const;

/** What `--help` without a command prints. */
function rootHelp(config: Config): string[] {
  const summaries = new Map(
    config.commands.map(({ id, summary, description }) => [
      id.replaceAll(':', ' '),
      id === 'help'
        ? 'Show this page, or that of a command'
        : (summary ?? description ?? '').replace(/\.$/, ''),
    ]),
  );
  const width = Math.max(...[...summaries.keys()].map((id) => id.length));
  return [
    config.pjson.description ?? '',
    '',
    'USAGE',
    '  $ clippy-diag COMMAND [ARGUMENTS] [FLAGS]',
    '  $ clippy-diag PATH                           the same as analyze PATH',
    '',
    ...Object.entries(COMMAND_GROUPS).flatMap(([group, ids]) => [
      group,
      ...ids.flatMap((id) => hanging(id.padEnd(width + 2), summaries.get(id) ?? '')),
      '',
    ]),
    'EXAMPLES',
    ...ROOT_EXAMPLES.map((line) => `  $ ${line}`),
    '',
    '`clippy-diag COMMAND --help` shows the flags of a command, `clippy-diag explain` lists the docs.',
  ];
}

const HELP_WIDTH = 80;
const hanging = (name: string, text: string): string[] =>
  wrap(text, HELP_WIDTH - name.length, '').map((line, i) =>
    `  ${(i === 0 ? name : '').padEnd(name.length)}${line}`.trimEnd(),
  );

/**
 * A command line that names none of our commands: a topic, or a mistake.
 *
 * @throws unknown-command, with the nearest one
 */
export async function runOther(
  argv: readonly string[],
  commandOf: CommandOf,
  io: CommandIo,
): Promise<ExitCode> {
  const config = await configuration();
  if (subjectOf(config, argv) === undefined) throw unknownCommand(config, argv);
  return showHelp(argv, commandOf, io);
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
