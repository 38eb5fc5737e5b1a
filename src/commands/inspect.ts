import { Args } from '@oclif/core';
import { openFile } from '../bytes/source.ts';
import { DiagCommand } from '../cli/base-command.ts';

export default class Inspect extends DiagCommand {
  static override summary = 'Show what is in a log, checkpoint or capture.';
  static override strict = false;
  static override args = { path: Args.string({ required: true, description: 'file or folder' }) };

  async run(): Promise<void> {
    const { argv } = await this.parse(Inspect);
    for (const path of argv as string[]) await openFile(path);
  }
}
