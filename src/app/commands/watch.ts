import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { keepBlocksIn } from '../../model/column.ts';
import { diagError, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { isUrl, withoutSecrets } from '../../model/url.ts';
import { BlockFile } from '../../read/bytes/block-file.ts';
import { json } from '../../report/json.ts';
import { type CommandIo, command, makingOf } from '../cli/command.ts';
import { durationFlag } from '../cli/duration.ts';
import {
  configFlags,
  configPathOf,
  notifyByConfig,
  readingByConfig,
  thresholdsByFlags,
} from '../cli/gate-flags.ts';
import { nothingToTag, offlineBy, tagFlag } from '../cli/remote-paths.ts';
import { refusalOf, refuseInputs } from '../cli/report-files.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import type { AnalyzeOptions } from '../engine/analyze.ts';
import { ALERT_CLASSES, DEFAULT_ALERTS } from '../engine/watch-alerts.ts';
import { Delivery } from '../notify/delivery.ts';
import { sinkOf } from '../notify/metrics-sink.ts';
import { channelOf, NOTIFY_WORDS, SECRETS } from '../notify/settings.ts';
import { shell } from '../notify/shell.ts';
import { readState, refuseWatched, stateFileOf } from '../watch/alert-file.ts';
import { type Place, placeOfPath, placeOfUrl } from '../watch/place.ts';
import { WatchSession } from '../watch/session.ts';
import { watchingScreen } from '../watch/watching-screen.ts';

/** Seconds between two looks at a file, and at a URL: each asks a server. */
const INTERVAL = 2;
const INTERVAL_OF_URL = 30;

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
      description: 'a log, a folder whose logs are followed as they appear, or a URL; it need not exist yet',
    }),
  },
  flags: {
    ...logFlags,
    ...configFlags,
    interval: durationFlag({ description: 'time between two looks (default: 2 s, of a URL 30 s)', min: 1 }),
    stall: durationFlag({
      description: 'alert once no new record came for so long; a line that holds none does not count',
      min: 1,
      helpGroup: 'ALERT',
    }),
    'alert-on': Flags.option({
      description:
        'what is alerted (may be repeated; default: all but inconclusive, which is an incident that is still open)',
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
    notify: Flags.string({
      description: `send each alert, and another message when it is over: ${NOTIFY_WORDS.join(', ')} (may be repeated). Addresses and keys are read from ${Object.values(SECRETS).join(', ')}`,
      helpValue: 'CHANNEL',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup: 'ALERT',
    }),
    metrics: Flags.string({
      description:
        'write metrics of all runs after each look: FILE.prom for the textfile collector of Prometheus, or otlp for OTEL_EXPORTER_OTLP_ENDPOINT (may be repeated)',
      helpValue: 'FILE.prom|otlp',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup: 'ALERT',
    }),
    'on-alert': Flags.string({
      description:
        'run this in the shell for each alert, as --notify cmd:COMMAND; its values are in CLIPPY_DIAG_* of the environment',
      helpValue: 'COMMAND',
      helpGroup: 'ALERT',
    }),
    ...tagFlag,
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
    io.saveMemory?.();
    const { path } = args;
    const options = {
      ...readOptionsOf(flags, io, await readingByConfig(flags)),
      thresholds: await thresholdsByFlags(flags),
      ...makingOf(io),
    };
    const stateFile = flags.state ?? stateFileOf(path);
    const offline = await offlineBy(flags, io.env);
    const { delivery, sinks } = await receiversOf(flags, offline, io);
    const settings = await configPathOf(flags);
    const refused = await refusalOf(async () => {
      await refuseWatched(stateFile, path);
      const inputs = isUrl(path) ? settings : [path, ...settings];
      const files = (flags.metrics ?? []).filter((one) => one !== 'otlp');
      await refuseInputs([{ path: stateFile }, ...files.map((one) => ({ path: one }))], inputs);
    }, io);
    if (flags.tag && !isUrl(path)) throw nothingToTag();
    const place = await placeOf(path, options, offline, flags.tag, io);
    if (refused !== null) {
      await place.look().finally(() => place.close());
      throw refused;
    }
    const state = await readState(stateFile, io);
    const stop = new AbortController();
    let code: ExitCode = EXIT.done;
    const forgetSignals = io.onEnd((signalled) => {
      code = worstExitCode(code, signalled);
      stop.abort();
    });
    const draws = io.stdout.isTTY === true && io.env.TERM !== 'dumb' && !flags.json;
    const screen = draws ? watchingScreen(place.path, flags.ascii, io, () => stop.abort()) : undefined;
    // Alerts from before a restart appear again on the screen alone.
    const known = state.alerts.filter(({ raised }) => raised).at(-1);
    if (known !== undefined) screen?.told({ ...known, at: known.since });
    const session = new WatchSession({
      place,
      stateFile,
      state,
      alerts: {
        classes: flags['alert-on'] ?? DEFAULT_ALERTS,
        delayMs: flags['alert-after'] * 1000,
        clearMs: flags['clear-after'] * 1000,
      },
      stall: flags.stall,
      idleExit: flags['idle-exit'],
      exitOn: flags['exit-on'] ?? [],
      interval: flags.interval ?? (isUrl(path) ? INTERVAL_OF_URL : INTERVAL),
      json: flags.json,
      screen,
      delivery,
      sinks,
      stop: stop.signal,
      io,
    });
    const before = keepBlocksIn(new BlockFile((why) => void io.remark(inertName(why))));
    try {
      // A folder of many logs takes a while to be read.
      await screen?.saw(undefined, null, []);
      if (!flags.json && screen === undefined)
        await io.remark(`watching ${inertName(place.path)}; Ctrl-C ends it`);
      const end = await session.run();
      code = worstExitCode(code, end.code);
      await screen?.close();
      await session.flush();
      if (end.why !== undefined) await io.remark(end.why);
      if (flags.json || end.idle) {
        const last = await session.finish();
        if (end.idle) code = worstExitCode(code, last.code);
        if (flags.json) await io.print(json.render(last.report, terminalOptions(io.stdout, io.env, false)));
      }
    } finally {
      keepBlocksIn(before);
      forgetSignals();
      await screen?.close();
      await place.close();
    }
    return code;
  },
});

