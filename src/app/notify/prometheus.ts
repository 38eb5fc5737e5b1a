/**
 * Metrics as a file for the textfile collector of Prometheus' node exporter, in the text format 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { inertName } from '../../model/inert-text.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import type { MetricFamily } from './metrics.ts';

const escaped = (text: string): string =>
  inertName(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

const numberText = (value: number): string =>
  Number.isNaN(value) ? 'NaN' : Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';

/** The text of a `.prom` file. Pure. */
export const prometheusText = (families: readonly MetricFamily[]): string =>
  families
    .map(({ name, help, kind, measurements }) =>
      [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} ${kind}`,
        ...measurements.map(({ labels, value }) => {
          const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
          return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${numberText(value)}`;
        }),
        '',
      ].join('\n'),
    )
    .join('');

/** Replaces the file at once: the collector never reads a part. @throws output-unwritable */
export const writePrometheus = (path: string, families: readonly MetricFamily[]): Promise<void> =>
  writeFileAtomic(path, prometheusText(families));
