/**
 * Lines of a log that have no number in the place of its loss: `step 3 loss: overflow`, `loss=, lr=0.1`, `loss: 0.5.5`.
 * Their shape differs from that of the log's lines in this place alone. They are cells of the loss, not other text.
 */
import type { LoggedSeries } from '../format.ts';
import { isMissingText, numberOfText } from '../number-text.ts';
import type { Described } from './described.ts';
import { gapsOf } from './names.ts';
import type { TextLog } from './table.ts';
import type { Template } from './templates.ts';

/** Lines of one shape without a number for the loss. */
export interface Refused {
  readonly template: Template;
  /** What is in the place of the loss in the first of them; empty where nothing is. */
  readonly text: string;
  /** Whether it says that there is no value. */
  readonly isMissing: boolean;
}

/** Characters of a cell; more are a sentence. */
const LONGEST_CELL = 40;

/** The text around the loss of a table: from the slot before it, and up to the slot behind it. */
interface Place {
  readonly base: Template;
  readonly gaps: readonly string[];
  readonly at: number;
  /** The slot before it that counts; undefined where the line has none. */
  readonly counter: number | undefined;
}

const COUNTERS: readonly string[] = ['step', 'epoch', 'count'];

function placeOf({ template, slots }: Described, loss: string): Place | undefined {
  const at = slots.find(({ name, use }) => use === 'value' && name === loss)?.column;
  if (at === undefined) return undefined;
  const gaps = gapsOf(template);
  // Between numbers that only blanks separate a word may be anything.
  if (gaps[at]!.trim() === '') return undefined;
  const counter = slots.findLast(({ use, column }) => column < at && COUNTERS.includes(use))?.column;
  return { base: template, gaps, at, counter };
}

/** What a line has in the place of the loss; undefined where the rest of it is not that of the log. */
function cellOf(place: Place, other: Template): string | undefined {
  const { base, gaps, at } = place;
  const behind = base.kind.length - at - 1;
  const count = other.kind.length;
  if (count < at + behind) return undefined;
  const here = gapsOf(other);
  for (let k = 0; k < at; k++) if (here[k] !== gaps[k] || other.kind[k] !== base.kind[k]) return undefined;
  for (let k = 1; k <= behind; k++)
    if (other.kind[count - k] !== base.kind[base.kind.length - k]) return undefined;
  for (let k = 0; k < behind; k++) if (here[count - k] !== gaps[base.kind.length - k]) return undefined;
  const start = at === 0 ? 0 : other.to[at - 1]!;
  const end = behind === 0 ? other.sample.length : other.from[count - behind]!;
  const text = other.sample.toString('utf8', start, end);
  const head = gaps[at]!.trimEnd();
  const tail = gaps[at + 1]!.trimStart();
  if (!text.startsWith(head) || !text.slice(head.length).endsWith(tail)) return undefined;
  const cell = text.slice(head.length, text.length - tail.length).trim();
  if (cell.length > LONGEST_CELL) return undefined;
  return cell === '' && tail === '' && !isOfItsOwn(place, other) ? undefined : cell;
}

/**
 * Whether lines that end where the loss should follow count as the lines of the log do, and have numbers that no line with a loss
 * has: `Train loss @epoch 3:`. Any other line that ends there may be a heading.
 */
function isOfItsOwn({ base, counter }: Place, other: Template): boolean {
  if (counter === undefined) return false;
  const told = new Set(base.values[counter]?.finish());
  return other.values[counter]?.finish().every((one) => !told.has(one)) === true;
}

/**
 * The lines of a text that are of its log, and have no number for its loss.
 *
 * @param all every table of the text
 */
export function refusedIn(log: TextLog, all: readonly Template[]): Refused[] {
  if (log.by === 'guess') return [];
  const places = log.members.flatMap((one) => placeOf(one, log.loss) ?? []);
  return all.flatMap((template): Refused[] => {
    for (const place of places) {
      // A number with letters behind it (`0.5abc`) next to lines that have none.
      if (place.base.order.length <= template.order.length) continue;
      const text = cellOf(place, template);
      // `0.4 *`, `0.4 (best)`: a number with a remark.
      if (text !== undefined && numberOfText(text.split(/[\s,;]/, 1)[0]!) === undefined)
        return [{ template, text, isMissing: text === '' || isMissingText(text) }];
    }
    return [];
  });
}

/** How many points of a series are before each of some lines, ascending. */
const pointsBefore = (line: LoggedSeries['line'], lines: readonly number[]): number[] => {
  let at = 0;
  return lines.map((one) => {
    while (line !== undefined && at < line.length && line.at(at)! < one) at++;
    return at;
  });
};

const linesOf = (kinds: readonly Refused[]): number[] =>
  kinds.flatMap(({ template }) => [...template.line.finish()]).sort((a, b) => a - b);

/** The series of the loss with the cells that have no number. */
export function withRefused(series: LoggedSeries, kinds: readonly Refused[]): LoggedSeries {
  const missing = linesOf(kinds.filter(({ isMissing }) => isMissing));
  const refused = kinds.filter(({ isMissing }) => !isMissing);
  const lines = linesOf(refused);
  const gaps = series.gaps?.slice() ?? new Uint32Array(series.value.length + 1);
  for (const at of pointsBefore(series.line, missing)) gaps[at]!++;
  const [first] = refused.toSorted(
    (a, b) => a.template.line.finish().at(0)! - b.template.line.finish().at(0)!,
  );
  return {
    ...series,
    missing: series.missing + missing.length,
    ...(missing.length === 0 ? {} : { gaps }),
    refused: series.refused + lines.length,
    ...(first === undefined
      ? {}
      : {
          refusedAt: Uint32Array.from(pointsBefore(series.line, lines)),
          firstRefused: { text: first.text, line: lines[0]! },
        }),
  };
}
