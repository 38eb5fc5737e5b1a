/** A watch from its first look to its last: what each look finds reaches the screen, the alerts, the channels and the metrics. */
import { EXIT, type ExitCode } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { CommandIo } from '../cli/command.ts';
import { exitCodeOf } from '../engine/exit-code.ts';
import {
  type Alert,
  type AlertSettings,
  type AlertState,
  type Stall,
  updateAlerts,
} from '../engine/watch-alerts.ts';
import { NO_PACE, updatePace } from '../engine/watch-pace.ts';
import type { Delivery } from '../notify/delivery.ts';
import { headlineOf, messageOf } from '../notify/message.ts';
import { metricsOf, type Watched } from '../notify/metrics.ts';
import type { MetricsSink } from '../notify/metrics-sink.ts';
import { writeState } from './alert-file.ts';
import type { Place } from './place.ts';
import { watchLine } from './screen.ts';
import { growingOf, stallsOf, timesOfWriting, untilStall } from './stalls.ts';
import type { WatchingScreen } from './watching-screen.ts';

/** Reading may take this share of a processor: a log that takes four seconds to read is looked at every forty. */
const READING_SHARE = 0.1;
/**
 * A look of no more processor time than this, in milliseconds, is repeated so soon that an event is reported within {@link SOON}, and
 * later only by what the next look takes longer. It takes up to half a processor for that.
 */
const SHORT_LOOK = 6000;
/** An event may come right after a look began: it waits for the rest of this look, the pause and the whole next look. */
const SOON = 6000;

/** A timer may fire a moment early, and a run that is silent for a moment less does not stall yet. */
const MOMENT = 10;

/**
 * Milliseconds to wait after a look. An event right after its start is reported at the end of the next one.
 *
 * @param took milliseconds that the look took by the clock. On a busy machine most of them are waiting, which costs nobody anything
 * @param worked milliseconds of processor time that it took
 * @param interval the least, in milliseconds
 * @param stall milliseconds until the next run stalls
 */
function pauseAfter(took: number, worked: number, interval: number, stall: number): number {
  const calm = worked / READING_SHARE;
  const soon = worked <= SHORT_LOOK ? Math.max(worked, Math.min(SOON - 2 * took, stall + MOMENT)) : calm;
  return Math.max(interval, Math.min(calm, soon));
}

export interface SessionOptions {
  readonly place: Place;
  readonly stateFile: string;
  readonly state: AlertState;
  readonly alerts: AlertSettings;
  /** Seconds; undefined where stalls are not looked for, and where it never ends by itself. */
  readonly stall: number | undefined;
  readonly idleExit: number | undefined;
  readonly exitOn: readonly string[];
  /** Seconds between two looks. */
  readonly interval: number;
  readonly json: boolean;
  readonly screen: WatchingScreen | undefined;
  readonly delivery: Delivery;
  readonly sinks: readonly MetricsSink[];
  readonly stop: AbortSignal;
  readonly io: CommandIo;
}

export interface SessionEnd {
  readonly code: ExitCode;
  /** Whether it ended because nothing was written. */
  readonly idle: boolean;
  /** Why it ended, to be said. */
  readonly why?: string;
}

export class WatchSession {
  private report: Report | undefined;
  private paces = NO_PACE;
  private state: AlertState;
  private stalls: readonly Stall[] = [];
  private readonly raised = new Map<string, number>();
  private readonly began: number;
  /** Milliseconds: the last look that found something new. */
  private changed: number;
  /** Milliseconds: when the last look began. */
  private looked: number;

  constructor(private readonly options: SessionOptions) {
    this.state = options.state;
    this.began = options.io.now();
    this.changed = this.began;
    this.looked = this.began;
  }

  /** Looks until it is stopped or something ends it. @throws what makes the log unreadable */
  async run(): Promise<SessionEnd> {
    const { stop, io, screen, interval, exitOn, idleExit, stall } = this.options;
    while (!stop.aborted && io.unwrittenCode() === EXIT.done) {
      const [started, worked] = [io.now(), io.processorTime()];
      const now = await this.look(started);
      const fatal = this.report?.runs.find(({ verdict }) => exitOn.includes(verdict.class));
      if (fatal !== undefined)
        return {
          code: EXIT.gateFailed,
          idle: false,
          why: `ended by --exit-on ${fatal.verdict.class}: ${inertName(fatal.id)}`,
        };
      if (idleExit !== undefined && now - this.changed >= idleExit * 1000)
        return { code: EXIT.done, idle: true };
      const left =
        stall === undefined ? Number.POSITIVE_INFINITY : untilStall(this.paces, stall, this.began, now);
      const pause = pauseAfter(now - started, io.processorTime() - worked, interval * 1000, left);
      await (screen === undefined ? io.sleep(pause, stop) : screen.during(pause, stop));
    }
    return { code: EXIT.done, idle: false };
  }

