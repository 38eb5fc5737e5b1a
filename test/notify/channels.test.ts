/** Alerts on their way out: to real servers on loopback, each incident once, and no secret anywhere else. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Channel } from '../../src/app/notify/channel.ts';
import { Delivery } from '../../src/app/notify/delivery.ts';
import type { Message } from '../../src/app/notify/message.ts';
import { EXIT, type ExitCode } from '../../src/model/errors.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('notify');

interface Got {
  readonly path: string;
  readonly body: Record<string, unknown>;
}

let server: Server | undefined;
afterEach(() => {
  server?.close();
  server = undefined;
});

/** A server that answers with these statuses, one after the other and then 200. */
async function listen(statuses: number[] = [], headers: Record<string, string> = {}) {
  const got: Got[] = [];
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const status = statuses.shift() ?? 200;
      const text = Buffer.concat(parts).toString();
      got.push({ path: request.url!, body: text === '' ? {} : JSON.parse(text) });
      response.writeHead(status, headers).end('ok');
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return { got, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const calm = (step: number): number => 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898);
const records = (from: number, to: number, more = 0): string =>
  Array.from({ length: to - from }, (_, i) => `{"step":${from + i},"loss":${calm(from + i) + more}}\n`).join(
    '',
  );

/** Watches through moments, each of which is a look later than the one before. */
async function watch(args: readonly string[], env: Record<string, string>, moments: (() => void)[]) {
  let now = Date.parse('2026-01-01T00:00:00Z');
  const listeners = new Set<(code: ExitCode) => void>();
  return cli(['watch', ...args, '--no-config'], {
    env,
    io: {
      now: () => now,
      async sleep(milliseconds) {
        now += Math.max(milliseconds, 20_000);
        const moment = moments.shift();
        if (moment === undefined) for (const end of listeners) end(EXIT.interrupted);
        else moment();
      },
      onEnd(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  });
}

/** A log that diverges and comes back, in three looks. */
function story() {
  const folder = newFolder();
  const path = join(folder, 'log.jsonl');
  writeFileSync(path, records(0, 500));
  const moments = [
    () => appendFileSync(path, records(500, 530, 80)),
    () => appendFileSync(path, records(530, 540, 80)),
    () => appendFileSync(path, records(540, 700)),
    () => appendFileSync(path, records(700, 720)),
  ];
  return { path, moments, state: ['--state', join(folder, 'state.json')] };
}

describe('an incident that begins and is over', () => {
  it('is two messages to a webhook, with one key, the brief answer and no more after a restart', async () => {
    const { got, url } = await listen();
    const { path, moments, state } = story();
    const env = { CLIPPY_DIAG_WEBHOOK_URL: `${url}/hook?token=s3cret` };
    const { err, out } = await watch([path, '--notify', 'webhook', ...state], env, moments);
    await watch([path, '--notify', 'webhook', ...state], env, [() => {}, () => {}]);
    expect(got.map(({ path: at, body }) => [at, body.event])).toEqual([
      ['/hook?token=s3cret', 'begin'],
      ['/hook?token=s3cret', 'end'],
    ]);
    const [begin, end] = got.map(({ body }) => body);
    expect(begin).toMatchObject({
      schemaVersion: '1.0',
      path,
      alert: { class: 'full-divergence', run: path, series: 'loss', step: 500 },
    });
    expect(begin!.text).toMatch(/^DIVERGED at step 500/);
    expect(begin!.key).toMatch(/^[0-9a-f]{16}$/);
    expect(end!.key).toBe(begin!.key);
    expect(err + out + readFileSync(state[1]!, 'utf8')).not.toContain('s3cret');
  });

  it('is triggered and resolved at PagerDuty, under one key', async () => {
    const { got, url } = await listen();
    const { path, moments, state } = story();
    const env = { CLIPPY_DIAG_PAGERDUTY_KEY: 'r0uting', CLIPPY_DIAG_PAGERDUTY_URL: url };
    await watch([path, '--notify', 'pagerduty', ...state], env, moments);
    expect(got.map(({ body }) => [body.routing_key, body.event_action])).toEqual([
      ['r0uting', 'trigger'],
      ['r0uting', 'resolve'],
    ]);
    expect(got[0]!.body.payload).toMatchObject({
      severity: 'critical',
      source: path,
      class: 'full-divergence',
    });
    expect(new Set(got.map(({ body }) => body.dedup_key)).size).toBe(1);
  });

  it('is a text for Slack in which a name of the log mentions nobody', async () => {
    const { got, url } = await listen();
    const folder = newFolder();
    const path = join(folder, 'log.jsonl');
    const text = records(0, 500) + records(500, 700, 80);
    writeFileSync(path, text.replaceAll('"loss"', '"loss <!channel> ```& "'));
    const state = ['--state', join(folder, 's.json'), '--map', 'loss=loss <!channel> ```& '];
    const env = { CLIPPY_DIAG_SLACK_URL: url };
    await watch([path, '--notify', 'slack', ...state], env, []);
    const [{ body }] = got as [Got];
    expect(body.text).toContain('&lt;!channel&gt;');
    expect(body.text).not.toContain('<!');
    expect((body.text as string).match(/```/g)).toHaveLength(2);
  });

  it('runs a command for both, which knows them apart', async () => {
    const { path, moments, state } = story();
    const told = join(newFolder(), 'told');
    const hook = `cmd:echo "$CLIPPY_DIAG_EVENT|$CLIPPY_DIAG_MESSAGE" >> '${told}'`;
    await watch([path, '--notify', hook, ...state], {}, moments);
    expect(readFileSync(told, 'utf8').split('\n')).toEqual([
      'begin|loss diverged at step 500',
      expect.stringMatching(/^end\|over: loss .*back at 54\d/),
      '',
    ]);
  });
});

describe('a receiver that fails', () => {
  it('gets the message later, once, and those after it in order; the failure is said once', async () => {
    const { got, url } = await listen([503, 503, 500]);
    const { path, moments, state } = story();
    const env = { CLIPPY_DIAG_WEBHOOK_URL: url };
    const wait = Array.from({ length: 6 }, () => () => {});
    const { err } = await watch([path, '--notify', 'webhook', ...state], env, [...moments, ...wait]);
    expect(got.map(({ body }) => body.event)).toEqual(['begin', 'begin', 'begin', 'begin', 'end']);
    expect(err.match(/webhook failed/g)).toHaveLength(1);
    expect(err).toContain('webhook failed: the server answers with status 503; sent again later');
  });

  it('is not followed where it redirects: the address is a secret', async () => {
    const { got, url } = await listen([302, 302], { location: '/elsewhere' });
    const { path, moments, state } = story();
    const { err } = await watch(
      [path, '--notify', 'slack', ...state],
      { CLIPPY_DIAG_SLACK_URL: `${url}/T0/s3cret` },
      moments.slice(0, 1),
    );
    expect(new Set(got.map(({ path: at }) => at))).toEqual(new Set(['/T0/s3cret']));
    expect(err).toContain('slack failed: the server answers with status 302');
    expect(err).not.toContain('s3cret');
  });

  it('does not hold the others back', async () => {
    const sent: string[] = [];
    const channel = (name: string, fails: boolean): Channel => ({
      name,
      send: async ({ alert }) => {
        sent.push(`${name} ${alert.message}`);
        return fails ? 'no' : undefined;
      },
    });
    const delivery = new Delivery([channel('a', true), channel('b', false)]);
    const message = (text: string) =>
      ({ event: 'begin', path: '', brief: null, alert: { message: text } }) as Message;
    delivery.add(message('1'));
    delivery.add(message('2'));
    const failures = await delivery.send(0);
    expect(sent.sort()).toEqual(['a 1', 'b 1', 'b 2']);
    expect(failures.map(({ channel: name, again }) => [name, again])).toEqual([['a', true]]);
    // Its pause is not over; at the end both are tried once more, and given up.
    expect(await delivery.send(9999)).toEqual([]);
    expect((await delivery.send(10_000, true)).map(({ again }) => again)).toEqual([false, false]);
    expect(sent.filter((text) => text.startsWith('a'))).toEqual(['a 1', 'a 1', 'a 2']);
  });
});

describe('settings', () => {
  it.each([
    [['--notify', 'slack'], {}, 2, /CLIPPY_DIAG_SLACK_URL is not set/],
    [['--notify', 'pagerduty'], {}, 2, /CLIPPY_DIAG_PAGERDUTY_KEY is not set/],
    [
      ['--notify', 'slack', '--offline'],
      { CLIPPY_DIAG_SLACK_URL: 'https://hooks.example/s3cret' },
      2,
      /--offline forbids/,
    ],
    [['--metrics', 'otlp'], { CLIPPY_DIAG_OFFLINE: '1' }, 2, /CLIPPY_DIAG_OFFLINE forbids/],
    [['--notify', 'https://hooks.example/s3cret'], {}, 2, /takes a channel, not an address/],
    [['--metrics', 'runs.txt'], {}, 2, /ends in \.prom/],
  ] as const)('%j with %j ends with %i', async (args, env, code, words) => {
    const result = await watch([join(newFolder(), 'log.jsonl'), ...args], env as Record<string, string>, []);
    expect([result.code, result.err]).toEqual([code, expect.stringMatching(words)]);
    expect(result.err + result.out).not.toContain('s3cret');
  });

  it('a configuration has the words of each channel; a name of the log mentions nobody', async () => {
    const { got, url } = await listen();
    const folder = newFolder();
    const log = join(folder, '<!channel> "a".jsonl');
    writeFileSync(log, records(0, 500) + records(500, 700, 80));
    const config = (webhook: string): void =>
      writeFileSync(
        join(folder, '.clippy-diag.yaml'),
        `version: 2\nnotify:\n  templates:\n    slack: "<!here> {event} {run} at {step}"\n    pagerduty: "{class}: {message}"\n    webhook: ${webhook}\n`,
      );
    config('{ content: "{headline}", embeds: [{ title: "{run}", color: 1 }] }');
    const channels = ['slack', 'webhook', 'pagerduty'].flatMap((name) => ['--notify', name]);
    const run = () =>
      cli(['watch', log, ...channels, '--idle-exit', '1', '--interval', '1'], {
        cwd: folder,
        env: {
          CLIPPY_DIAG_SLACK_URL: url,
          CLIPPY_DIAG_WEBHOOK_URL: url,
          CLIPPY_DIAG_PAGERDUTY_KEY: 'key',
          CLIPPY_DIAG_PAGERDUTY_URL: url,
        },
      });
    expect((await run()).code).toBe(0);
    const sent = got.map(({ body }) => body);
    expect(sent).toContainEqual({
      text: expect.stringMatching(/^<!here> begin .*&lt;!channel&gt; "a"\.jsonl at 500$/),
    });
    expect(sent).toContainEqual({
      content: expect.stringMatching(/<!channel> "a"\.jsonl: loss diverged at step 500$/),
      embeds: [{ title: expect.stringMatching(/"a"\.jsonl$/), color: 1 }],
    });
    expect(sent).toContainEqual(
      expect.objectContaining({
        payload: expect.objectContaining({ summary: 'full-divergence: loss diverged at step 500' }),
      }),
    );
    config('{ content: "{runn}" }');
    expect(await run()).toMatchObject({
      code: 2,
      err: expect.stringContaining('{runn} is no field of a message; known are event, class, run'),
    });
  });

  it('a configuration names another variable, and never holds the address', async () => {
    const { got, url } = await listen();
    const folder = newFolder();
    writeFileSync(join(folder, 'log.jsonl'), records(0, 500) + records(500, 700, 80));
    writeFileSync(join(folder, '.clippy-diag.yaml'), 'version: 2\nnotify: { webhook: TEAM_HOOK }\n');
    const run = (more: Record<string, string>) =>
      cli(['watch', 'log.jsonl', '--notify', 'webhook', '--idle-exit', '1', '--interval', '1'], {
        cwd: folder,
        env: more,
      });
    expect((await run({ TEAM_HOOK: url })).code).toBe(0);
    expect(got).toHaveLength(1);
    expect(await run({})).toMatchObject({ code: 2, err: expect.stringContaining('TEAM_HOOK is not set') });
    writeFileSync(join(folder, '.clippy-diag.yaml'), `version: 2\nnotify: { webhook: "${url}" }\n`);
    expect((await run({})).code).toBe(2);
  });
});
