import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { EXIT } from '../../model/errors.ts';
import { isUrl, withoutSecrets } from '../../model/url.ts';
import { readText } from '../../read/bytes/source.ts';
import { PLAIN } from '../../report/format.ts';
import { renderGate } from '../../report/gate-text.ts';
import { parseReport } from '../../report/parse-report.ts';
import { REPORT_FORMATS, type ReportFormatId } from '../../report/registry.ts';
import { printBrief } from '../cli/brief-output.ts';
import { command } from '../cli/command.ts';
import { page, pageFlags } from '../cli/page.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { reportFlag, reportTargets, writeReports } from '../cli/report-files.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { chosen } from '../engine/choose-runs.ts';

export default command({
  summary: 'Render a saved report again, in any format.',
  description:
    'The same report gives the same bytes as the command that made it. Exits 0 once the report is out: the verdict ' +
    'was that of the command; `gate REPORT.json` judges it again.',
  examples: [
    '<%= config.bin %> <%= command.id %> report.json',
    '<%= config.bin %> <%= command.id %> report.json --to html > report.html',
    '<%= config.bin %> <%= command.id %> report.json --report junit:junit.xml --report sarif:out.sarif',
  ],
  args: { path: Args.string({ required: true, description: 'a saved report (JSON)' }) },
  flags: {
    ...pageFlags,
    ...offlineFlag,
    to: Flags.option({
      description: 'the format to print',
      helpValue: 'FORMAT',
      helpGroup: 'OUTPUT',
      options: Object.keys(REPORT_FORMATS) as ReportFormatId[],
    })(),
    report: reportFlag('write it as FORMAT:FILE instead (may be repeated)'),
  },

  async run({ args, flags }, io) {
    const { targets, refused } = await reportTargets(flags.report, [args.path], io);
    const text = await withLocalPaths([args.path], flags, io, ({ paths: [path] }) => readText(path!));
    const report = chosen(parseReport(text, isUrl(args.path) ? withoutSecrets(args.path) : args.path), flags);
    if (refused !== null) throw refused;
    const format = flags.to ?? (flags.json ? 'json' : undefined);
    if (flags.brief && flags.to === undefined) await printBrief(report, flags.json, io);
    else if (format !== undefined) await io.write(REPORT_FORMATS[format].render(report, PLAIN));
    else if (targets.length === 0) {
      await io.print(page(report, flags, io));
      if (report.gate !== undefined)
        await io.print(`\n${renderGate(report.gate, terminalOptions(io.stdout, io.env, flags.ascii))}`);
    }
    await writeReports(report, targets, io);
    return EXIT.done;
  },
});
