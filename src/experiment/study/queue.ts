/**
 * Cells of a study on other machines, over BullMQ on Redis: what the coordinator does, and what a worker does.
 *
 * The coordinator's results are the truth, Redis is only the way. A job's id is its cell's, so that adding it twice is adding
 * it once; a job that a restarted Redis has forgotten is added again; a result that comes twice is taken once. Results come
 * back through a list of the study, which the worker writes before its job is done: a worker that dies in between trains the
 * cell again, and the bits are the same.
 */
import { createHash } from 'node:crypto';
import { isJsonObject, toJson } from '../../model/json.ts';
import type { StudyCell } from '../../model/study.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { idOf } from './plan.ts';
import { type Job, openRedis, type Queue, type RedisClient, shownUrl } from './redis.ts';
import { cellFrom } from './results-file.ts';
import type { CellRunner } from './run-study.ts';
import { setupFromBytes, setupToBytes } from './setup-bytes.ts';
import { type ThreadPool, threadPool } from './thread-runner.ts';
import { type CellKey, crashedCell, type StudySetup } from './train-cell.ts';

/** A cell as a job: the study's key and which cell of it. */
interface CellJob {
  readonly study: string;
  readonly cell: CellKey;
}

/** A study's key, as SHA-256 in hexadecimal. */
const KEY = /^[0-9a-f]{64}$/;
/** Longest name of a model, a row or a rule. */
const MOST_NAME = 1000;
/** Chunks that a setup is stored in at most: 4 GB. */
const MOST_CHUNKS = 128;

/**
 * What a job says, where it is a job: anybody who reaches the Redis can write one.
 *
 * @returns null for anything else; the rule of the cell is one that is known
 */
export function jobFrom(data: unknown): CellJob | null {
  if (!isJsonObject(data) || !isJsonObject(data.cell)) return null;
  const { study, cell } = data;
  const { model, rule, label, learningRate, seed } = cell;
  const isName = (value: unknown): value is string => typeof value === 'string' && value.length <= MOST_NAME;
  const isRate = typeof learningRate === 'number' && Number.isFinite(learningRate) && learningRate > 0;
  if (typeof study !== 'string' || !KEY.test(study) || !isRate) return null;
  if (!isName(model) || !isName(rule) || !isName(label)) return null;
  if (typeof seed !== 'number' || !Number.isSafeInteger(seed) || seed < 0) return null;
  try {
    if (parseRule(label).length !== 1) return null;
  } catch {
    return null;
  }
  return { study, cell: { model, rule, label, learningRate, seed } };
}

/** Jobs that a coordinator has in Redis at most: enough for thousands of threads, and few megabytes. */
const WINDOW = 10_000;
/** Results that are read at once. */
const PAGE = 500;
/** Between two looks for results where there were none. */
const LOOK_MS = 200;
/** Between two looks at what failed, and between two times that jobs are added which may have been lost. */
const FAILED_MS = 10_000;
const AGAIN_MS = 120_000;
/** What a study leaves in Redis goes after so long without a coordinator. */
const KEPT_SECONDS = 7 * 86_400;
/** Far below the largest value that Redis takes. */
const CHUNK_BYTES = 2 ** 25;
/** A worker that has not been heard of for so long is dead, and others look for its cells that often. */
const LOCK_MS = 15_000;
const STALLED_MS = 5_000;
/** A worker that is to stop waits no longer for a Redis that is away. */
const STOP_AWAY_MS = 10_000;
/** Workers that a cell may take with it before it counts as crashed. */
const MOST_STALLED = 3;

/** Workers and coordinators of one version find each other: another version's cells may have other bits. */
const queueOf = (version: string): string => `clippy-diag-${version}`;
const setupOf = (study: string): string => `clippy-diag:setup:${study}`;
const resultsOf = (study: string): string => `clippy-diag:results:${study}`;
const jobIdOf = (study: string, id: string): string =>
  createHash('sha256').update(`${study} ${id}`).digest('hex').slice(0, 40);

