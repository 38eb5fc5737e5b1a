/** A terminal that a watcher draws on: in place, by the keyboard where there is one, and left as it was found. */
import type { Report } from '../../model/report.ts';
import { renderBrief } from '../../report/brief.ts';
import type { CommandIo } from '../cli/command.ts';
import { rowsOf } from '../cli/page.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import type { Stall } from '../engine/watch-alerts.ts';
import { afterKeys, drawn, type WatchAlert, type WatchPace, watchScreen } from './screen.ts';

/** The other screen of a terminal, on which nothing scrolls away, without a cursor. */
const OPEN = '\u001b[?1049h\u001b[?25l';
const CLOSE = '\u001b[?25h\u001b[?1049l';
/** The age of the last record that is shown is wrong by no more than this. */
const REDRAW_MS = 1000;

export interface WatchingScreen {
  /** Draws what a look saw: the report so far, if there is one yet. */
  saw(report: Report | undefined, pace: WatchPace | null, stalls: readonly Stall[]): Promise<void>;
  /** Has an alert on the screen from the next drawing on. */
  told(alert: WatchAlert): void;
  /** Sleeps, and draws the screen anew now and then: time goes on. */
  during(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Gives the terminal back, with the last page on it. */
  close(): Promise<void>;
}

/** @param quit called when the keyboard asks to end */
export function watchingScreen(
  path: string,
  ascii: boolean,
  io: CommandIo,
  quit: () => void,
): WatchingScreen {
  let report: Report | undefined;
  let pace: WatchPace | null = null;
  let stalls: readonly Stall[] = [];
  let lastAlert: WatchAlert | null = null;
  let scroll = 0;
  let open = true;
  const options = () => terminalOptions(io.stdout, io.env, ascii);
  const current = () =>
    watchScreen(
      { path, report, pace, now: io.now(), stalls, lastAlert, scroll, keys: release !== undefined },
      io.stdout.rows ?? 24,
      options(),
    );
  const draw = async (): Promise<void> => {
    if (!open) return;
    const screen = current();
    scroll = Math.min(scroll, screen.scrollMost);
    await io.write(drawn(screen.lines));
  };
  const release = io.takeTerminal?.({ open: OPEN, close: CLOSE }, (typed) => {
    const after = afterKeys(typed, scroll, current());
    scroll = after.scroll;
    if (after.quit) quit();
    // A terminal that is gone says so by a signal.
    else draw().catch(() => {});
  });
  if (release === undefined) void io.write('\u001b[2J').catch(() => {});

  return {
    async saw(...seen) {
      [report, pace, stalls] = seen;
      await draw();
    },
    told(alert) {
      lastAlert = alert;
    },
    async during(milliseconds, signal) {
      for (let left = milliseconds; left > 0 && !signal.aborted; left -= REDRAW_MS) {
        await io.sleep(Math.min(left, REDRAW_MS), signal);
        if (!signal.aborted) await draw();
      }
    },
    async close() {
      if (!open) return;
      open = false;
      release?.();
      if (release === undefined) await io.write('\n').catch(() => {});
      else if (report !== undefined)
        await io.print(renderBrief(report, { ...options(), rows: rowsOf(io.stdout) })).catch(() => {});
    },
  };
}
