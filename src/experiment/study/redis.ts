/**
 * A Redis that is fit to hold the queue of a study, and BullMQ on it. Both packages are optional and loaded only here.
 *
 * Their types are written out as far as they are used: a program that does not install the packages has none of theirs.
 */
import { DiagError, diagError, firstLineOf } from '../../model/errors.ts';

export interface RedisClient {
  on(event: 'error' | 'ready', listener: (error: Error) => void): unknown;
  connect(): Promise<unknown>;
  info(section: string): Promise<string>;
  hset(key: string, values: Readonly<Record<string, string | Buffer>>): Promise<unknown>;
  hgetallBuffer(key: string): Promise<Record<string, Buffer>>;
  exists(key: string): Promise<number>;
  expire(key: string, seconds: number): Promise<unknown>;
  rpush(key: string, value: string): Promise<unknown>;
  lrange(key: string, from: number, to: number): Promise<string[]>;
  ltrim(key: string, from: number, to: number): Promise<unknown>;
  del(...keys: string[]): Promise<unknown>;
  disconnect(): void;
}

/** A job of BullMQ, whose data are what {@link Job.data} was added with. */
export interface Job<D> {
  readonly id: string;
  readonly data: D;
  readonly failedReason?: string;
  remove(): Promise<unknown>;
}

interface JobOptions {
  readonly jobId: string;
  readonly attempts: number;
  readonly backoff: { readonly type: 'exponential'; readonly delay: number };
  readonly removeOnComplete: boolean;
  readonly removeOnFail: { readonly age: number };
}

export interface Queue<D> {
  on(event: 'error', listener: (error: Error) => void): unknown;
  addBulk(
    jobs: readonly { readonly name: string; readonly data: D; readonly opts: JobOptions }[],
  ): Promise<unknown>;
  remove(id: string): Promise<unknown>;
  getFailed(from: number, to: number): Promise<Job<D>[]>;
  getWorkersCount(): Promise<number>;
  close(): Promise<void>;
}

export interface QueueWorker {
  on(event: 'error', listener: (error: Error) => void): unknown;
  close(force?: boolean): Promise<void>;
}

interface WorkerOptions {
  readonly connection: RedisClient;
  readonly concurrency: number;
  readonly lockDuration: number;
  readonly stalledInterval: number;
  readonly maxStalledCount: number;
}

export interface BullMq {
  readonly Queue: new <D>(name: string, options: { connection: RedisClient }) => Queue<D>;
  readonly Worker: new <D>(
    name: string,
    process: (job: Job<D>) => Promise<unknown>,
    options: WorkerOptions,
  ) => QueueWorker;
}

type RedisClass = new (url: string, options: Readonly<Record<string, unknown>>) => RedisClient;

/** The URL for people: without its password. */
export function shownUrl(url: string): string {
  try {
    const shown = new URL(url);
    if (shown.password !== '') shown.password = '***';
    return shown.href;
  } catch {
    return 'the URL';
  }
}

const CONNECT_MS = 5000;

/** Milliseconds between two attempts to reach a Redis that is gone. */
const RETRY_MS = 1000;

/**
 * Connects to a Redis once, to see that it is there, lets us in and throws nothing away; then gives what makes connections.
 *
 * @throws usage (no such URL), queue-packages, queue-unreachable, queue-evicts
 */
export async function openRedis(url: string): Promise<{
  readonly bullmq: BullMq;
  /**
   * @param patient whether a command waits for a Redis that is gone, as a worker does; else it fails
   * @param goesOn asked before each attempt to reach it again; once it says no, what waits fails and the connection ends
   */
  connect(patient: boolean, goesOn?: () => boolean): RedisClient;
}> {
  const shown = shownUrl(url);
  if (!/^rediss?:\/\/[^/]/.test(url) || shown === 'the URL')
    throw diagError('usage', {
      problem: '--queue takes the URL of a Redis',
      hint: 'write it as redis://HOST:6379, or rediss:// for TLS',
    });
  const { bullmq, Redis } = await loadPackages();
  const probe = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: CONNECT_MS,
    maxRetriesPerRequest: 0,
  });
  let last: Error | undefined;
  probe.on('error', (error) => {
    last = error;
  });
  try {
    await probe.connect();
    const memory = await probe.info('memory');
    const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1];
    if (policy !== undefined && policy !== 'noeviction')
      throw diagError('queue-evicts', { url: shown, policy });
  } catch (error) {
    if (error instanceof DiagError) throw error;
    throw diagError(
      'queue-unreachable',
      { url: shown, problem: (last ?? (error as Error)).message },
      undefined,
      error,
    );
  } finally {
    probe.disconnect();
  }
  return {
    bullmq,
    connect: (patient, goesOn = () => true) =>
      new Redis(url, {
        maxRetriesPerRequest: patient ? null : 1,
        retryStrategy: () => (goesOn() ? RETRY_MS : null),
      }),
  };
}

/** @throws queue-packages */
async function loadPackages(): Promise<{ bullmq: BullMq; Redis: RedisClass }> {
  // By a variable: the packages and their types are there only where someone installed them.
  const load = (name: string): Promise<unknown> => import(name);
  try {
    const [bullmq, ioredis] = await Promise.all(['bullmq', 'ioredis'].map(load));
    return { bullmq: bullmq as BullMq, Redis: (ioredis as { Redis: RedisClass }).Redis };
  } catch (error) {
    throw diagError('queue-packages', { problem: firstLineOf(error) }, undefined, error);
  }
}
