import { createHash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { durationText } from '../../model/duration.ts';
import { diagError, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import type { Report, RunReport } from '../../model/report.ts';
import { targetOf, writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { makeFolder } from '../../read/bytes/folder.ts';
import { kindOfPath, readText, stampOf } from '../../read/bytes/source.ts';
import { json } from '../../report/json.ts';
import { type CommandIo, command, makingOf } from '../cli/command.ts';
import { durationFlag } from '../cli/duration.ts';
import { configFlags, configPathOf, readingByConfig, thresholdsByFlags } from '../cli/gate-flags.ts';
import { refusalOf, refuseInputs } from '../cli/report-files.ts';
import { runHook } from '../cli/run-hook.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { watchLine } from '../cli/watch-screen.ts';
import { watchingScreen } from '../cli/watching-screen.ts';
import { exitCodeOf } from '../engine/exit-code.ts';
import { watchPath } from '../engine/watch.ts';
import {
  ALERT_CLASSES,
  type Alert,
  type AlertState,
  alertStateSchema,
  NO_ALERTS,
  type Stall,
  updateAlerts,
} from '../engine/watch-alerts.ts';
import { NO_PACE, type PaceState, updatePace } from '../engine/watch-pace.ts';

/** Reading may take this share of the time: a log that takes a second to read is looked at every ten. */
const READING_SHARE = 0.1;

export default command({
  summary: 'Follow a run while it trains: chart, alerts, and an end when it diverges.',
  description:
    'Takes a log or a folder of them, which need not exist yet, and looks at it again and again, also over rotation, ' +
    'truncation and replacement. Ends by q, Ctrl-C, --exit-on (code 1) or --idle-exit; with --json it then prints what ' +
    '`analyze` prints. TIME is seconds, or has a unit: 90s, 10m, 2h.',
  examples: [
    '<%= config.bin %> <%= command.id %> train.jsonl',
    '<%= config.bin %> <%= command.id %> runs/a --stall 10m',
    '<%= config.bin %> <%= command.id %> train.jsonl --exit-on full-divergence --exit-on non-finite',
    `<%= config.bin %> <%= command.id %> train.jsonl --on-alert 'mail -s "$CLIPPY_DIAG_MESSAGE" me@example.org'`,
  ],
  judges: true,
  args: {
    path: Args.string({
      required: true,
      description: 'a log, or a folder whose logs are followed as they appear; it need not exist yet',
    }),
  },
  flags: {
    ...logFlags,
    ...configFlags,
    interval: durationFlag({ description: 'time between two looks', default: 2, min: 1 }),
    stall: durationFlag({
      description: 'alert once no new record came for so long; a line that holds none does not count',
      min: 1,
      helpGroup: 'ALERT',
    }),
    'alert-on': Flags.option({
      description:
        'what is alerted; inconclusive is an incident that is still open (may be repeated; default: all)',
      options: ALERT_CLASSES,
      helpValue: 'CLASS',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup: 'ALERT',
    })(),
    'alert-after': durationFlag({
      description: 'alert what has held for so long',
      default: 0,
      helpGroup: 'ALERT',
    }),
    'clear-after': durationFlag({
      description: 'forget an alert whose cause was absent for so long',
      default: 60,
      helpGroup: 'ALERT',
    }),
    'on-alert': Flags.string({
      description: 'run this in the shell for each alert; its values are in CLIPPY_DIAG_* of the environment',
      helpValue: 'COMMAND',
      helpGroup: 'ALERT',
    }),
    'exit-on': Flags.option({
      description: 'end with code 1 once a run is of this class (may be repeated)',
      options: ALERT_CLASSES.filter((name) => name !== 'inconclusive'),
      helpValue: 'CLASS',
      multiple: true,
      multipleNonGreedy: true,
    })(),
    'idle-exit': durationFlag({
      description: 'end once the log has not changed for so long',
      min: 1,
    }),
    state: Flags.string({
      description: 'where alerts that were raised are remembered (default: in .clippy-diag-cache/)',
      helpValue: 'FILE',
      helpGroup: 'ALERT',
    }),
    ascii: Flags.boolean({ description: 'draw charts with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const { path } = args;
    const options = {
      ...readOptionsOf(flags, io, await readingByConfig(flags)),
      thresholds: await thresholdsByFlags(flags),
      ...makingOf(io),
    };
    const stateFile =
      flags.state ??
      join(
        '.clippy-diag-cache',
        `watch-${createHash('sha256').update(resolve(path)).digest('hex').slice(0, 16)}.json`,
      );
    const settings = await configPathOf(flags);
    const refused = await refusalOf(async () => {
      // A log that is not there yet has no file to compare.
      if ((await targetOf(stateFile)) === (await targetOf(path)))
        throw diagError('output-is-input', { path: stateFile }, { path: stateFile });
      await refuseInputs([{ path: stateFile }], [path, ...settings]);
    }, io);
    const watcher = watchPath(path, options);
    if (refused !== null) {
      await watcher.look().finally(() => watcher.close());
      throw refused;
    }
    let state = await readState(stateFile, io);
    const stop = new AbortController();
    let code: ExitCode = EXIT.done;
    const forgetSignals = io.onEnd((signalled) => {
      code = worstExitCode(code, signalled);
      stop.abort();
    });
    const draws = io.stdout.isTTY === true && io.env.TERM !== 'dumb' && !flags.json;
    const screen = draws ? watchingScreen(path, flags.ascii, io, () => stop.abort()) : undefined;
    // What was told before a restart is told again on the screen alone.
    const known = state.alerts.filter(({ raised }) => raised).at(-1);
    if (known !== undefined) screen?.told({ ...known, at: known.since });
    let report: Report | undefined;
    let paces = NO_PACE;
    let ended = false;
    let why: string | undefined;
    const began = io.now();
    try {
      let changed = began;
      // A folder of many logs takes a while to be read.
      await screen?.saw(undefined, null, []);
      if (!flags.json && screen === undefined) await io.remark(`watching ${inertName(path)}; Ctrl-C ends it`);
      while (!stop.signal.aborted && io.unwrittenCode() === EXIT.done) {
        const started = io.now();
        const latest = await watcher.look();
        const now = io.now();
        if (latest !== undefined) {
          changed = now;
          const written = await timesOfWriting(latest);
          paces = updatePace(paces, latest.runs, (run) => written.get(run.id) ?? now, now);
          report = latest;
        }
        const { pace } = paces;
        const stalls =
          flags.stall === undefined ? [] : stallsOf(paces, report?.runs ?? [], path, flags.stall, began, now);
        const { state: next, raised } = updateAlerts(
          state,
          report?.runs ?? [],
          {
            classes: flags['alert-on'] ?? ALERT_CLASSES,
            delayMs: flags['alert-after'] * 1000,
            clearMs: flags['clear-after'] * 1000,
          },
          now,
          stalls,
        );
        // Remembered before it is told: an alert that is told twice after a crash is worse than a late one.
        if (raised.length > 0 || next.alerts.length !== state.alerts.length)
          await writeState(stateFile, next);
        state = next;
        for (const alert of raised) {
          const failed = await raise(alert, path, flags['on-alert'], screen !== undefined, io);
          screen?.told({
            ...alert,
            message: failed === undefined ? alert.message : `${alert.message} (${failed})`,
            at: now,
          });
        }
        await screen?.saw(report, pace, stalls);
        if (latest !== undefined && screen === undefined && !flags.json)
          await io.print(watchLine(latest, pace, stalls));
        const fatal = report?.runs.find((run) =>
          flags['exit-on']?.some((name) => name === run.verdict.class),
        );
        if (fatal !== undefined) {
          code = worstExitCode(code, EXIT.gateFailed);
          why = `ended by --exit-on ${fatal.verdict.class}: ${inertName(fatal.id)}`;
          break;
        }
        if (flags['idle-exit'] !== undefined && now - changed >= flags['idle-exit'] * 1000) {
          ended = true;
          break;
        }
        const pause = Math.max(flags.interval * 1000, (now - started) / READING_SHARE);
        await (screen === undefined ? io.sleep(pause, stop.signal) : screen.during(pause, stop.signal));
      }
      await screen?.close();
      if (why !== undefined) await io.remark(why);
      if (flags.json || ended) {
        const last = await watcher.finish();
        if (ended) code = worstExitCode(code, exitCodeOf(last));
        if (flags.json) await io.print(json.render(last, terminalOptions(io.stdout, io.env, false)));
      }
    } finally {
      forgetSignals();
      await screen?.close();
      await watcher.close();
    }
    return code;
  },
});
/**
 * Runs that stopped: each that wrote a record while it was watched and has not for so long, and where all are silent the one of the
 * newest record. A run that had ended before is not one of them.
 *
 * @param stall seconds
 */
function stallsOf(
  { pace, news }: PaceState,
  runs: readonly RunReport[],
  path: string,
  stall: number,
  began: number,
  now: number,
): readonly Stall[] {
  const silent = (at: number): boolean => now - at >= 1000 * stall;
  const since = (at: number): string => durationText(now - at);
  const stopped = runs.flatMap(({ id, stepUnit, attemptList }): Stall[] => {
    const last = news.get(id);
    if (last === undefined || !last.grew || !silent(last.at)) return [];
    return [{ run: id, stepUnit, step: attemptList.at(-1)?.lastStep ?? null, since: since(last.at) }];
  });
  const newest = pace?.at ?? began;
  if (!silent(newest) || stopped.some(({ run }) => run === pace?.run)) return stopped;
  const { run = path, stepUnit = 'step', step = null } = pace ?? {};
  return [{ run, stepUnit, step, since: since(newest) }, ...stopped];
}

/** When the files of each run were last written to, in milliseconds. */
async function timesOfWriting({ runs }: Report): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const { id, paths } of runs) {
    const stamps = await Promise.all(paths.map((path) => stampOf(path)));
    const modified = stamps.flatMap((stamp) => (stamp === undefined ? [] : [stamp.modified]));
    if (modified.length > 0) times.set(id, Math.max(...modified));
  }
  return times;
}

/** Tells an alert on standard error and runs the hook; returns what the screen is to say of a hook that failed. */
async function raise(
  alert: Alert,
  log: string,
  hook: string | undefined,
  draws: boolean,
  io: CommandIo,
): Promise<string | undefined> {
  // On a screen it has a line of its own.
  if (!draws) await io.remark(`alert: ${inertName(alert.run)}: ${inertName(alert.message)}`);
  if (hook === undefined) return undefined;
  const values = {
    ALERT: alert.class,
    LOG: log,
    RUN: alert.run,
    SERIES: alert.series,
    STEP: alert.from,
    MESSAGE: alert.message,
  };
  const reason = await runHook(hook, values, io);
  if (reason === undefined) return undefined;
  const remark = `--on-alert failed: ${inertName(reason)}`;
  if (!draws) await io.remark(remark);
  return remark;
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
