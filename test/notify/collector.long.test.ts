/**
 * What `--metrics` sends and writes, by the programs that read it: an OpenTelemetry collector and Prometheus, with the configuration, the
 * rules and the names of examples/monitoring. Both are looked for as the servers of test/sources/real-servers.long.test.ts are.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { answers, freePort, programOf, startServer } from '../support/real-servers.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('collector');
const examples = join(projectRoot, 'examples/monitoring');
const [collector, prometheus, promtool] = ['otelcol', 'prometheus', 'promtool'].map(programOf);
const missing = Object.entries({ otelcol: collector, prometheus, promtool }).flatMap(([name, path]) =>
  path === undefined ? [name] : [],
);

/** Records of a falling loss; from step `bad` on it is far above. */
const records = (bad = Infinity): string =>
  Array.from({ length: 600 }, (_, step) => {
    const calm = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898);
    return `${JSON.stringify({ step, loss: step >= bad ? 80 + calm : calm })}\n`;
  }).join('');

describe.skipIf(missing.length > 0)(
  `a collector and Prometheus${missing.length > 0 ? ` (not installed: ${missing.join(', ')})` : ''}`,
  () => {
    const folder = newFolder();
    const stops: (() => Promise<void>)[] = [];
    let [otlp, exporter, web] = [0, 0, 0];

    beforeAll(async () => {
      [otlp, exporter, web] = [await freePort(), await freePort(), await freePort()];
      const settings = readFileSync(join(examples, 'otel-collector.yaml'), 'utf8')
        .replaceAll('4318', String(otlp))
        .replaceAll('8889', String(exporter))
        // The collector serves its own metrics on a port that may be taken.
        .replace('service:', 'service:\n  telemetry: { metrics: { level: none } }');
      writeFileSync(join(folder, 'collector.yaml'), settings);
      copyFileSync(join(examples, 'prometheus-rules.yml'), join(folder, 'rules.yml'));
      writeFileSync(
        join(folder, 'prometheus.yml'),
        `global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\nscrape_configs:\n  - job_name: c\n    static_configs: [{ targets: ["127.0.0.1:${exporter}"] }]\n`,
      );
      stops.push(
        await startServer(collector!, [`--config=${join(folder, 'collector.yaml')}`], {
          cwd: folder,
          ready: answers(`http://127.0.0.1:${exporter}/metrics`),
        }),
        await startServer(
          prometheus!,
          [
            `--config.file=${join(folder, 'prometheus.yml')}`,
            `--storage.tsdb.path=${join(folder, 'tsdb')}`,
            `--web.listen-address=127.0.0.1:${web}`,
          ],
          { cwd: folder, ready: answers(`http://127.0.0.1:${web}/-/ready`) },
        ),
      );
    }, 250_000);
    afterAll(async () => {
      for (const stop of stops) await stop();
    });

    it('the rules fire for the bad runs alone; the textfile and the rules pass promtool', async () => {
      const runs = join(folder, 'runs');
      for (const [name, text] of [
        ['bad', records(400)],
        ['worse', records(450)],
        ['good', records()],
      ] as const) {
        mkdirSync(join(runs, name), { recursive: true });
        writeFileSync(join(runs, name, 'log.jsonl'), text);
      }
      const textfile = join(folder, 'runs.prom');
      const { code, err } = await cli(
        ['watch', runs, '--no-config', '--idle-exit', '2', '--metrics', 'otlp', '--metrics', textfile],
        { cwd: folder, env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${otlp}` } },
      );
      expect([code, err]).toEqual([0, expect.not.stringContaining('otlp')]);
      const firing = async (): Promise<string[]> => {
        const answer = await fetch(`http://127.0.0.1:${web}/api/v1/alerts`);
        const { data } = (await answer.json()) as {
          data: { alerts: { state: string; labels: Record<string, string> }[] };
        };
        return data.alerts
          .filter(({ state }) => state === 'firing')
          .map(({ labels }) => `${labels.alertname} ${labels.run} ${labels.class}`)
          .sort();
      };
      const wanted = ['bad', 'worse'].map((run) => `TrainingDiverged ${run}/log.jsonl full-divergence`);
      for (let tries = 0; tries < 60 && (await firing()).length < wanted.length; tries++) await wait(500);
      expect(await firing()).toEqual(wanted);
      const check = (args: readonly string[], input = ''): string =>
        execFileSync(promtool!, args, { input, encoding: 'utf8' });
      expect(check(['check', 'metrics'], readFileSync(textfile, 'utf8'))).toBe('');
      expect(check(['check', 'rules', join(folder, 'rules.yml')])).toContain('SUCCESS: 4 rules found');
    }, 120_000);
  },
);

const exporterProgram = programOf('prometheus-node-exporter') ?? programOf('node_exporter');

it.skipIf(exporterProgram === undefined)(
  `the node exporter serves the textfile as it is replaced${exporterProgram === undefined ? ' (not installed)' : ''}`,
  async () => {
    const folder = newFolder();
    const runs = join(folder, 'runs');
    const textfiles = join(folder, 'textfiles');
    for (const one of [runs, textfiles]) mkdirSync(one);
    const port = await freePort();
    const page = `http://127.0.0.1:${port}/metrics`;
    const stop = await startServer(
      exporterProgram!,
      [
        '--collector.disable-defaults',
        '--collector.textfile',
        `--collector.textfile.directory=${textfiles}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { cwd: folder, ready: answers(page) },
    );
    try {
      const served = async (): Promise<string[]> => {
        await cli(
          ['watch', runs, '--no-config', '--idle-exit', '2', '--metrics', join(textfiles, 'runs.prom')],
          { cwd: folder },
        );
        const text = await (await fetch(page)).text();
        expect(text).toContain('node_textfile_scrape_error 0');
        return text.split('\n').filter((line) => line.startsWith('clippy_diag_run_verdict{'));
      };
      writeFileSync(join(runs, 'log.jsonl'), records());
      expect(await served()).toEqual([expect.stringMatching(/class="healthy".* 0$/)]);
      writeFileSync(join(runs, 'log.jsonl'), records(400));
      expect(await served()).toEqual([expect.stringMatching(/class="full-divergence".* 5$/)]);
    } finally {
      await stop();
    }
  },
  120_000,
);
