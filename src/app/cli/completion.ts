/**
 * Completion scripts for bash, zsh and PowerShell, made from what the commands say of themselves: commands, flags, values
 * that are known beforehand, and files everywhere else. A script answers without starting this program.
 */
import type { Command } from './command.ts';
import { knownValuesOf } from './known-values.ts';

export const SHELLS = ['bash', 'zsh', 'powershell'] as const;
export type Shell = (typeof SHELLS)[number];

/** What may follow: known values, files, or something unknown in advance. */
type Values = readonly string[] | 'files' | 'unknown';

interface CommandWords {
  /** `gate`, `baseline show` */
  readonly words: string;
  readonly summary: string;
  /** Every flag, `--no-…` included. */
  readonly flags: readonly string[];
  /** What comes after a flag that takes a value. */
  readonly values: ReadonlyMap<string, Values>;
  readonly args: Values;
}

interface DescribedFlag {
  readonly type: 'boolean' | 'option';
  readonly char?: string;
  readonly allowNo?: boolean;
  readonly helpValue?: string | string[];
}

const FILE_VALUE = /\b(FILE|PATH|FOLDER)\b/;

async function valuesAfter(flag: DescribedFlag): Promise<Values> {
  const known = await knownValuesOf(flag as object);
  return known ?? (FILE_VALUE.test(String(flag.helpValue)) ? 'files' : 'unknown');
}

/** What a shell needs to know of the commands. */
export async function completionWords(commands: ReadonlyMap<string, Command>): Promise<CommandWords[]> {
  const found: CommandWords[] = [];
  for (const [id, command] of commands) {
    const flags: string[] = ['--help'];
    const values = new Map<string, Values>();
    for (const [name, flag] of Object.entries(command.flags as Readonly<Record<string, DescribedFlag>>)) {
      flags.push(`--${name}`);
      if (flag.type === 'option') values.set(`--${name}`, await valuesAfter(flag));
      else if (flag.allowNo === true) flags.push(`--no-${name}`);
    }
    const [arg] = Object.values(command.args);
    const args = arg === undefined ? 'unknown' : ((await knownValuesOf(arg)) ?? 'files');
    found.push({ words: id.replaceAll(':', ' '), summary: command.summary, flags, values, args });
  }
  return found;
}

/** The script of a shell for the program of this name. */
export function completionScript(shell: Shell, program: string, commands: readonly CommandWords[]): string {
  const write = { bash, zsh, powershell }[shell];
  return write(program, commands);
}

/** A word that no shell takes for anything else: ids, names of flags, values with `:`, `=`, `/` and `.`. */
const PLAIN_WORD = /^[\w./:=+-]+$/;
const plain = (words: readonly string[]): string[] => {
  const odd = words.find((word) => !PLAIN_WORD.test(word));
  if (odd !== undefined) throw new Error(`a completion script cannot hold ${JSON.stringify(odd)}`);
  return [...words];
};
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** First words of all commands, each once. */
const firstWords = (commands: readonly CommandWords[]): string[] =>
  plain([...new Set([...commands.map(({ words }) => words.split(' ')[0]!), 'help'])]);
const nestedCommands = (commands: readonly CommandWords[]): CommandWords[] =>
  commands.filter(({ words }) => words.includes(' '));

/** Second words below each first word that has some. */
const secondWords = (commands: readonly CommandWords[]): Map<string, string[]> => {
  const found = new Map<string, string[]>();
  for (const { words } of nestedCommands(commands)) {
    const [first, second] = words.split(' ') as [string, string];
    found.set(first, [...(found.get(first) ?? []), second]);
  }
  return found;
};

