import * as Flags from '@oclif/core/flags';
import type { Column } from '../../model/column.ts';
import { diagError, EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { ROLES } from '../../model/run.ts';
import { summariseSeries } from '../../model/series-summary.ts';
import { drawChart } from '../../report/charts.ts';
import { chartGroups, runMarkers } from '../../report/terminal.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { configFlags, thresholdsByFlags } from '../cli/gate-flags.ts';
import { knowing } from '../cli/known-values.ts';
import { withLocalPaths } from '../cli/remote-paths.ts';
import { logFlags, pathArgs, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { collectInputs } from '../engine/collect.ts';
import { exitCodeOfErrors } from '../engine/exit-code.ts';
import { diagnoseRun } from '../engine/report.ts';

export default command({
  summary: 'Draw the series of a log as charts, nothing else.',
  examples: [
    '<%= config.bin %> <%= command.id %> train.jsonl',
    '<%= config.bin %> <%= command.id %> train.jsonl --metric grad_norm --log --from 300 --to 500',
  ],
  takesMany: true,
  args: pathArgs,
  flags: {
    ...logFlags,
    ...configFlags,
    metric: knowing(
      Flags.string({
        helpValue: 'SERIES',
        helpGroup: 'CHART',
        description:
          'series by name or role (may be repeated); default: losses, gradient norm, risk of a guard',
        multiple: true,
        multipleNonGreedy: true,
      }),
      () => ROLES,
    ),
    log: Flags.boolean({
      helpGroup: 'CHART',
      description: 'logarithmic scale (default: when the range asks for it)',
      exclusive: ['linear'],
    }),
    linear: Flags.boolean({ helpGroup: 'CHART', description: 'linear scale', exclusive: ['log'] }),
    from: Flags.integer({ helpValue: 'STEP', helpGroup: 'CHART', description: 'first step' }),
    to: Flags.integer({ helpValue: 'STEP', helpGroup: 'CHART', description: 'last step' }),
    ascii: Flags.boolean({ helpGroup: 'CHART', description: 'draw with ASCII characters only' }),
  },

  async run({ argv, flags }, io) {
    const thresholds = await thresholdsByFlags(flags);
    const { logs, errors } = await withLocalPaths(argv, flags, io, async ({ paths, shown }) =>
      shown(await collectInputs(paths, readOptionsOf(flags, io))),
    );
    const runs = logs.flatMap((log) => log.runs);
    const from = flags.from ?? Number.NEGATIVE_INFINITY;
    const to = flags.to ?? Number.POSITIVE_INFINITY;
    const terminal = terminalOptions(io.stdout, io.env, flags.ascii);
    const wanted = (name: string, role: string): boolean =>
      flags.metric?.some((m) => m === name || m === role) ?? true;
    const charts = runs.map((run) => {
      // Buckets are made of the steps that are shown: zooming in shows more.
      const series = run.series
        .filter((s) => wanted(s.name, s.role))
        .map((s) => {
          const isInside = [...s.step].map((step) => step >= from && step <= to);
          const pick = (values: Column): Column => values.filter((_, i) => isInside[i]);
          return summariseSeries(
            {
              name: s.name,
              role: s.role,
              step: pick(s.step),
              value: pick(s.value),
              missing: 0,
              refused: 0,
              attemptOffsets: [0],
              pathOffsets: [0],
            },
            2000,
          );
        })
        .filter((s) => s.points > 0);
      const groups =
        flags.metric === undefined
          ? chartGroups(series)
          : series.map((s) => ({ title: s.name, series: [s] }));
      return { run, groups, found: run.series.map((s) => s.name) };
    });
    const chosen = runs.flatMap((run) =>
      run.series.filter((s) => wanted(s.name, s.role) && s.step.length > 0),
    );
    const [unread] = errors;
    if (unread !== undefined && charts.every(({ groups }) => groups.length === 0)) throw unread;
    if (
      charts.every(({ groups }) => groups.length === 0) &&
      chosen.length > 0 &&
      (flags.from ?? flags.to) !== undefined
    )
      throw diagError('steps-empty', {
        metric: [...new Set(chosen.map((s) => s.name))].slice(0, 5),
        steps:
          flags.to === undefined
            ? `from step ${from} on`
            : flags.from === undefined
              ? `up to step ${to}`
              : `between steps ${from} and ${to}`,
        first: Math.min(...chosen.map((s) => s.step.at(0)!)),
        last: Math.max(...chosen.map((s) => s.step.at(-1)!)),
      });
    if (charts.every(({ groups }) => groups.length === 0))
      throw diagError('metric-missing', {
        metric: flags.metric?.join(', ') ?? 'loss',
        found: [...new Set(charts.flatMap((c) => c.found))].slice(0, 20),
      });
    const damage = [...errors.map((error) => error.toRecord()), ...logs.flatMap((log) => log.errors)];
    for (const error of damage) await io.remark(formatErrorRecord(error));
    const code = damage.length > 0 ? exitCodeOfErrors(damage) : EXIT.done;
    if (flags.json) {
      await io.printJson({
        schemaVersion: SCHEMA_VERSION,
        charts: charts.map(({ run, groups }) => ({ run: run.id, series: groups.flatMap((g) => g.series) })),
      });
      return code;
    }
    const texts = charts.flatMap(({ run, groups }) => [
      ...(charts.length > 1 ? [inertName(run.id)] : []),
      ...groups.map(({ title, series }) =>
        drawChart(title, series, {
          ...terminal,
          scale: flags.log ? 'log' : flags.linear ? 'linear' : 'auto',
          stepName: run.stepUnit,
          markers: runMarkers(diagnoseRun(run, { thresholds }), terminal.ascii),
          ...(flags.from === undefined ? {} : { from: flags.from }),
          ...(flags.to === undefined ? {} : { to: flags.to }),
        }),
      ),
    ]);
    await io.print(texts.join('\n\n'));
    return code;
  },
});
