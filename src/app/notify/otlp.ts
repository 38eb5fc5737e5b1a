/**
 * Metrics for OpenTelemetry, by OTLP over HTTP with JSON: https://opentelemetry.io/docs/specs/otlp/. The address and headers are those of
 * the environment that all exporters read.
 */
import { inertName } from '../../model/inert-text.ts';
import { withoutEndSlashes } from '../../model/url.ts';
import { type Env, postJson } from './channel.ts';
import type { MetricFamily } from './metrics.ts';

const DEFAULT_ENDPOINT = 'http://localhost:4318';

export const otlpAddress = (env: Env): string =>
  env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT ||
  `${withoutEndSlashes(env.OTEL_EXPORTER_OTLP_ENDPOINT || DEFAULT_ENDPOINT)}/v1/metrics`;

/** `key=value,key=value`, percent-encoded, as the specification has it. */
export function otlpHeaders(env: Env): Record<string, string> {
  const text = env.OTEL_EXPORTER_OTLP_METRICS_HEADERS || env.OTEL_EXPORTER_OTLP_HEADERS || '';
  return Object.fromEntries(
    text.split(',').flatMap((pair): [string, string][] => {
      const equals = pair.indexOf('=');
      if (equals < 1) return [];
      return [
        [pair.slice(0, equals).trim().toLowerCase(), decodeURIComponent(pair.slice(equals + 1).trim())],
      ];
    }),
  );
}

const attribute = ([key, text]: readonly [string, string]) => ({
  key,
  value: { stringValue: inertName(text) },
});

/** A double in the JSON of protobuf, which writes these as text. */
const double = (value: number): number | string =>
  Number.isNaN(value) ? 'NaN' : Number.isFinite(value) ? value : value > 0 ? 'Infinity' : '-Infinity';

/**
 * An ExportMetricsServiceRequest. Pure.
 *
 * @param now milliseconds since 1970
 * @param began when the watcher started, from which counters count
 */
export function otlpRequest(
  families: readonly MetricFamily[],
  began: number,
  now: number,
  version: string,
): unknown {
  // 64-bit integers are text in the JSON of protobuf.
  const nanoseconds = (milliseconds: number): string => `${Math.round(milliseconds)}000000`;
  const metrics = families
    .filter(({ measurements }) => measurements.length > 0)
    .map(({ name, help, kind, unit, measurements }) => {
      const dataPoints = measurements.map(({ labels, value }) => ({
        attributes: Object.entries(labels).map(attribute),
        startTimeUnixNano: nanoseconds(began),
        timeUnixNano: nanoseconds(now),
        asDouble: double(value),
      }));
      const data =
        kind === 'gauge'
          ? { gauge: { dataPoints } }
          : { sum: { dataPoints, aggregationTemporality: 2, isMonotonic: true } };
      return { name, description: help, unit, ...data };
    });
  return {
    resourceMetrics: [
      {
        resource: { attributes: [attribute(['service.name', 'clippy-diag'])] },
        scopeMetrics: [{ scope: { name: 'clippy-diag', version }, metrics }],
      },
    ],
  };
}

/** @returns undefined where the collector took them, else why not */
export const sendOtlp = (request: unknown, env: Env): Promise<string | undefined> =>
  postJson(otlpAddress(env), request, env, otlpHeaders(env));
