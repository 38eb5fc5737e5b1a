/** A look at a log that grew reads what was added, and says what a look at the whole file says. */
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Watcher, watchPath } from '../../src/app/engine/watch.ts';
import {
  ALERT_CLASSES,
  type AlertState,
  NO_ALERTS,
  updateAlerts,
} from '../../src/app/engine/watch-alerts.ts';
import { placeOfUrl } from '../../src/app/watch/place.ts';
import type { Report } from '../../src/model/report.ts';
import { isUrl } from '../../src/model/url.ts';
import { GrowingLog } from '../../src/read/logs/growing-log.ts';
import { FaultyServer } from '../support/http-server.ts';
import { random as randomOf } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('growing-log');
const options = { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') };
const { read, readOn } = GrowingLog.prototype;

afterEach(() => vi.restoreAllMocks());

/** What a watcher looks at while others stand in for the readings of what was added. */
async function looking(
  standIn: (real: typeof read) => typeof read,
  work: () => Promise<Report | undefined>,
): Promise<Report | undefined> {
  const spies = [
    vi.spyOn(GrowingLog.prototype, 'read').mockImplementation(standIn(read)),
    vi.spyOn(GrowingLog.prototype, 'readOn').mockImplementation(standIn(readOn)),
  ];
  const report = await work();
  for (const spy of spies) spy.mockRestore();
  return report;
}

/** A watcher that reads what was added, and one that reads everything at each look; how often the first did. */
async function both(path: string) {
  const watcher = async (): Promise<Pick<Watcher, 'look' | 'finish' | 'close'>> =>
    isUrl(path) ? placeOfUrl(path, options, {}, async () => {}) : watchPath(path, options);
  const [added, whole] = [await watcher(), await watcher()];
  let readOnly = 0;
  const alerts = [NO_ALERTS, NO_ALERTS];
  const messages: string[][] = [[], []];
  const tell = (k: 0 | 1, report: Report | undefined, now: number): void => {
    const settings = { classes: ALERT_CLASSES, delayMs: 0, clearMs: 60_000 };
    const next = updateAlerts(alerts[k] as AlertState, report?.runs ?? [], settings, now);
    alerts[k] = next.state;
    for (const { message } of next.raised) messages[k]!.push(`begin ${message}`);
    for (const { message } of next.ended) messages[k]!.push(`end ${message}`);
  };
  let now = 0;
  return {
    readOnly: () => readOnly,
    messages,
    async look(): Promise<readonly [Report | undefined, Report | undefined]> {
      now += 10_000;
      const one = await looking(
        (real) =>
          async function (this: GrowingLog, file) {
            const raw = await real.call(this, file);
            if (raw !== undefined) readOnly++;
            return raw;
          },
        () => added.look(),
      );
      const other = await looking(
        () => async () => undefined,
        () => whole.look(),
      );
      tell(0, one, now);
      tell(1, other, now);
      return [one, other];
    },
    finish: async () => [await added.finish(), await whole.finish()] as const,
    close: () => Promise.all([added.close(), whole.close()]),
  };
}

/** Verdict, findings, chart and all else of the runs and their files. */
const told = (report: Report | undefined) =>
  report && { runs: report.runs, inputs: report.inputs, skipped: report.skipped, warnings: report.warnings };

const HEAD = 1200;
const LOOKS = 14;
const draw = randomOf(20261201);
const evalEvery = 10;

/** Records of training with an evaluation now and then, text that is no record, and from step `bad` to `good` a loss that is far above. */
function records(from: number, to: number, bad = Infinity, good = Infinity): string {
  let text = '';
  for (let step = from; step < to; step++) {
    const isBad = step >= bad && step < good;
    const loss = (isBad ? 40 : 0.5) + 2 * Math.exp(-step / 60) + 0.02 * draw();
    text += `{"step": ${step}, "loss": ${loss}, "lr": 0.001, "note": "warm"}\n`;
    if (step % evalEvery === 0) text += `{"step": ${step}, "eval": {"loss": ${loss + 0.1}}}\n`;
    if (step % 97 === 0) text += 'a line of something else\n\n';
  }
  return text;
}

const ROTATIONS: Record<string, ((path: string) => void) | undefined> = {
  'that only grows': undefined,
  'that is moved away': (path) => renameSync(path, `${path}.1`),
  'that is copied and truncated': (path) => {
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
  },
  'that is truncated': (path) => truncateSync(path, 0),
  'that is overwritten by a longer one': (path) => writeFileSync(path, records(0, 2 * HEAD)),
};

let server: FaultyServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

describe.each(['file', 'folder', 'URL'])('a log of a watched %s', (kind) => {
  it.each(Object.entries(ROTATIONS))('%s', async (_, rotate) => {
    const folder = join(newFolder(), 'run');
    mkdirSync(folder);
    const path = join(folder, 'log.jsonl');
    writeFileSync(path, records(0, HEAD));
    if (kind === 'URL') server = await FaultyServer.start();
    const places = { file: path, folder, URL: `${server?.url}/log.jsonl` };
    const watch = await both(places[kind as keyof typeof places]);
    let step = HEAD;
    for (let look = 0; look < LOOKS; look++) {
      server?.files.clear();
      if (existsSync(path)) server?.files.set('/log.jsonl', { body: readFileSync(path) });
      const [one, other] = await watch.look();
      expect(told(one)).toEqual(told(other));
      if (look === LOOKS / 2) rotate?.(path);
      const more = look === LOOKS / 2 + 1 ? HEAD : 7 + Math.floor(20 * draw());
      appendFileSync(path, records(step, step + more, HEAD + 60, HEAD + 90));
      step += more;
    }
    expect(watch.messages[0]).toEqual(watch.messages[1]);
    expect(watch.messages[0]!.join('\n')).toMatch(/begin .*\nend /);
    expect(watch.readOnly()).toBeGreaterThanOrEqual(rotate === undefined ? LOOKS - 1 : LOOKS - 5);
    const asked = server?.requests.map(({ headers }) => headers.range) ?? ['bytes=1-'];
    expect(asked.filter((range) => range?.startsWith('bytes=')).length).toBeGreaterThan(0);
    const [end, wholeEnd] = await watch.finish();
    expect(told(end)).toEqual(told(wholeEnd));
    await watch.close();
  });
});

/** Rows of a table, with empty cells, cells over two lines and the header once more; the loss is far above for a while. */
function rows(from: number, to: number): string {
  let text = '';
  for (let step = from; step < to; step++) {
    const isBad = step >= HEAD + 60 && step < HEAD + 90;
    const loss = (isBad ? 40 : 0.5) + 2 * Math.exp(-step / 60) + 0.02 * draw();
    text += `${step},${loss},${step % 50 === 0 ? '' : 0.001},${step % 10 === 3 ? '"two\nlines"' : 'one line that is no part of what is judged'}\n`;
    if (step === HEAD + 50) text += HEADER;
  }
  return text;
}
const HEADER = 'step,loss,lr,note\n';

it.each(['file', 'folder'])('a table of a watched %s is read on, but for a row that is cut', async (kind) => {
  const folder = join(newFolder(), 'run');
  mkdirSync(folder);
  const path = join(folder, 'log.csv');
  writeFileSync(path, HEADER + rows(0, HEAD));
  const watch = await both(kind === 'file' ? path : folder);
  let waiting = '';
  for (let look = 0; look < LOOKS; look++) {
    const [one, other] = await watch.look();
    expect(told(one)).toEqual(told(other));
    const more = waiting + rows(HEAD + 20 * look, HEAD + 20 * look + 20);
    // A part of a row, and a cell that was opened.
    const written = look === 4 ? more.length - 9 : look === 6 ? more.indexOf('"two\n') + 5 : more.length;
    appendFileSync(path, more.slice(0, written));
    waiting = more.slice(written);
  }
  expect(watch.messages[0]).toEqual(watch.messages[1]);
  expect(watch.messages[0]!.join('\n')).toMatch(/begin .*\nend /);
  expect(watch.readOnly()).toBeGreaterThanOrEqual(LOOKS - 4);
  const [end, wholeEnd] = await watch.finish();
  expect(told(end)).toEqual(told(wholeEnd));
  await watch.close();
});

it('a look at a log of a folder reads what was added and where it goes on from, not what it is', async () => {
  const folder = newFolder();
  const path = join(folder, 'log.jsonl');
  writeFileSync(path, records(0, HEAD));
  const watcher = watchPath(folder, options);
  const handle = await open(path);
  const spy = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'read');
  await handle.close();
  const bytesOfLook = async (): Promise<number> => {
    spy.mockClear();
    await watcher.look();
    const reads = await Promise.all(
      spy.mock.results.map(({ value }) => value as Promise<{ bytesRead: number }>),
    );
    return reads.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  };
  // It is met, then a reader is begun.
  expect(await bytesOfLook()).toBeGreaterThan(64 * 1024);
  appendFileSync(path, records(HEAD, HEAD + 10));
  expect(await bytesOfLook()).toBeGreaterThan(64 * 1024);
  for (let step = HEAD + 10; step < HEAD + 40; step += 10) {
    const added = records(step, step + 10);
    appendFileSync(path, added);
    expect(await bytesOfLook()).toBe(4096 + 4096 + added.length);
  }
  await watcher.close();
});

