import * as Args from '@oclif/core/args';
import { EXIT } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { command } from '../cli/command.ts';
import { completionScript, completionWords, SHELLS, type Shell } from '../cli/completion.ts';

export default command({
  summary: 'Print a script that completes commands, flags, values, ids and files in your shell.',
  description:
    'bash: eval "$(clippy-diag completion bash)" in ~/.bashrc. zsh: eval "$(clippy-diag completion zsh)" in ~/.zshrc, ' +
    'after compinit. PowerShell: clippy-diag completion powershell | Out-String | Invoke-Expression in $PROFILE.',
  examples: [
    'eval "$(<%= config.bin %> <%= command.id %> bash)"',
    '<%= config.bin %> <%= command.id %> zsh > _clippy-diag',
    '<%= config.bin %> <%= command.id %> powershell',
  ],
  args: { shell: Args.string({ required: true, options: [...SHELLS], description: 'your shell' }) },
  flags: {},

  async run({ args, flags }, io) {
    const commands = new Map<string, Awaited<ReturnType<(typeof io.commands)[string]>>['default']>();
    for (const [id, load] of Object.entries(io.commands)) commands.set(id, (await load()).default);
    const script = completionScript(args.shell as Shell, 'clippy-diag', await completionWords(commands));
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, shell: args.shell, script });
    else await io.write(script);
    return EXIT.done;
  },
});