  /** Sends what still waits, and makes the report that `analyze` makes. */
  async finish(): Promise<{ readonly report: Report; readonly code: ExitCode }> {
    const report = await this.options.place.finish();
    return { report, code: exitCodeOf(report) };
  }

  /** Tries once more to send what no server took. */
  async flush(): Promise<void> {
    await this.send(true);
  }

  private async look(started: number): Promise<number> {
    const { place, io, stall, alerts, screen, json } = this.options;
    const latest = await place.look();
    const now = io.now();
    if (latest !== undefined) {
      this.changed = now;
      const written = await timesOfWriting(latest);
      const times = { writtenAt: (run: RunReport) => written.get(run.id) ?? now, before: this.looked, now };
      this.paces = updatePace(this.paces, latest.runs, times);
      this.report = latest;
    }
    this.looked = started;
    const runs = this.report?.runs ?? [];
    // By the time when the reading began: what was written since then is not known yet.
    if (stall !== undefined) this.stalls = this.stallsNow(runs, stall, started);
    const growing = growingOf(this.paces, this.stalls);
    const next = updateAlerts(this.state, runs, alerts, now, this.stalls, growing);
    await this.remember(next.state, next.raised.length + next.ended.length > 0);
    await this.tell(next.raised, next.ended, now);
    await screen?.saw(this.report, this.paces.pace, this.stalls);
    if (latest !== undefined && screen === undefined && !json)
      await io.print(watchLine(latest, this.paces.pace, this.stalls));
    await this.measure(now);
    return now;
  }

  /** The runs that stopped. One that could not be read lately may have written: of it stays what was known. */
  private stallsNow(runs: readonly RunReport[], stall: number, now: number): readonly Stall[] {
    const { place } = this.options;
    if (place.fails?.() === true) return this.stalls;
    const isRead = ({ paths }: RunReport): boolean => !paths.some((path) => place.moves?.(path) === true);
    const read = runs.filter(isRead);
    const unread = new Set(runs.filter((run) => !isRead(run)).map(({ id }) => id));
    return [
      ...stallsOf(this.paces, read, place.path, stall, this.began, now),
      ...this.stalls.filter(({ run }) => unread.has(run)),
    ];
  }

  /** Remembered before it is sent: an alert that is sent twice after a crash is worse than a late one. */
  private async remember(state: AlertState, changed: boolean): Promise<void> {
    if (changed || state.alerts.length !== this.state.alerts.length)
      await writeState(this.options.stateFile, state);
    this.state = state;
  }

  private async tell(raised: readonly Alert[], ended: readonly Alert[], now: number): Promise<void> {
    const { place, screen, io, delivery } = this.options;
    const messages = [
      ...raised.map((alert) => messageOf('begin', alert, place.path, this.report)),
      ...ended.map((alert) => messageOf('end', alert, place.path, this.report)),
    ];
    for (const message of messages) {
      const { alert, event } = message;
      if (event === 'begin') this.raised.set(alert.class, (this.raised.get(alert.class) ?? 0) + 1);
      // On a screen it has a line of its own.
      if (screen === undefined)
        await io.remark(`${event === 'begin' ? 'alert: ' : ''}${headlineOf(message)}`);
      delivery.add(message);
      screen?.told({
        ...alert,
        message: event === 'end' ? `over: ${alert.message}` : alert.message,
        at: now,
      });
    }
    await this.send(false);
  }

  private async send(last: boolean): Promise<void> {
    const { screen, io, delivery } = this.options;
    const now = io.now();
    for (const { channel, reason, again, message } of await delivery.send(now, last)) {
      const words = `${channel} failed: ${inertName(reason)}${again ? '; sent again later' : ''}`;
      if (screen === undefined) await io.remark(words);
      else screen.told({ ...message.alert, message: `${message.alert.message} (${words})`, at: now });
    }
  }

  private async measure(now: number): Promise<void> {
    const { sinks, io } = this.options;
    if (sinks.length === 0) return;
    const watched: Watched = {
      report: this.report,
      paces: this.paces,
      stalls: this.stalls,
      raised: this.raised,
      now,
    };
    const families = metricsOf(watched);
    for (const sink of sinks) {
      const said = await sink.write(families, this.began, now);
      if (said !== undefined) await io.remark(said);
    }
  }
}
