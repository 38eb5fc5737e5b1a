/** How a line, and the tables of a text, are seen: for `inspect --tokens` and `teach`. */
import type { SeenTable, SeenToken } from '../../../model/layout.ts';
import type { Role } from '../../../model/run.ts';
import { templateOf } from './layouts.ts';
import { type Named, nameSlots } from './names.ts';
import { logIn, type TextLog } from './table.ts';
import type { Template } from './templates.ts';
import { SLOT } from './tokens.ts';

const KINDS = {
  [SLOT.number]: 'number',
  [SLOT.total]: 'total',
  [SLOT.clock]: 'clock',
  [SLOT.missing]: 'missing',
} as const;

/** What a number is for, in the words of a layout. */
const usedFor = ({ loss, use }: Named): string =>
  loss !== undefined ? `${loss} loss` : use === 'count' ? 'batch' : use;

/** The pieces of a template's first line, in their order; together they are the line. */
function tokensOfTemplate(template: Template): SeenToken[] {
  const { sample, kind, from, to } = template;
  const named = nameSlots(template);
  const seen: SeenToken[] = [];
  let at = 0;
  const text = (end: number): void => {
    if (end > at) seen.push({ from: at, to: end, text: sample.toString('utf8', at, end), kind: 'text' });
    at = end;
  };
  for (let k = 0; k < kind.length; k++) {
    text(from[k]!);
    const index = named.findIndex(({ column }) => column === k);
    const one = named[index];
    seen.push({
      from: from[k]!,
      to: to[k]!,
      text: sample.toString('utf8', from[k], to[k]),
      kind: KINDS[kind[k] as keyof typeof KINDS],
      ...(one === undefined ? {} : { at: index + 1, name: one.name, use: usedFor(one) }),
    });
    at = to[k]!;
  }
  text(sample.length);
  return seen;
}

/** The pieces of a line; empty for a line with more numbers than a record has. */
export function tokensOf(line: string): SeenToken[] {
  const template = templateOf(line);
  return template === undefined ? [] : tokensOfTemplate(template);
}

/** The tables of a text with the most rows, and the log in them. */
export interface SeenText {
  readonly tables: readonly SeenTable[];
  readonly log: TextLog | undefined;
}

/**
 * What a text holds.
 *
 * @param most tables that are shown
 */
export function seenIn(
  templates: readonly Template[],
  lines: number,
  most: number,
  roles: ReadonlyMap<string, Role> = new Map(),
): SeenText {
  const tables = templates
    .filter(({ kind, order }) => kind.length > 0 && order.length > 1)
    .sort((a, b) => b.order.length - a.order.length)
    .slice(0, most)
    .map(
      (template): SeenTable => ({
        line: template.line.finish().at(0)!,
        sample: template.shown,
        rows: template.order.length,
        columns: nameSlots(template).map(({ name, column }, k) => {
          const cells = template.values[column]!.finish();
          return { at: k + 1, name, first: cells.at(0)!, last: cells.at(-1)! };
        }),
      }),
    );
  return { tables, log: logIn(templates, lines, { roles }) };
}
