import * as Args from '@oclif/core/args';
import { command } from '../cli/command.ts';
import { explain, explainable } from '../engine/pages.ts';
import { EXIT } from '../model/errors.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import { textTable } from '../reports/text-table.ts';

export default command({
  summary: 'Print the page of a detector, a clipping rule or an error; without an id, list them.',
  examples: [
    '<%= config.bin %> <%= command.id %> full-divergence',
    '<%= config.bin %> <%= command.id %> clippy',
    '<%= config.bin %> <%= command.id %> file-changed',
  ],
  flags: {},
  args: { id: Args.string({ description: 'as in a report or an error message' }) },

  async run({ args, flags }, io) {
    if (args.id === undefined) {
      const all = explainable();
      if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, pages: all });
      else
        await io.print(
          textTable({ rows: all.map(({ id, kind, summary }) => [id, kind, summary]) }).join('\n'),
        );
    } else {
      const page = explain(args.id);
      if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, id: args.id, page });
      else await io.print(page);
    }
    return EXIT.done;
  },
});