/** Lines of a `case` of bash and zsh: one for each command, and flag, whose values are these. */
function cases(
  commands: readonly CommandWords[],
  bodyOf: (values: Values) => string,
  seconds: ReadonlyMap<string, readonly string[]>,
): { readonly flags: string[]; readonly names: string[]; readonly args: string[] } {
  // One line for all that are completed alike.
  const byBody = new Map<string, string[]>();
  for (const { words, values } of commands)
    for (const [flag, what] of values) {
      const body = bodyOf(what);
      byBody.set(body, [...(byBody.get(body) ?? []), `'${words} ${flag}'`]);
    }
  const args = commands.map(({ words, args: what }) => ({
    words,
    // `matrix` takes a file, or the word of a command below it.
    what: what === 'files' && seconds.has(words) ? plain(seconds.get(words)!) : what,
  }));
  for (const [first, second] of seconds)
    if (!commands.some(({ words }) => words === first)) args.push({ words: first, what: second });
  return {
    flags: [...byBody].map(([body, names]) => `${names.join('|')}) ${body} ;;`),
    names: commands.map(({ words, flags }) => `'${words}') list=${quoted(plain(flags).join(' '))} ;;`),
    args: args.map(({ words, what }) => `'${words}') ${bodyOf(what)} ;;`),
  };
}

const indented = (lines: readonly string[], by: number): string =>
  lines.map((line) => ' '.repeat(by) + line).join('\n');

const nestedPattern = (commands: readonly CommandWords[]): string =>
  nestedCommands(commands)
    .map(({ words }) => `'${words}'`)
    .join('|');

function bash(program: string, commands: readonly CommandWords[]): string {
  const name = `_${program.replaceAll('-', '_')}`;
  const { flags, names, args } = cases(
    commands,
    (values) =>
      values === 'files'
        ? 'return'
        : values === 'unknown'
          ? 'compopt +o default 2>/dev/null; return'
          : `list=${quoted(plain(values).join(' '))}`,
    secondWords(commands),
  );
  return `# Completion of ${program} in bash. Put this line into ~/.bashrc:
#   eval "$(${program} completion bash)"
${name}() {
  local line=\${COMP_LINE:0:COMP_POINT} IFS=$' \\t\\n'
  local word=\${line##*[[:space:]]}
  local -a words
  read -ra words <<<"\${line%"$word"}"
  local command=\${words[1]-} flag= value=$word list= breaks=\${COMP_WORDBREAKS//[^:=]/} prefix= lead=
  case "$command \${words[2]-}" in
    ${nestedPattern(commands)}) command="$command \${words[2]}" ;;
  esac
  if [[ $word == --*=* ]]; then
    flag=\${word%%=*} value=\${word#*=}
    [[ $breaks == *=* ]] || lead=$flag=
  elif ((\${#words[@]} > 1)); then
    flag=\${words[\${#words[@]} - 1]}
  fi
  COMPREPLY=()
  if ((\${#words[@]} < 2)); then
    list=${quoted(`${firstWords(commands).join(' ')} --help --version`)}
  else
    case "$command $flag" in
${indented(flags, 6)}
      *)
        if [[ $word == -* ]]; then
          case $command in
${indented(names, 12)}
          esac
        else
          case $command in
${indented(args, 12)}
          esac
        fi
        ;;
    esac
  fi
  # The shell breaks words at : and =, and completes what comes after.
  [[ -n $breaks && $value == *["$breaks"]* ]] && prefix=\${value%"\${value##*["$breaks"]}"}
  COMPREPLY=($(compgen -W "$list" -- "$value"))
  COMPREPLY=("\${COMPREPLY[@]/#"$prefix"/$lead}")
  if ((\${#COMPREPLY[@]} == 1)); then
    [[ \${COMPREPLY[0]} == *[:=] ]] && compopt -o nospace 2>/dev/null
    # A beginning that is there whole: a file comes next.
    [[ -n \${COMPREPLY[0]} ]] || COMPREPLY=()
  fi
}
complete -o default -F ${name} ${program}
`;
}

