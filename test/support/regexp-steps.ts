/**
 * How many steps a backtracking matcher takes: what V8 does not tell. Classes, escapes and letter case are V8's own (each
 * atom is compiled alone); sequence, choice, repetition and backtracking are followed here, and counted.
 */
type Next = (at: number) => boolean;
type Run = (text: readonly string[], at: number, next: Next, state: State) => boolean;

interface State {
  steps: number;
  readonly limit: number;
  readonly groups: (readonly [from: number, to: number] | undefined)[];
}

/** A part of a pattern. */
type Node =
  | {
      readonly kind: 'atom' | 'anchor';
      readonly source: string;
      readonly matches: (character: string) => boolean;
    }
  | { readonly kind: 'back'; readonly group: number }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly Node[] }
  | { readonly kind: 'group'; readonly index: number | undefined; readonly body: Node }
  | {
      readonly kind: 'look';
      readonly behind: boolean;
      readonly negated: boolean;
      readonly body: Node;
      readonly source: string;
    }
  | {
      readonly kind: 'repeat';
      readonly least: number;
      readonly most: number;
      readonly lazy: boolean;
      readonly body: Node;
    };

const ATOM = /\\u\{[0-9a-f]+\}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|[^()|*+?]/iuy;
const QUANTIFIER = /([*+?]|\{(\d+)(,?)(\d*)\})(\??)/y;

/** Reads a pattern that V8 takes. */
function parsePattern({ source, flags }: RegExp): Node {
  let at = 0;
  let groups = 0;
  const own = flags.replace(/[gyd]/g, '').replace('m', '');
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(source);
    if (found !== null) at += found[0].length;
    return found;
  };
  const atom = (text: string): Node => {
    if (/^\\[1-9]$/.test(text)) return { kind: 'back', group: Number(text[1]) };
    if (/^(?:\^|\$|\\b|\\B)$/.test(text)) return { kind: 'anchor', source: text, matches: () => false };
    const plain = new RegExp(`^${text}$`, own);
    const known = new Map<string, boolean>();
    const matches = (character: string): boolean => {
      let is = known.get(character);
      if (is === undefined) {
        is = plain.test(character);
        known.set(character, is);
      }
      return is;
    };
    return { kind: 'atom', source: text, matches };
  };
  const one = (): Node => {
    const open = take(/\((?:\?(?:(<?[=!])|:|<[A-Za-z]\w*>))?/y);
    if (open === null) return atom(take(ATOM)![0]);
    const start = at;
    const index = open[1] === undefined && open[0] !== '(?:' ? ++groups : undefined;
    const body = choice();
    const inner = source.slice(start, at++);
    return open[1] === undefined
      ? { kind: 'group', index, body }
      : {
          kind: 'look',
          behind: open[1].startsWith('<'),
          negated: open[1].endsWith('!'),
          body,
          source: inner,
        };
  };
  const sequence = (): Node => {
    const parts: Node[] = [];
    while (at < source.length && source[at] !== ')' && source[at] !== '|') {
      const body = one();
      const found = take(QUANTIFIER);
      if (found === null) {
        parts.push(body);
        continue;
      }
      const [, sign, low, comma, high, lazy] = found;
      const least = sign === '+' ? 1 : low === undefined ? 0 : Number(low);
      const most =
        sign === '?'
          ? 1
          : low === undefined || (comma !== '' && high === '')
            ? Infinity
            : Number(high || low);
      parts.push({ kind: 'repeat', least, most, lazy: lazy !== '', body });
    }
    return { kind: 'sequence', parts };
  };
  const choice = (): Node => {
    const parts = [sequence()];
    while (source[at] === '|') {
      at++;
      parts.push(sequence());
    }
    return parts.length === 1 ? parts[0]! : { kind: 'choice', parts };
  };
  const whole = choice();
  if (at !== source.length) throw new Error(`/${source}/ is read up to ${at}`);
  return whole;
}

class TooManySteps extends Error {}

function runOf(node: Node, flags: string): Run {
  switch (node.kind) {
    case 'atom':
      return (text, at, next, state) => {
        if (++state.steps > state.limit) throw new TooManySteps();
        return at < text.length && node.matches(text[at]!) && next(at + 1);
      };
    case 'anchor': {
      const word = (text: readonly string[], at: number): boolean => /^\w$/.test(text[at] ?? '');
      const lineEnd = (character: string | undefined): boolean =>
        /^[\n\r\u2028\u2029]$/.test(character ?? '');
      const many = flags.includes('m');
      return (text, at, next, state) => {
        state.steps++;
        const holds =
          node.source === '^'
            ? at === 0 || (many && lineEnd(text[at - 1]))
            : node.source === '$'
              ? at === text.length || (many && lineEnd(text[at]))
              : (word(text, at - 1) !== word(text, at)) === (node.source === '\\b');
        return holds && next(at);
      };
    }
    case 'back':
      return (text, at, next, state) => {
        const [from, to] = state.groups[node.group] ?? [0, 0];
        state.steps += to - from + 1;
        for (let i = from; i < to; i++) if (text[i] !== text[at + i - from]) return false;
        return next(at + to - from);
      };
    case 'sequence': {
      const runs = node.parts.map((part) => runOf(part, flags));
      const from = (i: number): Run =>
        i === runs.length
          ? (_, at, next) => next(at)
          : (text, at, next, state) =>
              runs[i]!(text, at, (then) => rest[i + 1]!(text, then, next, state), state);
      const rest: Run[] = [...runs, undefined].map((_, i) => from(i));
      return rest[0]!;
    }
    case 'choice': {
      const runs = node.parts.map((part) => runOf(part, flags));
      return (text, at, next, state) => runs.some((run) => run(text, at, next, state));
    }
    case 'group': {
      const body = runOf(node.body, flags);
      const { index } = node;
      if (index === undefined) return body;
      return (text, at, next, state) =>
        body(
          text,
          at,
          (to) => {
            const before = state.groups[index];
            state.groups[index] = [at, to];
            if (next(to)) return true;
            state.groups[index] = before;
            return false;
          },
          state,
        );
    }
    case 'look': {
      const body = runOf(node.body, flags);
      return (text, at, next, state) => {
        let found = false;
        // Looking behind, from every place before: none of ours looks further than a few characters.
        if (node.behind)
          for (let from = at; from >= Math.max(0, at - 8) && !found; from--)
            found = body(text, from, (to) => to === at, state);
        else found = body(text, at, () => true, state);
        return found !== node.negated && next(at);
      };
    }
    case 'repeat': {
      const body = runOf(node.body, flags);
      const { least, most, lazy } = node;
      const again =
        (text: readonly string[], next: Next, state: State) =>
        (at: number, count: number): boolean => {
          const more = (): boolean =>
            count < most &&
            body(text, at, (to) => (to > at || count < least) && repeat(to, count + 1), state);
          const repeat = again(text, next, state);
          if (count < least) return more();
          return lazy ? next(at) || more() : more() || next(at);
        };
      return (text, at, next, state) => again(text, next, state)(at, 0);
    }
  }
}

