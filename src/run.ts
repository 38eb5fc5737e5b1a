/**
 * The whole command line as one function: `run(argv, io)` does what `clippy-diag ARGV…` does and returns its exit
 * code. bin/run.js gives it the process, tests whatever they want to look at. Commands are loaded when they are called.
 */
import type { Command, CommandIo, Commands } from './cli/command.ts';
import type { Io } from './cli/io.ts';
import { outputTo } from './cli/output.ts';
import { EXIT, type ExitCode, worstExitCode } from './model/errors.ts';

export { processIo } from './cli/io.ts';

/** Every command by its id; a command of a topic has the topic before a colon. */
export const COMMANDS: Commands = {
  analyze: () => import('./commands/analyze.ts'),
  'baseline:show': () => import('./commands/baseline/show.ts'),
  'baseline:update': () => import('./commands/baseline/update.ts'),
  chart: () => import('./commands/chart.ts'),
  completion: () => import('./commands/completion.ts'),
  curvature: () => import('./commands/curvature.ts'),
  explain: () => import('./commands/explain.ts'),
  gate: () => import('./commands/gate.ts'),
  init: () => import('./commands/init.ts'),
  inspect: () => import('./commands/inspect.ts'),
  matrix: () => import('./commands/matrix.ts'),
  'matrix:merge': () => import('./commands/matrix/merge.ts'),
  'matrix:worker': () => import('./commands/matrix/worker.ts'),
  replay: () => import('./commands/replay.ts'),
  report: () => import('./commands/report.ts'),
  'strip-batches': () => import('./commands/strip-batches.ts'),
  watch: () => import('./commands/watch.ts'),
};

const commandOf = async (id: string): Promise<Command | undefined> =>
  Object.hasOwn(COMMANDS, id) ? (await COMMANDS[id]!()).default : undefined;

/** Runs a command line. Nothing is thrown: what goes wrong is told as the program tells it. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const output = outputTo(io);
  let code: ExitCode;
  try {
    code = await dispatch(argv, { ...io, ...output, commands: COMMANDS });
  } catch (error) {
    const { tellError } = await import('./cli/command-error.ts');
    code = await tellError(error, argv, output, COMMANDS);
  }
  return worstExitCode(code, output.unwrittenCode());
}

async function dispatch(argv: readonly string[], io: CommandIo): Promise<ExitCode> {
  const [first = '', second = ''] = argv;
  // Answered before anything is loaded: scripts ask this often.
  if (first === '--version' || (argv.length === 1 && first === '-v')) {
    const { toolVersion } = await import('./cli/tool-version.ts');
    await io.print(
      `clippy-diag/${toolVersion()} ${process.platform}-${process.arch} node-${process.version}`,
    );
    return EXIT.done;
  }
  const words = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined);
  if (argv.length === 0 || first === 'help' || words.includes('--help')) {
    const { showHelp } = await import('./cli/help.ts');
    return showHelp(argv, commandOf, io);
  }
  const nested = `${first}:${second}`;
  const [id, rest] = Object.hasOwn(COMMANDS, nested) ? [nested, argv.slice(2)] : [first, argv.slice(1)];
  const command = await commandOf(id);
  if (command !== undefined) {
    const { parse } = await import('./cli/command.ts');
    const code = await command.run(await parse(command, rest), io);
    return code === EXIT.done && io.readerGone() && command.judges !== true ? EXIT.output : code;
  }
  // A path alone means `analyze`.
  const { isPath } = await import('./cli/is-path.ts');
  if (await isPath(first)) return dispatch(['analyze', ...argv], io);
  const { runOther } = await import('./cli/help.ts');
  return runOther(argv, commandOf, io);
}