function zsh(program: string, commands: readonly CommandWords[]): string {
  const name = `_${program.replaceAll('-', '_')}`;
  const { flags, names, args } = cases(
    commands,
    (values) =>
      values === 'files'
        ? '_files; return'
        : values === 'unknown'
          ? 'return 1'
          : `list=${quoted(plain(values).join(' '))}`,
    secondWords(commands),
  );
  const described = commands
    .filter(({ words }) => !words.includes(' '))
    .map(({ words, summary }) => quoted(`${words}:${summary.replaceAll(':', ' -')}`));
  const others = firstWords(commands)
    .filter((word) => !commands.some(({ words }) => words === word))
    .map((word) => quoted(word));
  return `#compdef ${program}
# Completion of ${program} in zsh. Put this line into ~/.zshrc, after compinit:
#   eval "$(${program} completion zsh)"
${name}() {
  local command="\${words[2]}" flag= list=
  local -a first known
  if ((CURRENT == 2)); then
    first=(
${indented([...described, ...others], 6)}
    )
    [[ $PREFIX == -* ]] && { compadd -- --help --version; return; }
    _describe command first
    _files
    return
  fi
  case "\${words[2]} \${words[3]}" in
    ${nestedPattern(commands)}) ((CURRENT > 3)) && command="\${words[2]} \${words[3]}" ;;
  esac
  if [[ $PREFIX == --*=* ]]; then
    flag="\${PREFIX%%=*}"
    compset -P "$flag="
  else
    flag="\${words[CURRENT - 1]}"
  fi
  case "$command $flag" in
${indented(flags, 4)}
    *)
      if [[ $PREFIX == -* ]]; then
        case "$command" in
${indented(names, 10)}
        esac
      else
        case "$command" in
${indented(args, 10)}
        esac
      fi
      ;;
  esac
  known=(\${=list})
  # After a beginning that is there whole comes a file.
  if [[ $PREFIX == *[:=]* && -n \${known[(r)\${PREFIX%%[:=]*}[:=]]} ]]; then
    compset -P '*[:=]'
    _files
    return
  fi
  compadd -S '' -- \${(M)known:#*[:=]}
  compadd -- \${known:#*[:=]}
}
if [[ \${funcstack[1]} == ${name} ]]; then
  ${name} "$@"
else
  compdef ${name} ${program}
fi
`;
}

function powershell(program: string, commands: readonly CommandWords[]): string {
  const list = (words: readonly string[]): string =>
    plain(words)
      .map((word) => `'${word}'`)
      .join(', ');
  const seconds = secondWords(commands);
  const known = (values: Values): values is readonly string[] => typeof values !== 'string';
  const argsOf = [
    ...commands.map(({ words, args }): [string, readonly string[]] => [
      words,
      known(args) ? args : (seconds.get(words) ?? []),
    ]),
    ...[...seconds].filter(([first]) => !commands.some(({ words }) => words === first)),
  ].filter(([, values]) => values.length > 0);
  return `# Completion of ${program} in PowerShell. Put this line into $PROFILE:
#   ${program} completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName '${program}' -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $flags = @{
${indented(
  commands.map(({ words, flags }) => `'${words}' = @(${list(flags)})`),
  4,
)}
  }
  $values = @{
${indented(
  commands.flatMap(({ words, values }) =>
    [...values].flatMap(([flag, what]) => (known(what) ? [`'${words} ${flag}' = @(${list(what)})`] : [])),
  ),
  4,
)}
  }
  $arguments = @{
${indented(
  argsOf.map(([words, what]) => `'${words}' = @(${list(what)})`),
  4,
)}
  }
  $words = @($commandAst.CommandElements |
    Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
    ForEach-Object { $_.ToString() })
  $command = if ($words.Count -gt 1) { $words[1] } else { '' }
  if ($words.Count -gt 2 -and $flags.ContainsKey("$command $($words[2])")) { $command = "$command $($words[2])" }
  $before = ''
  $value = $wordToComplete
  if ($wordToComplete -match '^(--[\\w-]+)=(.*)$') {
    $last = $Matches[1]
    $before = "$last="
    $value = $Matches[2]
  } else {
    $last = $words[-1]
  }
  # Where nothing is returned, PowerShell completes files.
  $candidates = if ($words.Count -lt 2) { @(${list(firstWords(commands))}) }
    elseif ($values.ContainsKey("$command $last")) { $values["$command $last"] }
    elseif ($value -like '-*') { $flags[$command] }
    else { $arguments[$command] }
  $candidates |
    Where-Object { $_ -and $_.StartsWith($value) } |
    ForEach-Object { [System.Management.Automation.CompletionResult]::new("$before$_", $_, 'ParameterValue', $_) }
}
`;
}
