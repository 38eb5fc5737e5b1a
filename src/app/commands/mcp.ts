import * as Flags from '@oclif/core/flags';
import { EXIT, type ExitCode } from '../../model/errors.ts';
import { command, makingOf } from '../cli/command.ts';
import { offlineBy, offlineFlag } from '../cli/remote-paths.ts';
import { allowedBy } from '../mcp/allowed.ts';

export default command({
  summary: 'Serve agents by the Model Context Protocol, over standard input and output.',
  description:
    'Tools: analyze, gate, compare, audit, inspect, explain. They only read, within the folders and URLs of --allow, and refuse addresses of the machine’s own network. Each answer has at most 2 kB; whole reports are resources. Ends when standard input ends.',
  examples: [
    '<%= config.bin %> <%= command.id %> --allow runs',
    '<%= config.bin %> <%= command.id %> --allow runs --allow s3://bucket/experiments/',
    '<%= config.bin %> <%= command.id %> --allow runs --offline',
  ],
  args: {},
  flags: {
    allow: Flags.string({
      description:
        'a folder, or the beginning of URLs, that may be read (default: the working folder; may be repeated)',
      helpValue: 'FOLDER|URL',
      helpGroup: 'INPUT',
      multiple: true,
      multipleNonGreedy: true,
    }),
    ...offlineFlag,
  },

  async run({ flags }, io) {
    const allowed = await allowedBy(flags.allow ?? []);
    // Loaded here: the protocol's library is of use to this command alone.
    const { makeServer } = await import('../mcp/server.ts');
    const { streamTransport } = await import('../mcp/stdio.ts');
    const server = makeServer({
      allowed,
      offline: await offlineBy(flags, io.env),
      env: io.env,
      sleep: (milliseconds) => io.sleep(milliseconds, new AbortController().signal),
      ...makingOf(io),
    });
    const { transport, ended } = streamTransport(io.stdin, io.write);
    let code: ExitCode = EXIT.done;
    const stop = io.onEnd((signalled) => {
      code = signalled;
      void server.close();
    });
    await server.connect(transport);
    await ended;
    stop();
    return code;
  },
});
