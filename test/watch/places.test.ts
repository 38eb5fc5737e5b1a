/**
 * What is watched may be a file, a folder, or a URL of either: exactly one message an incident over rotation, truncation, a new start of the
 * watcher and of the training; and over an outage of the server.
 */
import { appendFileSync, copyFileSync, mkdirSync, renameSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { EXIT, type ExitCode } from '../../src/model/errors.ts';
import { cli } from '../support/cli.ts';
import { FaultyServer } from '../support/http-server.ts';
import { type Bucket, startS3 } from '../support/s3-lookalike.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('watch-places');

/** Records of a falling loss; from step `bad` to `good` it is far above. */
const records = (from: number, to: number, bad = Infinity, good = Infinity): string =>
  Array.from({ length: to - from }, (_, i) => {
    const step = from + i;
    const calm = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898);
    return `{"step":${step},"loss":${step >= bad && step < good ? 80 + calm : calm}}\n`;
  }).join('');

/** A log that something else writes, and where it is watched. */
interface Kept {
  readonly path: string;
  readonly env: Record<string, string>;
  append(text: string): void;
  /** The log is moved away, or copied away and truncated. */
  move(): void;
  truncate(): void;
  /** Whether the server answers. */
  answers?(does: boolean): void;
  readonly server?: FaultyServer;
}

let server: FaultyServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

function onDisk(watched: (path: string) => string): Kept {
  const path = join(newFolder(), 'run/log.jsonl');
  mkdirSync(dirname(path));
  return {
    path: watched(path),
    env: {},
    append: (text) => appendFileSync(path, text),
    move: () => renameSync(path, `${path}.1`),
    truncate: () => {
      copyFileSync(path, `${path}.1`);
      truncateSync(path, 0);
    },
  };
}

/** The names of a server's files, with what they hold. */
function inMemory(files: Map<string, Buffer>, name: string): Pick<Kept, 'append' | 'move' | 'truncate'> {
  const body = (): Buffer => files.get(name) ?? Buffer.alloc(0);
  return {
    append: (text) => files.set(name, Buffer.concat([body(), Buffer.from(text)])),
    move: () => {
      files.set(`${name}.1`, body());
      files.delete(name);
    },
    truncate: () => {
      files.set(`${name}.1`, body());
      files.set(name, Buffer.alloc(0));
    },
  };
}

/** Lets a server answer as it does, or 503 to everything. */
function outageOf(of: FaultyServer): (does: boolean) => void {
  const { handler } = of;
  return (does) => {
    of.handler = does
      ? handler
      : (_, response) => {
          response.writeHead(503).end();
          return true;
        };
  };
}

async function onWeb(): Promise<Kept> {
  server = await FaultyServer.start();
  const { files } = server;
  const bodies = new Map<string, Buffer>();
  const kept = inMemory(bodies, '/runs/log.jsonl');
  const after =
    (change: (text: string) => void) =>
    (text = ''): void => {
      change(text);
      files.clear();
      for (const [name, body] of bodies) files.set(name, { body });
    };
  return {
    path: `${server.url}/runs/log.jsonl`,
    env: {},
    append: after(kept.append),
    move: after(kept.move),
    truncate: after(kept.truncate),
    answers: outageOf(server),
    server,
  };
}

async function onS3(): Promise<Kept> {
  const bucket: Bucket = { name: 'runs', objects: new Map(), secret: null, region: 'us-east-1' };
  server = await startS3(bucket);
  return {
    path: 's3://runs/exp/',
    env: { AWS_ENDPOINT_URL: server.url, AWS_REGION: 'us-east-1' },
    ...inMemory(bucket.objects, 'exp/run/log.jsonl'),
    answers: outageOf(server),
    server,
  };
}

/** Each is called between two looks; what it returns `true` for ends the watcher, and the next one starts. */
type Moment = () => unknown;

