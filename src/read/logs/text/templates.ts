/**
 * Lines of one token shape are rows of one table: Drain's idea, with the numbers kept in their places. What a table is
 * about is decided at the end of the text (names.ts, table.ts); here the rows are only collected, packed.
 */

import { ColumnBuilder } from '../../../model/column.ts';
import { nothingWaits, type Waiting } from '../../bytes/lines.ts';
import { afterBar, withoutStamp } from '../line-prefix.ts';
import { LineShapes } from '../line-shapes.ts';
import { LineTokens, SLOT } from './tokens.ts';

/** Tables that are kept; text of other kinds makes a new one in every line. */
const MOST_TABLES = 4096;
/** After so many shapes, lines of new shapes are other text. */
const MOST_SHAPES = 100_000;
/** Bytes of the first line of a table that are kept. */
const SAMPLE_BYTES = 4096;
/** Bytes of a line without numbers that may be a heading, or the header of a table. */
const HEADING_BYTES = 400;

/** Lines of one shape. */
export interface Template {
  /** The bytes of its first line, up to a limit. */
  readonly sample: Buffer;
  /** That line as the file has it, up to a limit. */
  readonly shown: string;
  /** The last line of words, with no number but a time, before the first line; empty where every line has one. */
  readonly header: string;
  /** What and where the slots of the first line are, from its start. */
  readonly kind: Uint8Array;
  readonly from: Int32Array;
  readonly to: Int32Array;
  /** The place of each row among all lines, and its line number. */
  readonly order: ColumnBuilder;
  readonly line: ColumnBuilder;
  /** The numbers of each slot; undefined for clocks. NaN where a row says that there is no value. */
  readonly values: readonly (ColumnBuilder | undefined)[];
  /** Of a slot the rows that say that there is no value. */
  readonly missing: Map<number, number[]>;
  readonly waits: Waiting;
}

/** A line that others differ from in their numbers alone. */
interface KnownLine {
  readonly template: Template;
  /** The slots of the numbers that are asked for. */
  readonly slots: Uint8Array;
  readonly hasBar: boolean;
}

/** Numbers that are more than their first digits, and marks that are more than they seem: `1,234`, `0.3+0.01`, `[1-50]`, `#011`. */
const NOT_AS_WRITTEN = /\d,\d|#\d|\d[+\u00c2]|\[\s{0,8}\d{1,12}-/;

/** Collects the lines of a text by their shape. */
export class Templates {
  /** Lines so far, blank ones left out. */
  lines = 0;
  /** Lines in tables that were dropped for room. */
  readonly dropped: Waiting = nothingWaits();

  private readonly tokens = new LineTokens();
  private readonly byKey = new Map<number, Template>();
  /** Lines that differ from one before in their numbers alone. */
  private readonly known = new LineShapes<KnownLine>();
  private shapes = 0;
  private header = '';
  private lastKey = 0;
  private last: Template | undefined;
  private learnt: Template | undefined;

  /** The tables that were kept, in the order of their first lines. */
  all(): Template[] {
    return [...this.byKey.values()];
  }

  /**
   * Takes a line without its end.
   *
   * @param line its number, from 1
   * @param shown the line as the file has it, where it was made another text
   * @returns what becomes of it is known at the end; undefined where it is other text already
   */
  add(bytes: Buffer, start: number, to: number, line: number, shown?: string): Template | undefined {
    const { tokens } = this;
    const from = afterBar(bytes, start, to);
    this.lines++;
    tokens.scan(bytes, from, to);
    this.learnt = undefined;
    if (tokens.over) return undefined;
    let template = tokens.key === this.lastKey ? this.last : this.byKey.get(tokens.key);
    if (template === undefined) {
      template = this.make(bytes, from, to, shown);
      if (template === undefined) return undefined;
    }
    this.lastKey = tokens.key;
    this.last = template;
    if (to - from <= HEADING_BYTES && tokens.isOfClocks()) this.heading(bytes.toString('utf8', from, to));
    template.order.push(this.lines);
    template.line.push(line);
    const { values } = template;
    const row = template.order.length - 1;
    for (let k = 0; k < values.length; k++) {
      values[k]?.push(tokens.value[k]!);
      if (tokens.kind[k] === SLOT.missing) this.miss(template, k, row);
    }
    this.learnt = template;
    return template;
  }

  /** Takes back the line that was taken last, of a table: it turned out to be a part of one. */
  takeBack(template: Template): void {
    const { order, line, values, missing } = template;
    for (const column of [order, line, ...values]) column?.pop();
    for (const rows of missing.values()) if (rows.at(-1) === order.length) rows.pop();
    if (order.length > 0) return;
    for (const [key, one] of this.byKey) if (one === template) this.byKey.delete(key);
  }

