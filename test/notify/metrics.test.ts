/** Metrics: the file that Prometheus' textfile collector reads, and what an OpenTelemetry collector gets. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { metricsOf } from '../../src/app/notify/metrics.ts';
import { otlpAddress, otlpHeaders, otlpRequest } from '../../src/app/notify/otlp.ts';
import { prometheusText } from '../../src/app/notify/prometheus.ts';
import { fullReport } from '../reports/full-report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('metrics');
const families = metricsOf({
  report: fullReport({ run: 'a"b\\c\n/log.csv' }),
  paces: {
    pace: null,
    points: new Map(),
    samples: [],
    news: new Map([['runs/b/log.csv', { at: 1_700_000_000_500, grew: true }]]),
  },
  stalls: [{ run: 'runs/b/log.csv', stepUnit: 'step', step: 200, since: '12 min' }],
  raised: new Map([['full-divergence', 1]]),
  now: 1_700_000_060_000,
});

it('the text format: one TYPE a family, escaped names, a loss that is no number', () => {
  const text = prometheusText(families);
  const lines = text.split('\n');
  expect(text.endsWith('\n')).toBe(true);
  for (const line of lines.slice(0, -1))
    expect(line).toMatch(
      /^(# (HELP|TYPE) clippy_diag_\w+ .+|clippy_diag_\w+(\{(\w+="([^"\\]|\\.)*",?)+\})? (NaN|[+-]Inf|-?[\d.e+-]+))$/,
    );
  expect(lines).toContain('clippy_diag_run_loss{run="a\\"b\\\\c\\\\u{a}/log.csv"} NaN');
  expect(lines).toContain('clippy_diag_runs{class="full-divergence"} 1');
  expect(lines).toContain('clippy_diag_runs{class="healthy"} 1');
  expect(lines).toContain('clippy_diag_run_stalled{run="runs/b/log.csv"} 1');
  expect(lines).toContain('clippy_diag_run_last_record_timestamp_seconds{run="runs/b/log.csv"} 1700000000.5');
  expect(lines).toContain('clippy_diag_alerts_total{class="full-divergence"} 1');
  const types = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]);
  expect(new Set(types).size).toBe(types.length);
});

it('the request of OTLP: times as text, numbers that are none as text, counters that only grow', () => {
  const request = otlpRequest(families, 1_700_000_000_000, 1_700_000_060_000, '0.3.0') as {
    resourceMetrics: [{ scopeMetrics: [{ metrics: { name: string; gauge?: { dataPoints: unknown[] } }[] }] }];
  };
  const { metrics } = request.resourceMetrics[0].scopeMetrics[0];
  expect(metrics.find(({ name }) => name === 'clippy_diag_run_loss')!.gauge!.dataPoints[0]).toMatchObject({
    timeUnixNano: '1700000060000000000',
    asDouble: 'NaN',
  });
  expect(metrics.find(({ name }) => name === 'clippy_diag_alerts_total')).toMatchObject({
    sum: { isMonotonic: true, aggregationTemporality: 2, dataPoints: [{ asDouble: 1 }] },
  });
  expect(JSON.stringify(request)).not.toContain('null');
});

it('a collector keeps the names: alert rules and dashboard ask for those of the textfile', () => {
  // Measured with the collector's Prometheus exporter: a gauge of unit 1 becomes NAME_ratio.
  expect(families.filter(({ kind, unit }) => kind === 'gauge' && unit === '1')).toEqual([]);
  const names = new Set(families.map(({ name }) => name));
  for (const file of ['prometheus-rules.yml', 'grafana-dashboard.json']) {
    const asked = readFileSync(join(projectRoot, 'examples/monitoring', file), 'utf8').match(
      /clippy_diag_\w+/g,
    );
    expect(asked!.length).toBeGreaterThan(3);
    expect(asked!.filter((name) => !names.has(name))).toEqual([]);
  }
});

it('address and headers are those of the environment', () => {
  expect(otlpAddress({})).toBe('http://localhost:4318/v1/metrics');
  expect(otlpAddress({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c:4318/' })).toBe('https://c:4318/v1/metrics');
  expect(otlpAddress({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://c/m' })).toBe('https://c/m');
  expect(otlpHeaders({ OTEL_EXPORTER_OTLP_HEADERS: 'Api-Key=a%20b, x=1,bad' })).toEqual({
    'api-key': 'a b',
    x: '1',
  });
});

it('watch writes the file and sends to the collector; one that is gone is said once', async () => {
  const folder = newFolder();
  const path = join(folder, 'log.jsonl');
  writeFileSync(
    path,
    Array.from(
      { length: 300 },
      (_, i) => `{"step":${i},"loss":${0.5 + 2 * Math.exp(-i / 60) + 0.01 * Math.sin(i)}}\n`,
    ).join(''),
  );
  const bodies: { resourceMetrics: unknown[] }[] = [];
  const headers: unknown[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      bodies.push(JSON.parse(text));
      headers.push(request.headers['api-key']);
      response.end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const file = join(folder, 'runs.prom');
  const args = [
    'watch',
    path,
    '--metrics',
    file,
    '--metrics',
    'otlp',
    '--idle-exit',
    '60',
    '--interval',
    '5',
  ];
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    OTEL_EXPORTER_OTLP_HEADERS: 'api-key=s3cret',
  };
  const good = await cli([...args, '--state', join(folder, 's'), '--no-config'], { env });
  expect(good.code).toBe(0);
  expect(readFileSync(file, 'utf8')).toContain(`clippy_diag_run_last_step{run="${path}"} 299\n`);
  // Every ten seconds at most.
  expect([bodies.length, headers[0]]).toEqual([7, 's3cret']);
  server.close();
  const gone = await cli([...args, '--state', join(folder, 's'), '--no-config'], { env });
  expect(gone.code).toBe(0);
  expect(gone.err.match(/otlp failed/g)).toHaveLength(1);
  expect(gone.err + gone.out).not.toContain('s3cret');
});