/** What of the world outside a queue needs. */
export interface QueueIo {
  now(): number;
  sleep(milliseconds: number): Promise<void>;
  remark(text: string): Promise<void>;
}

export interface QueueOptions extends QueueIo {
  readonly url: string;
  /** Of this program. */
  readonly version: string;
}

/**
 * A runner that hands its cells to workers on a queue and collects what they give.
 *
 * @throws as {@link openRedis}
 */
export async function queueRunner(
  study: { readonly key: string; readonly setup: StudySetup },
  options: QueueOptions,
): Promise<CellRunner> {
  const { now, sleep, remark, url, version } = options;
  const { bullmq, connect } = await openRedis(url);
  const redis = connect(false);
  // A Redis that was away may have forgotten everything.
  let mayHaveForgotten = true;
  redis.on('ready', () => {
    mayHaveForgotten = true;
  });
  redis.on('error', () => {});
  const queue: Queue<CellJob> = new bullmq.Queue<CellJob>(queueOf(version), { connection: redis });
  queue.on('error', () => {});
  const list = resultsOf(study.key);
  const jobs = jobsOf(study, redis, queue);

  return {
    async run(cells, done, goesOn) {
      const toAdd = new Map(cells.map((cell) => [idOf(cell), cell]));
      const added = new Map<string, CellKey>();
      const began = now();
      let heard = false;
      let away = false;
      let addedAll = Number.NEGATIVE_INFINITY;
      let sawFailed = Number.NEGATIVE_INFINITY;
      const take = async (cell: StudyCell): Promise<void> => {
        const id = idOf(cell);
        if (!added.delete(id) && !toAdd.delete(id)) return;
        heard = true;
        await done(cell);
      };

      /** Redis's part of a turn: the results that there are, how many entries of the list they were. */
      const turn = async (): Promise<{ found: StudyCell[]; read: number }> => {
        if (mayHaveForgotten || now() - addedAll > AGAIN_MS) {
          mayHaveForgotten = false;
          addedAll = now();
          await jobs.publish();
          await jobs.add(added.values());
        }
        const more = [...toAdd].slice(0, WINDOW - added.size);
        if (more.length > 0) {
          await jobs.add(more.map(([, cell]) => cell));
          for (const [id, cell] of more) {
            toAdd.delete(id);
            added.set(id, cell);
          }
        }
        const lines = await redis.lrange(list, 0, PAGE - 1);
        const found = lines.flatMap((line) => cellFrom(line) ?? []);
        if (now() - sawFailed > FAILED_MS) {
          sawFailed = now();
          found.push(...(await jobs.takeFailed()));
          if (!heard && now() - began > FAILED_MS && (await queue.getWorkersCount()) === 0) {
            heard = true;
            await remark(
              `no worker has come yet: start \`clippy-diag matrix worker --queue ${shownUrl(url)}\` of version ${version}`,
            );
          }
        }
        return { found, read: lines.length };
      };

      while (toAdd.size + added.size > 0 && goesOn()) {
        let read = 0;
        try {
          const one = await turn();
          if (away) await remark('Redis can be used again');
          away = false;
          read = one.read;
          for (const cell of one.found) await take(cell);
        } catch (error) {
          if (!isOfRedis(error)) throw error;
          mayHaveForgotten = true;
          if (!away) await remark(`Redis cannot be used now (${(error as Error).message}): waiting for it`);
          away = true;
        }
        // What was not taken off the list is read again, and ignored then.
        if (read > 0) await redis.ltrim(list, read, -1).catch(() => sleep(LOOK_MS));
        else await sleep(LOOK_MS);
      }
      // Workers should not train what nobody waits for.
      await Promise.all([...added.keys()].map((id) => queue.remove(jobIdOf(study.key, id)).catch(() => {})));
      if (toAdd.size + added.size === 0) await redis.del(list, setupOf(study.key)).catch(() => {});
    },
    close: async () => {
      await queue.close().catch(() => {});
      redis.disconnect();
    },
  };
}

