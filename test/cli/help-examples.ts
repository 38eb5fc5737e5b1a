/** Every example of every command's help. */
import { ROOT_EXAMPLES } from '../../src/app/cli/help.ts';
import { COMMANDS } from '../../src/run.ts';
import { testLines } from '../support/example-lines.ts';

export const commands = await Promise.all(
  Object.entries(COMMANDS).map(async ([id, load]) => ({ id, ...(await load()).default })),
);
const examples = [
  ...ROOT_EXAMPLES,
  ...commands.flatMap(({ id, examples }) =>
    examples.map((text) =>
      text
        .replaceAll('<%= config.bin %>', 'clippy-diag')
        .replaceAll('<%= command.id %>', id.replace(':', ' ')),
    ),
  ),
];

/** Makes a test of each example whose line is one of these. Those of a queue need a Redis: test/docs/commands.long.test.ts. */
export function testExamples(isOne: (line: string) => boolean): void {
  testLines(examples.filter((line) => !line.includes('--queue ') && isOne(line)));
}