describe('a last line without an end', () => {
  it('waits for its end; it is part of the last report', async () => {
    const path = join(newFolder(), 'log.jsonl');
    const pieces = records(0, HEAD + 200).match(/[\s\S]{1,40}/g)!;
    writeFileSync(path, '');
    const watch = await both(path);
    let lines = '';
    pieces.forEach((piece, k) => {
      lines += piece;
      if (k < 1800) appendFileSync(path, piece);
    });
    for (let k = 1800; k < pieces.length; k++) {
      appendFileSync(path, pieces[k]!);
      if (k % 40 !== 0) continue;
      const [one] = await watch.look();
      const written = lines.slice(0, 40 * (k + 1));
      const isWhole = written.endsWith('}') && written.lastIndexOf('"lr"') > written.lastIndexOf('\n');
      const points = (written.slice(0, written.lastIndexOf('\n')).match(/"lr"/g) ?? []).length;
      const { series } = one!.runs[0]!;
      expect(series.find(({ name }) => name === 'lr')!.points).toBe(points + (isWhole ? 1 : 0));
    }
    expect(watch.readOnly()).toBeGreaterThan(10);
    appendFileSync(path, `{"step": ${HEAD + 200}, "loss": 0.4, "lr": 0.001`);
    await watch.look();
    const [end, other] = await watch.finish();
    expect(told(end)).toEqual(told(other));
    expect(end.inputs[0]!.account!.lost.map(({ reason }) => reason)).toContain('torn-record');
    await watch.close();
  });

  it('that is a whole record is read at once', async () => {
    const path = join(newFolder(), 'log.jsonl');
    writeFileSync(path, records(0, HEAD));
    const watch = await both(path);
    for (let step = HEAD; step < HEAD + 5; step++) {
      appendFileSync(path, `${step > HEAD ? '\n' : ''}{"step": ${step}, "loss": 0.5, "lr": 0.001}`);
      const [one, other] = await watch.look();
      expect(told(one)).toEqual(told(other));
      expect(one!.runs[0]!.attemptList[0]!.lastStep).toBe(step);
    }
    await watch.close();
  });
});