/** What a coordinator writes for its study, and takes off what failed. */
function jobsOf(
  study: { readonly key: string; readonly setup: StudySetup },
  redis: RedisClient,
  queue: Queue<CellJob>,
) {
  let setup: Buffer | undefined;

  const publish = async (): Promise<void> => {
    if ((await redis.exists(setupOf(study.key))) === 0) {
      setup ??= await setupToBytes(study.setup);
      const count = Math.ceil(setup.length / CHUNK_BYTES);
      for (let i = 0; i < count; i++)
        await redis.hset(setupOf(study.key), {
          [i]: setup.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
        });
      // Last: what is there with it is whole.
      await redis.hset(setupOf(study.key), { count: String(count) });
    }
    await redis.expire(setupOf(study.key), KEPT_SECONDS);
  };
  const addJobs = (cells: Iterable<CellKey>): Promise<unknown> =>
    queue.addBulk(
      [...cells].map((cell) => ({
        name: 'cell',
        data: { study: study.key, cell },
        opts: {
          jobId: jobIdOf(study.key, idOf(cell)),
          attempts: 3,
          backoff: { type: 'exponential', delay: 1000 },
          removeOnComplete: true,
          removeOnFail: { age: KEPT_SECONDS },
        },
      })),
    );
  /** Cells that no worker could give a result of, with why. */
  const takeFailed = async (): Promise<StudyCell[]> => {
    const mine = failedOf(study.key, await queue.getFailed(0, PAGE - 1));
    const cells = mine.map(({ job: { failedReason = 'no reason was given' }, cell }) =>
      crashedCell(cell, new Error(`no worker could train it: ${failedReason}`)),
    );
    for (const { job } of mine) await job.remove();
    return cells;
  };
  return { publish, add: addJobs, takeFailed };
}

/** Failed jobs that are cells of a study. */
const failedOf = (study: string, failed: readonly Job<CellJob>[]) =>
  failed.flatMap((job) => {
    const known = jobFrom(job.data);
    return known?.study === study ? [{ job, cell: known.cell }] : [];
  });

/** Whether it came from Redis or the way to it, and goes away with time. */
const isOfRedis = (error: unknown): boolean =>
  error instanceof Error &&
  (/^(MaxRetriesPerRequestError|ReplyError|AbortError)$/.test(error.name) ||
    /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)/.test(
      String((error as NodeJS.ErrnoException).code),
    ) ||
    /Connection is closed|Stream isn't writeable/.test(error.message));

/**
 * Trains cells from a queue until the function that it returns is called.
 *
 * @throws as {@link openRedis}
 */
export async function startWorker(options: QueueOptions & { readonly threads: number }): Promise<{
  /** Cells that were trained, and that are in work. */
  counts(): { readonly trained: number; readonly working: number };
  /** Takes no more cells, and waits for those in work; where Redis stays away, their results are given up. */
  stop(): Promise<void>;
}> {
  const { now, sleep, remark } = options;
  const { bullmq, connect } = await openRedis(options.url);
  let givenUp = false;
  const redis = connect(true, () => !givenUp);
  let trained = 0;
  let working = 0;
  let away = false;
  redis.on('error', (error) => {
    if (!away) void remark(`Redis is away (${error.message}): waiting for it`);
    away = true;
  });
  redis.on('ready', () => {
    if (away) void remark('Redis is back');
    away = false;
  });
  const pools = poolsOf(redis, options.threads);
  const worker = new bullmq.Worker<CellJob>(
    queueOf(options.version),
    async ({ data }) => {
      const job = jobFrom(data);
      // Checked before anything is run: the job fails, and the worker goes on.
      if (job === null) throw new Error('it is not a cell of a study');
      const { study, cell } = job;
      const opened = await pools.of(study);
      // Nobody waits for it: its coordinator has all cells, or will add this one again.
      if (opened === null) return;
      const { pool, models } = opened;
      if (!models.includes(cell.model)) throw new Error('its study has no such model');
      working++;
      // Waiting for Redis is no work: a worker that is to end when it is idle ends.
      const result = await pool.train(cell).finally(() => {
        working--;
      });
      await redis.rpush(resultsOf(study), toJson(result, 0));
      await redis.expire(resultsOf(study), KEPT_SECONDS);
      trained++;
    },
    {
      connection: redis,
      concurrency: options.threads,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_MS,
      maxStalledCount: MOST_STALLED,
    },
  );
  // A lock that was lost: the cell was given to another worker, and its result counts once.
  worker.on('error', () => {});
  return {
    counts: () => ({ trained, working }),
    async stop() {
      let closed = false;
      const closing = worker.close().finally(() => {
        closed = true;
      });
      for (let awaySince: number | undefined; !closed; ) {
        await Promise.race([closing, sleep(LOOK_MS)]);
        // Closing needs turns of the event loop, also under a clock whose sleep does not wait.
        await new Promise((resolve) => setImmediate(resolve));
        awaySince = away ? (awaySince ?? now()) : undefined;
        if (awaySince === undefined || now() - awaySince < STOP_AWAY_MS) continue;
        await remark(
          'Redis is still away: what was trained and not handed over is given up, and trained again by others',
        );
        givenUp = true;
        break;
      }
      await pools.close();
      redis.disconnect();
      await closing;
    },
  };
}

