import * as Args from '@oclif/core/args';
import { EXIT } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { PAGE_WIDTH, wrapMarkdown } from '../../model/wrap-markdown.ts';
import { textTable } from '../../report/text-table.ts';
import { textWidth } from '../../report/text-width.ts';
import { startOf } from '../../report/wrap.ts';
import { command } from '../cli/command.ts';
import { knowing } from '../cli/known-values.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { explain, explainable, PAGE_KINDS } from '../engine/pages.ts';

const HEADS: Readonly<Record<(typeof PAGE_KINDS)[number], string>> = {
  guide: 'Guides',
  format: 'Formats of logs',
  failure: 'Failures that a log alone may show',
  crash: 'How a process may end',
  finding: 'What may be found in a run',
  rule: 'Clipping rules',
  error: 'Errors',
  decision: 'Why it is built as it is',
};

export default command({
  summary:
    'Print a page of the docs: a guide, a failure, a finding, a clipping rule, an error; or the pages on a symptom. Without an id, list them.',
  description: 'All docs come with the package and are read without a network.',
  examples: [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> gate',
    '<%= config.bin %> <%= command.id %> full-divergence',
    '<%= config.bin %> <%= command.id %> not learning',
    '<%= config.bin %> <%= command.id %> clippy',
    '<%= config.bin %> <%= command.id %> file-changed',
  ],
  flags: {},
  takesMany: true,
  args: {
    id: knowing(Args.string({ description: 'as in the list, a report or an error message' }), async () =>
      (await explainable()).map(({ id }) => id),
    ),
  },

  async run({ argv, flags }, io) {
    const { width } = terminalOptions(io.stdout, io.env, false);
    const id = argv.join(' ');
    if (id !== '') {
      const narrow = io.stdout.isTTY && width < PAGE_WIDTH;
      const page = await explain(id);
      if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, id, page });
      else await io.print(narrow ? wrapMarkdown(page, width) : page);
      return EXIT.done;
    }
    const all = await explainable();
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, pages: all });
    else {
      const cut = (line: string): string =>
        textWidth(line) <= width ? line : `${startOf(line, width - 4)} ...`;
      const lines = PAGE_KINDS.flatMap((kind) => {
        const rows = all.filter((one) => one.kind === kind).map(({ id, summary }) => [id, summary]);
        return [HEADS[kind], ...textTable({ rows }).map((line) => cut(`  ${line}`)), ''];
      });
      await io.print(`${lines.join('\n')}One of them: clippy-diag explain ID`);
    }
    return EXIT.done;
  },
});
