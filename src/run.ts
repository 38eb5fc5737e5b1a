/**
 * The whole command line as one function: `run(argv, io)` does what `clippy-diag ARGV…` does and returns its exit
 * code. bin/run.js gives it the process, tests whatever they want to look at. Commands are loaded when they are called.
 */
import type { Command, CommandIo, Commands } from './app/cli/command.ts';
import type { Io } from './app/cli/io.ts';
import { outputTo } from './app/cli/output.ts';
import { EXIT, type ExitCode, worstExitCode } from './model/errors.ts';

export { processIo } from './app/cli/io.ts';

/** Every command by its id; a command of a topic has the topic before a colon. */
export const COMMANDS: Commands = {
  analyze: () => import('./app/commands/analyze.ts'),
  audit: () => import('./app/commands/audit.ts'),
  resume: () => import('./app/commands/resume.ts'),
  preflight: () => import('./app/commands/preflight.ts'),
  'baseline:show': () => import('./app/commands/baseline/show.ts'),
  'baseline:update': () => import('./app/commands/baseline/update.ts'),
  bisect: () => import('./app/commands/bisect.ts'),
  chart: () => import('./app/commands/chart.ts'),
  compare: () => import('./app/commands/compare.ts'),
  completion: () => import('./app/commands/completion.ts'),
  curvature: () => import('./app/commands/curvature.ts'),
  donate: () => import('./app/commands/donate.ts'),
  explain: () => import('./app/commands/explain.ts'),
  gate: () => import('./app/commands/gate.ts'),
  init: () => import('./app/commands/init.ts'),
  inspect: () => import('./app/commands/inspect.ts'),
  matrix: () => import('./app/commands/matrix.ts'),
  'matrix:merge': () => import('./app/commands/matrix/merge.ts'),
  'matrix:worker': () => import('./app/commands/matrix/worker.ts'),
  mcp: () => import('./app/commands/mcp.ts'),
  replay: () => import('./app/commands/replay.ts'),
  report: () => import('./app/commands/report.ts'),
  'strip-batches': () => import('./app/commands/strip-batches.ts'),
  teach: () => import('./app/commands/teach.ts'),
  watch: () => import('./app/commands/watch.ts'),
  who: () => import('./app/commands/who.ts'),
};

const commandOf = async (id: string): Promise<Command | undefined> =>
  Object.hasOwn(COMMANDS, id) ? (await COMMANDS[id]!()).default : undefined;

/** Runs a command line. Nothing is thrown: errors are reported as the program reports them. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const output = outputTo(io);
  let code: ExitCode;
  try {
    code = await dispatch(argv, { ...io, ...output, commands: COMMANDS });
  } catch (error) {
    const { tellError } = await import('./app/cli/command-error.ts');
    code = await tellError(error, argv, output, COMMANDS);
  }
  return worstExitCode(code, output.unwrittenCode());
}

async function dispatch(argv: readonly string[], io: CommandIo): Promise<ExitCode> {
  const [first = '', second = ''] = argv;
  // Answered before anything is loaded: scripts ask this often.
  if (first === '--version' || (argv.length === 1 && first === '-v')) {
    const { toolVersion } = await import('./app/cli/tool-version.ts');
    await io.print(
      `clippy-diag/${toolVersion()} ${process.platform}-${process.arch} node-${process.version}`,
    );
    return EXIT.done;
  }
  const words = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined);
  if (argv.length === 0 || first === 'help' || words.includes('--help')) {
    const { showHelp } = await import('./app/cli/help.ts');
    return showHelp(argv, commandOf, io);
  }
  const nested = `${first}:${second}`;
  const [id, rest] = Object.hasOwn(COMMANDS, nested) ? [nested, argv.slice(2)] : [first, argv.slice(1)];
  const command = await commandOf(id);
  if (command !== undefined) {
    const { parse } = await import('./app/cli/command.ts');
    const code = await command.run(await parse(command, rest), io);
    return code === EXIT.done && io.readerGone() && command.judges !== true ? EXIT.output : code;
  }
  // A path alone means `analyze`.
  const { isPath } = await import('./app/cli/is-path.ts');
  if (await isPath(first)) return dispatch(['analyze', ...argv], io);
  const { runOther } = await import('./app/cli/help.ts');
  return runOther(argv, commandOf, io);
}
