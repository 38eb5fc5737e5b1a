import { Args } from '@oclif/core';
import { DiagCommand } from '../cli/base-command.ts';
import { explain, explainable } from '../engine/pages.ts';

export default class Explain extends DiagCommand {
  static override summary =
    'Print the page of a detector, a clipping rule or an error; without an id, list them.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> full-divergence',
    '<%= config.bin %> <%= command.id %> clippy',
    '<%= config.bin %> <%= command.id %> file-changed',
  ];
  static override args = { id: Args.string({ description: 'as in a report or an error message' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Explain);
    if (args.id === undefined) {
      const all = explainable();
      const width = Math.max(...all.map(({ id }) => id.length));
      if (flags.json) await this.printJson({ pages: all });
      else
        await this.print(
          all.map((p) => `${p.id.padEnd(width)}  ${p.kind.padEnd(8)}  ${p.summary}`).join('\n'),
        );
    } else {
      const page = explain(args.id);
      if (flags.json) await this.printJson({ id: args.id, page });
      else await this.print(page);
    }
  }
}