  /** Takes a line that differs from one before it in its numbers alone; undefined where none was {@link remember}ed. */
  again(bytes: Buffer, start: number, to: number, line: number): Template | undefined {
    let known = this.known.find(bytes, start, to);
    // A line of the same text begins with a bar where that one did, unless its numbers have other widths.
    if (known === undefined || known.hasBar) {
      const from = afterBar(bytes, start, to);
      if (from > start) known = this.known.find(bytes, from, to);
    }
    if (known === undefined) return undefined;
    this.lines++;
    return this.addAgain(known, line);
  }

  /** Remembers the line that {@link add} has just taken. */
  remember(bytes: Buffer, start: number, to: number): void {
    if (this.learnt !== undefined) this.learn(bytes, afterBar(bytes, start, to), to, this.learnt);
  }

  private addAgain({ template, slots }: KnownLine, line: number): Template {
    if (slots.length === 0) this.heading(template.sample.toString());
    template.order.push(this.lines);
    template.line.push(line);
    for (let k = 0; k < slots.length; k++) template.values[slots[k]!]!.push(this.known.values[k]!);
    return template;
  }

  /** Remembers the line that was scanned, where each of its slots is a number. */
  private learn(bytes: Buffer, from: number, to: number, template: Template): void {
    const { tokens } = this;
    if (tokens.count === 0 || tokens.kind.subarray(0, tokens.count).includes(SLOT.missing)) return;
    const slots: number[] = [];
    for (let k = 0; k < tokens.count; k++) if (tokens.kind[k] !== SLOT.clock) slots.push(k);
    let text = bytes.toString('latin1', from, to);
    for (let k = 0; k < tokens.count; k++)
      if (tokens.kind[k] === SLOT.clock)
        text =
          text.slice(0, tokens.from[k]) +
          ' '.repeat(tokens.to[k]! - tokens.from[k]!) +
          text.slice(tokens.to[k]);
    // `12k` is more than its first digits.
    if (NOT_AS_WRITTEN.test(text)) return;
    // `2841M` is more than its digits too, where it is not a count.
    if (slots.some((k) => /[kKMGB]/.test(text.slice(tokens.from[k]!, tokens.to[k]! + 1)))) return;
    const places = slots.map((k) => tokens.from[k]!);
    const numbers = slots.map((k) => tokens.value[k]!);
    const hasBar = text.includes('%|');
    this.known.learn(bytes, from, to, places, numbers, { template, slots: Uint8Array.from(slots), hasBar });
  }

  /** Keeps a line of words. A rule between the header of a table and its rows has none; with bars it is of a written text (Markdown). */
  private heading(text: string): void {
    if (/[\p{L}|]/u.test(withoutStamp(text))) this.header = text;
  }

  private miss({ missing }: Template, slot: number, row: number): void {
    const rows = missing.get(slot);
    if (rows === undefined) missing.set(slot, [row]);
    else rows.push(row);
  }

  private make(bytes: Buffer, from: number, to: number, shown?: string): Template | undefined {
    const { tokens } = this;
    if (tokens.count === 0 && to - from > HEADING_BYTES) return undefined;
    if (this.shapes >= MOST_SHAPES) return undefined;
    this.shapes++;
    if (this.byKey.size >= MOST_TABLES) this.makeRoom();
    if (this.byKey.size >= MOST_TABLES) return undefined;
    const { count } = tokens;
    const kind = tokens.kind.slice(0, count);
    const made: Template = {
      shown: (shown ?? bytes.toString('utf8', from, to)).slice(0, SAMPLE_BYTES),
      sample: Buffer.from(bytes.subarray(from, Math.min(to, from + SAMPLE_BYTES))),
      header: this.header,
      kind,
      from: tokens.from.slice(0, count),
      to: tokens.to.slice(0, count),
      order: new ColumnBuilder(),
      line: new ColumnBuilder(),
      values: Array.from(kind, (one) => (one === SLOT.clock ? undefined : new ColumnBuilder())),
      missing: new Map(),
      waits: nothingWaits(),
    };
    this.byKey.set(tokens.key, made);
    return made;
  }

  /** Forgets the shapes that came once: room for those that repeat. */
  private makeRoom(): void {
    for (const [key, { order, waits }] of this.byKey) {
      if (order.length > 1) continue;
      this.byKey.delete(key);
      if (this.dropped.lines === 0) this.dropped.at = waits.at;
      this.dropped.bytes += waits.bytes;
      this.dropped.lines += waits.lines;
    }
    this.lastKey = 0;
    this.last = undefined;
    this.known.clear();
  }
}