/** Studies of which a worker keeps threads and data. */
const MOST_POOLS = 3;

interface OpenedPool {
  readonly pool: ThreadPool;
  /** Names of the study's models. */
  readonly models: readonly string[];
}

/** @throws Error where the count is not one, or a chunk is missing */
export function joinChunks(count: number, chunks: Readonly<Record<string, Buffer | undefined>>): Buffer {
  if (!Number.isSafeInteger(count) || count < 1 || count > MOST_CHUNKS)
    throw new Error('the setup of its study has no count of chunks');
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => {
      const chunk = chunks[i];
      if (chunk === undefined) throw new Error('the setup of its study lacks a chunk');
      return chunk;
    }),
  );
}

/** Whether a setup has the members that threads read; what is wrong within them makes cells that crash. */
const isSetup = (setup: unknown): setup is StudySetup =>
  isJsonObject(setup) &&
  Array.isArray(setup.models) &&
  setup.models.every((model: unknown) => isJsonObject(model) && typeof model.name === 'string') &&
  Array.isArray(setup.phases) &&
  Array.isArray(setup.tasks) &&
  isJsonObject(setup.rows) &&
  isJsonObject(setup.optimizer);

/** Threads for each study; of too many, those of the study that was opened first end once their cells are done. */
function poolsOf(redis: RedisClient, threads: number) {
  const pools = new Map<string, Promise<OpenedPool | null>>();
  const open = async (study: string): Promise<OpenedPool | null> => {
    const { count, ...chunks } = await redis.hgetallBuffer(setupOf(study));
    if (count === undefined) return null;
    const bytes = joinChunks(Number(count.toString()), chunks);
    const setup: unknown = await setupFromBytes(bytes);
    if (!isSetup(setup)) throw new Error('the setup of its study is not one');
    return { pool: threadPool(setup, threads), models: setup.models.map(({ name }) => name) };
  };
  const end = async (study: string): Promise<void> => {
    const pool = pools.get(study);
    pools.delete(study);
    await (await pool?.catch(() => null))?.pool.close();
  };
  return {
    /** Null where Redis has no data of the study. @throws what reading them throws */
    async of(study: string): Promise<OpenedPool | null> {
      let pool = pools.get(study);
      if (pool === undefined) {
        pool = open(study);
        pools.set(study, pool);
        if (pools.size > MOST_POOLS) void end([...pools.keys()][0]!);
      }
      try {
        const opened = await pool;
        if (opened === null) pools.delete(study);
        return opened;
      } catch (error) {
        pools.delete(study);
        throw error;
      }
    },
    async close(): Promise<void> {
      await Promise.all([...pools.keys()].map(end));
    },
  };
}