/** Watches through the moments and two looks more; the lines of alerts and what else was said. */
async function watched(kept: Kept, moments: readonly Moment[], flags: readonly string[] = []) {
  const state = join(newFolder(), 'state.json');
  const waiting = [...moments];
  let now = Date.parse('2026-01-01T00:00:00Z');
  const lines: string[] = [];
  let more = 2;
  while (more > 0) {
    let end: ((code: ExitCode) => void) | undefined;
    const { err } = await cli(
      ['watch', kept.path, '--state', state, '--no-config', '--interval', '30', ...flags],
      {
        env: { HOME: newFolder(), ...kept.env },
        io: {
          now: () => now,
          async sleep(milliseconds) {
            now += milliseconds;
            const moment = waiting.shift();
            if (moment === undefined) more--;
            if (moment?.() === true || more === 0) end!(EXIT.terminated);
          },
          onEnd(listener) {
            end = listener;
            return () => {};
          },
        },
      },
    );
    lines.push(...err.split('\n').filter((line) => line !== ''));
  }
  return {
    alerts: lines.filter((line) => line.startsWith('alert: ')),
    over: lines.filter((line) => line.startsWith('over: ')),
    lines,
  };
}

const PLACES: Record<string, () => Kept | Promise<Kept>> = {
  'a file': () => onDisk((path) => path),
  'a folder': () => onDisk((path) => dirname(dirname(path))),
  'a file behind https': onWeb,
  'a prefix of S3': onS3,
};

describe.each(Object.entries(PLACES))('%s', (_, make) => {
  it.each<[string, (kept: Kept) => Moment[]]>([
    ['a rotation', (kept) => [() => kept.move()]],
    ['a rotation before the next record', (kept) => [() => kept.move(), () => {}]],
    ['a truncation', (kept) => [() => kept.truncate()]],
    ['a new start of the watcher', () => [() => true]],
    [
      'a rotation while no watcher runs',
      (kept) => [
        () => {
          kept.move();
          kept.append(records(440, 450, 405));
          return true;
        },
      ],
    ],
  ])('one message over %s', async (_, moments) => {
    const kept = await make();
    kept.append(records(0, 400));
    const { alerts, over, lines } = await watched(kept, [
      () => kept.append(records(400, 440, 405)),
      ...moments(kept),
      () => kept.append(records(450, 500, 405)),
      () => kept.append(records(500, 520, 405)),
    ]);
    expect(alerts, lines.join('\n')).toEqual([expect.stringContaining('loss diverged at step 405')]);
    expect(over).toEqual([]);
  });

  it('one message of a training that is resumed before its incident and goes well', async () => {
    const kept = await make();
    kept.append(records(0, 400));
    const { alerts, lines } = await watched(kept, [
      () => kept.append(records(400, 440, 405)),
      () => kept.append(records(380, 450)),
      () => true,
      () => kept.append(records(450, 620)),
    ]);
    expect(alerts, lines.join('\n')).toEqual([expect.stringContaining('loss diverged at step 405')]);
  });

  it('two messages of two incidents', async () => {
    const kept = await make();
    kept.append(records(0, 400));
    const { alerts, lines } = await watched(kept, [
      () => kept.append(records(400, 440, 405)),
      () => kept.append(records(380, 500)),
      () => kept.append(records(500, 540, 510)),
    ]);
    expect(alerts, lines.join('\n')).toEqual([
      expect.stringContaining('step 405'),
      expect.stringContaining('step 510'),
    ]);
  });
});

describe.each(Object.entries(PLACES).slice(2))('%s, of which the server', (_, make) => {
  it('is away for a while is said once, and is no stall', async () => {
    const kept = await make();
    kept.append(records(0, 400));
    const away = Array.from({ length: 5 }, (): Moment => () => {});
    const { alerts, lines } = await watched(
      kept,
      [
        () => kept.append(records(400, 405)),
        () => kept.answers!(false),
        ...away,
        () => {
          kept.append(records(405, 440, 410));
          kept.answers!(true);
        },
      ],
      ['--stall', '60'],
    );
    expect(lines.filter((line) => line.includes('asked again at each look'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('is read again'))).toHaveLength(1);
    expect(alerts, lines.join('\n')).toEqual([expect.stringContaining('loss diverged at step 410')]);
  });

  it('sends of a log that grew the new bytes alone', async () => {
    const kept = await make();
    kept.append(records(0, 4000));
    const size = records(0, 4000).length;
    await watched(kept, [() => kept.append(records(4000, 4010)), () => kept.append(records(4010, 4020))]);
    const ranges = kept.server!.requests.flatMap(({ headers }) => headers.range ?? []);
    const starts = ranges
      .map((range) => Number(/^bytes=(\d+)-/.exec(range)![1]))
      .filter((start) => start > 0);
    expect(starts.length).toBeGreaterThanOrEqual(2);
    // With a few kilobytes before them, by which another file shows.
    for (const start of starts) expect(start).toBeGreaterThan(size - 5000);
  });
});