interface ReceiverFlags {
  readonly notify?: readonly string[] | undefined;
  readonly metrics?: readonly string[] | undefined;
  readonly 'on-alert'?: string | undefined;
}

/** Who gets alerts and metrics. @throws usage, notify-unset, notify-offline */
async function receiversOf(
  flags: ReceiverFlags & Parameters<typeof notifyByConfig>[0],
  offline: string | null,
  io: CommandIo,
) {
  const words = flags.notify ?? [];
  const config = words.length === 0 ? {} : await notifyByConfig(flags);
  const hook = flags['on-alert'];
  const channels = [
    ...(hook === undefined ? [] : [shell('--on-alert', hook, io)]),
    ...words.map((word) => channelOf(word, config, offline, io)),
  ];
  const { toolVersion } = makingOf(io);
  return {
    delivery: new Delivery(channels),
    sinks: (flags.metrics ?? []).map((word) => sinkOf(word, offline, toolVersion, io)),
  };
}

/** @throws source-offline, source-unsupported */
async function placeOf(
  path: string,
  options: AnalyzeOptions,
  offline: string | null,
  tags: boolean,
  io: CommandIo,
): Promise<Place> {
  if (!isUrl(path)) return placeOfPath(path, options);
  const url = withoutSecrets(path);
  if (offline !== null) throw diagError('source-offline', { url, reason: offline }, { path: url });
  return placeOfUrl(path, { ...options, tags }, io.env, (text) => io.remark(inertName(text)));
}