/** Steps of one search for the pattern in the text, from its start; Infinity where they are more than the limit. */
export function searchSteps(
  pattern: RegExp,
  limit = 1e6,
): (text: string) => { steps: number; index: number } {
  const run = runOf(parsePattern(pattern), pattern.flags);
  return (text) => {
    const characters = pattern.unicode ? [...text] : text.split('');
    const state: State = { steps: 0, limit, groups: [] };
    try {
      // A sticky one does not search.
      for (let from = 0; from <= (pattern.sticky ? 0 : characters.length); from++) {
        state.groups.length = 0;
        if (run(characters, from, () => true, state)) return { steps: state.steps, index: from };
      }
    } catch (error) {
      if (error instanceof TooManySteps) return { steps: Infinity, index: Number.NaN };
      throw error;
    }
    return { steps: state.steps, index: -1 };
  };
}

const ALPHABET = [...' a0.-_/|=:,"\'\\#~%[{(<*+?@e\n\u2028é'];

/** A short text that the part matches, where one is found by trying. */
function exampleOf(node: Node): string {
  switch (node.kind) {
    case 'atom': {
      const plain = /^\\?[\s\S]$/u.test(node.source) ? node.source.at(-1)! : '';
      return [plain, ...ALPHABET].find((one) => one !== '' && node.matches(one)) ?? '';
    }
    case 'sequence':
      return node.parts.map(exampleOf).join('');
    case 'choice':
      return exampleOf(node.parts[0]!);
    case 'group':
      return exampleOf(node.body);
    case 'repeat':
      return exampleOf(node.body).repeat(Math.max(1, node.least));
    default:
      return '';
  }
}

/** A text `start + pump × n + end`. */
export interface WorstCase {
  readonly start: string;
  readonly pump: string;
  readonly end: string;
}

/**
 * Texts that may cost much more than they are long: a start that leads into the pattern, something of it again and
 * again, and an end that fails.
 */
export function worstCases(pattern: RegExp): WorstCase[] {
  const cases = new Map<string, WorstCase>();
  const add = (start: string, pump: string): void => {
    if (pump === '') return;
    for (const end of ['', '!', '\u2028!', '\n', 'a'])
      cases.set(JSON.stringify([start, pump, end]), { start, pump, end });
  };
  const charactersOf = (node: Node): readonly string[] =>
    node.kind === 'atom'
      ? ALPHABET.filter(node.matches).slice(0, 4).concat(exampleOf(node))
      : node.kind === 'sequence' || node.kind === 'choice'
        ? node.parts.flatMap(charactersOf)
        : node.kind === 'group' || node.kind === 'repeat'
          ? charactersOf(node.body)
          : [];
  const visit = (node: Node, start: string): void => {
    if (node.kind === 'choice') for (const part of node.parts) visit(part, start);
    else if (node.kind === 'group' || node.kind === 'look') visit(node.body, start);
    else if (node.kind === 'repeat') {
      for (const character of new Set(charactersOf(node.body))) add(start, character);
      const example = exampleOf(node.body);
      add(start, example);
      visit(node.body, start);
    } else if (node.kind === 'sequence') {
      let before = start;
      for (const [i, part] of node.parts.entries()) {
        visit(part, before);
        before += exampleOf(part);
        // Where the search may begin anew: what stands before this place, many times.
        if (i > 0) add('', before);
      }
    }
  };
  const whole = parsePattern(pattern);
  visit(whole, '');
  for (const character of new Set(charactersOf(whole).slice(0, 24))) add('', character);
  return [...cases.values()];
}

/** The text of a case whose pump stands so often. */
export const textOf = ({ start, pump, end }: WorstCase, times: number): string =>
  start + pump.repeat(times) + end;

/**
 * The case of which twice the length costs more than twice the steps, where there is one: of a linear search the growth
 * doubles, of a quadratic one it is fourfold.
 *
 * @param length characters of the shortest of the three texts
 */
export function superlinearCase(
  pattern: RegExp,
  length = 48,
  cases = worstCases(pattern),
): WorstCase | undefined {
  const steps = searchSteps(pattern);
  return cases.find((one) => {
    const times = Math.max(3, Math.floor(length / one.pump.length));
    const [small = 0, middle = 0, large = 0] = [1, 2, 4].map(
      (factor) => steps(textOf(one, factor * times)).steps,
    );
    return large === Infinity || large - middle > 2.8 * Math.max(middle - small, 4 * length);
  });
}
