import { createHash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { targetOf, writeFileAtomic } from '../bytes/atomic-write.ts';
import { makeFolder } from '../bytes/folder.ts';
import { kindOfPath, readText } from '../bytes/source.ts';
import { type CommandIo, command, makingOf } from '../cli/command.ts';
import { configFlags, configPathOf, thresholdsByFlags } from '../cli/gate-flags.ts';
import { refuseInputs } from '../cli/report-files.ts';
import { runHook } from '../cli/run-hook.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { watchLine, watchScreen } from '../cli/watch-screen.ts';
import { exitCodeOf } from '../engine/exit-code.ts';
import { watchLog } from '../engine/watch.ts';
import {
  ALERT_CLASSES,
  type Alert,
  type AlertState,
  alertStateSchema,
  NO_ALERTS,
  updateAlerts,
} from '../engine/watch-alerts.ts';
import { diagError, EXIT, type ExitCode, worstExitCode } from '../model/errors.ts';
import { inertName } from '../model/inert-text.ts';
import type { Report } from '../model/report.ts';
import { json } from '../reports/json.ts';

/** Reading may take this share of the time: a log that takes a second to read is looked at every ten. */
const READING_SHARE = 0.1;

export default command({
  summary: 'Follow a growing log: charts, alerts, and an end when the run diverges.',
  description:
    'Looks at the log again and again, also while it does not exist yet, and over rotation, truncation and ' +
    'replacement. Ends with --exit-on (code 1), --idle-exit, or Ctrl-C; with --json it then prints what `analyze` prints.',
  examples: [
    '<%= config.bin %> <%= command.id %> train.jsonl',
    '<%= config.bin %> <%= command.id %> train.jsonl --exit-on full-divergence --exit-on non-finite',
    `<%= config.bin %> <%= command.id %> train.jsonl --on-alert 'mail -s "$CLIPPY_DIAG_MESSAGE" me@example.org'`,
  ],
  judges: true,
  args: {
    log: Args.string({ required: true, description: 'the log; it need not exist yet' }),
  },
  flags: {
    ...logFlags,
    ...configFlags,
    interval: Flags.integer({ description: 'seconds between two looks', default: 2, min: 1 }),
    'alert-on': Flags.option({
      description:
        'what is alerted; inconclusive is an incident that is still open (may be repeated; default: all)',
      options: ALERT_CLASSES,
      multiple: true,
      multipleNonGreedy: true,
    })(),
    'alert-after': Flags.integer({
      description: 'alert what has held for so many seconds',
      default: 0,
      min: 0,
    }),
    'clear-after': Flags.integer({
      description: 'forget an alert whose cause was absent for so many seconds',
      default: 60,
      min: 0,
    }),
    'on-alert': Flags.string({
      description: 'run this in the shell for each alert; its values are in CLIPPY_DIAG_* of the environment',
      helpValue: 'CMD',
    }),
    'exit-on': Flags.option({
      description: 'end with code 1 once a run is of this class (may be repeated)',
      options: ALERT_CLASSES.filter((name) => name !== 'inconclusive'),
      multiple: true,
      multipleNonGreedy: true,
    })(),
    'idle-exit': Flags.integer({
      description: 'end once the log has not changed for so many seconds',
      min: 1,
    }),
    state: Flags.string({
      description: 'where alerts that were raised are remembered (default: in .clippy-diag-cache/)',
      helpValue: 'FILE',
    }),
    ascii: Flags.boolean({ description: 'draw charts with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const options = {
      ...readOptionsOf(flags, io),
      thresholds: await thresholdsByFlags(flags),
      ...makingOf(io),
    };
    const stateFile =
      flags.state ??
      join(
        '.clippy-diag-cache',
        `watch-${createHash('sha256').update(resolve(args.log)).digest('hex').slice(0, 16)}.json`,
      );
    // A log that is not there yet has no file to compare.
    if ((await targetOf(stateFile)) === (await targetOf(args.log)))
      throw diagError('output-is-input', { path: stateFile }, { path: stateFile });
    await refuseInputs([{ path: stateFile }], [args.log, ...(await configPathOf(flags))]);
    let state = await readState(stateFile, io);
    const told: string[] = [];
    const watcher = watchLog(args.log, options);
    const stop = new AbortController();
    let code: ExitCode = EXIT.done;
    const forgetSignals = io.onEnd((signalled) => {
      code = worstExitCode(code, signalled);
      stop.abort();
    });
    let runs: Report['runs'] = [];
    const draws = io.stdout.isTTY === true && !flags.json;
    let ended = false;
    try {
      let changed = io.now();
      if (!flags.json) await io.remark(`watching ${inertName(args.log)}; Ctrl-C ends it`);
      while (!stop.signal.aborted) {
        const started = io.now();
        const report = await watcher.look();
        const now = io.now();
        if (report !== undefined) changed = now;
        const latest = report ?? undefined;
        const { state: next, raised } = updateAlerts(
          state,
          latest?.runs ?? runs,
          {
            classes: flags['alert-on'] ?? ALERT_CLASSES,
            delayMs: flags['alert-after'] * 1000,
            clearMs: flags['clear-after'] * 1000,
          },
          now,
        );
        if (latest !== undefined) runs = latest.runs;
        // Remembered before it is told: an alert that is told twice after a crash is worse than a late one.
        if (raised.length > 0 || next.alerts.length !== state.alerts.length)
          await writeState(stateFile, next);
        state = next;
        for (const alert of raised) told.push(await raise(alert, args.log, flags['on-alert'], draws, io));
        if (latest !== undefined && draws) {
          const terminal = terminalOptions(io.stdout, io.env, flags.ascii);
          await io.write(watchScreen(latest, told, io.stdout.rows ?? 24, terminal));
        } else if (latest !== undefined && !flags.json) await io.print(watchLine(latest));
        const fatal = runs.find((run) => flags['exit-on']?.some((name) => name === run.verdict.class));
        if (fatal !== undefined) {
          code = worstExitCode(code, EXIT.gateFailed);
          await io.remark(`ended: ${inertName(fatal.id)} is ${fatal.verdict.class}`);
          break;
        }
        if (flags['idle-exit'] !== undefined && now - changed >= flags['idle-exit'] * 1000) {
          ended = true;
          break;
        }
        const pause = Math.max(flags.interval * 1000, (now - started) / READING_SHARE);
        await io.sleep(pause, stop.signal);
      }
      if (flags.json || ended) {
        const report = await watcher.finish();
        if (ended) code = worstExitCode(code, exitCodeOf(report));
        if (flags.json) await io.print(json.render(report, terminalOptions(io.stdout, io.env, false)));
      }
    } finally {
      forgetSignals();
      await watcher.close();
    }
    return code;
  },
});

/** Tells an alert on standard error and runs the hook; returns the line for the screen. */
async function raise(
  alert: Alert,
  log: string,
  hook: string | undefined,
  draws: boolean,
  io: CommandIo,
): Promise<string> {
  const line = `alert: ${inertName(alert.run)}: ${inertName(alert.message)}`;
  // On the screen it stands above the report.
  if (!draws) await io.remark(line);
  if (hook !== undefined) {
    const values = {
      ALERT: alert.class,
      LOG: log,
      RUN: alert.run,
      SERIES: alert.series,
      STEP: alert.from,
      MESSAGE: alert.message,
    };
    const failed = await runHook(hook, values, io);
    if (failed !== undefined) await io.remark(`--on-alert failed: ${inertName(failed)}`);
  }
  return line;
}

async function readState(path: string, io: CommandIo): Promise<AlertState> {
  if ((await kindOfPath(path)) === 'missing') return NO_ALERTS;
  try {
    return alertStateSchema.parse(JSON.parse(await readText(path)));
  } catch {
    await io.remark(`${inertName(path)} is no state of a watcher and will be written anew`);
    return NO_ALERTS;
  }
}

async function writeState(path: string, state: AlertState): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomic(path, `${JSON.stringify(state, null, 2)}\n`);
}
