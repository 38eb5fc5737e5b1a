/** Where metrics go: a file, or a collector. */
import { DiagError, diagError } from '../../model/errors.ts';
import type { Io } from '../cli/io.ts';
import type { MetricFamily } from './metrics.ts';
import { otlpRequest, sendOtlp } from './otlp.ts';
import { writePrometheus } from './prometheus.ts';

export interface MetricsSink {
  /**
   * Writes one state of all runs; failures do not end the watch.
   *
   * @param began milliseconds since 1970: when the watch began
   * @returns what is to be said of a failure, once for each time that it begins
   */
  write(families: readonly MetricFamily[], began: number, now: number): Promise<string | undefined>;
}

/** A collector gets one state in so many milliseconds at most. */
const OTLP_PAUSE = 10_000;

/**
 * Says a failure once, until it works again.
 *
 * @param pause milliseconds between two states that are written, at least
 */
function onceEach(write: MetricsSink['write'], name: string, pause = 0): MetricsSink {
  let failing = false;
  let last = Number.NEGATIVE_INFINITY;
  return {
    write: async (families, began, now) => {
      if (now - last < pause) return undefined;
      last = now;
      const reason = await write(families, began, now);
      const isNew = reason !== undefined && !failing;
      failing = reason !== undefined;
      return isNew ? `${name} failed: ${reason}` : undefined;
    },
  };
}

/**
 * The sink that a word of `--metrics` names: `otlp`, or a file that ends in `.prom`.
 *
 * @param offline what forbids the network, null where nothing does
 * @throws usage, notify-offline
 */
export function sinkOf(
  word: string,
  offline: string | null,
  version: string,
  { env }: Pick<Io, 'env'>,
): MetricsSink {
  if (word === 'otlp') {
    if (offline !== null) throw diagError('notify-offline', { channel: '--metrics otlp', reason: offline });
    return onceEach(
      (families, began, now) => sendOtlp(otlpRequest(families, began, now, version), env),
      '--metrics otlp',
      OTLP_PAUSE,
    );
  }
  if (!word.endsWith('.prom'))
    throw diagError('usage', {
      problem: `--metrics ${word} is neither otlp nor a file that ends in .prom`,
      hint: 'the textfile collector of Prometheus reads files of that ending only',
    });
  return onceEach(async (families) => {
    try {
      await writePrometheus(word, families);
      return undefined;
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      return error.message;
    }
  }, '--metrics');
}
