/**
 * `--pattern`: lines are read by named groups. A line may be untrusted, so the pattern runs on RE2JS, which takes
 * time in proportion to pattern × line and never backtracks.
 */
import { diagError } from '../../model/errors.ts';
import { goesOn, withoutClosing } from './cell-after.ts';
import { numberOfText } from './number-text.ts';

/** Characters of a pattern. Repetition counts make a short one large, so its program has a limit too. */
const LONGEST_PATTERN = 1000;
/** Instructions of its program: a line of 64 KiB takes them all at each of its characters. */
const LARGEST_PROGRAM = 500;
/** Characters before a group that identify it. */
const LEAD = 20;

const NO_REFERENCE = 'a reference to a group is not available, since lines are read in linear time';

export interface LinePattern {
  /** What its groups took of a line: by name, of those that took part; undefined where the line does not match. */
  take(line: string): ReadonlyMap<string, string> | undefined;
  /**
   * The NaN or infinity of a line that does not match, after the words that preceded a group in the last
   * line that matched. `[\d.]+` takes no `nan`: without this, a run that died would seem to end well.
   */
  left(line: string): { readonly name: string; readonly text: string } | undefined;
}

/**
 * Compiles a pattern in the syntax of JavaScript or Python, without what needs backtracking (look-ahead,
 * references to groups). A group at the end of the match is extended to the end of the word that it cut:
 * `(?<loss>\d+)` of `1,234.5` is `1,234.5`, which is not a number.
 *
 * @throws log-pattern-bad
 */
export async function linePattern(pattern: string): Promise<LinePattern> {
  // It is large, and few need it.
  const { RE2JS } = await import('re2js');
  const bad = (reason: string, cause?: unknown): Error =>
    diagError('log-pattern-bad', { pattern: pattern.slice(0, LONGEST_PATTERN), reason }, undefined, cause);
  if (pattern.length > LONGEST_PATTERN)
    throw bad(`it has ${pattern.length} characters, and ${LONGEST_PATTERN} is the limit`);
  // RE2JS reads it as a letter.
  if (pattern.match(/\\[\s\S]/g)?.includes('\\k')) throw bad(NO_REFERENCE);
  let compiled: InstanceType<typeof RE2JS>;
  try {
    compiled = RE2JS.compile(RE2JS.translateRegExp(pattern), RE2JS.LOOKBEHINDS);
  } catch (error) {
    throw bad(reasonOf((error as Error).message), error);
  }
  const names = Object.keys(compiled.namedGroups());
  if (names.length === 0) throw bad('it names no groups');
  const size = compiled.programSize();
  if (size > LARGEST_PROGRAM)
    throw bad(`its repetitions make ${size} instructions of it, and ${LARGEST_PROGRAM} is the limit`);
  /** By group, the words before it, from the last letter or sign that no number holds. */
  const leads = new Map<string, string>();
  return {
    take(line) {
      const match = compiled.matcher(line);
      if (!match.find()) return undefined;
      const found = new Map<string, string>();
      for (const name of names) {
        const text = match.group(name);
        if (text === null) continue;
        const end = match.end(name);
        const cut = end === match.end() && /[\d.]$/.test(text) && goesOn(line.slice(end, end + 5));
        found.set(name, cut ? text + /^\S{0,40}/.exec(line.slice(end))![0] : text);
        const start = match.start(name);
        const [lead = ''] = /[a-z]\D{0,20}$/i.exec(line.slice(Math.max(0, start - LEAD), start)) ?? [];
        if (lead !== '') leads.set(name, lead);
      }
      return found;
    },
    left(line) {
      for (const [name, lead] of leads) {
        const at = line.indexOf(lead);
        if (at < 0) continue;
        const [text = ''] = /^\S{0,40}/.exec(line.slice(at + lead.length)) ?? [];
        const value = numberOfText(withoutClosing(text));
        if (value !== undefined && !Number.isFinite(value)) return { name, text };
      }
      return undefined;
    },
  };
}

/** The engine's own reason, explained where the pattern does not run in linear time. */
function reasonOf(message: string): string {
  const reason = message.replace(/^error parsing regexp: /, '');
  if (/Perl syntax: `\(\?[=!]/.test(reason))
    return `${reason}: look-ahead is not available, since lines are read in linear time`;
  return /escape sequence: `\\\d/.test(reason) ? NO_REFERENCE : reason;
}
