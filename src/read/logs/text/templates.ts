/**
 * Lines of one token shape are rows of one table: Drain's idea, with the numbers kept in their places. What a table is
 * about is decided at the end of the text (names.ts, table.ts); here the rows are only collected, packed.
 */

import { ColumnBuilder } from '../../../model/column.ts';
import { nothingWaits, type Waiting } from '../../bytes/lines.ts';
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
  /** The last line without a number before the first line; empty where every line has one. */
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

/** Collects the lines of a text by their shape. */
export class Templates {
  /** Lines so far, blank ones left out. */
  lines = 0;
  /** Lines in tables that were dropped for room. */
  readonly dropped: Waiting = nothingWaits();

  private readonly tokens = new LineTokens();
  private readonly byKey = new Map<number, Template>();
  private shapes = 0;
  private header = '';
  private lastKey = 0;
  private last: Template | undefined;

  /** The tables that were kept, in the order of their first lines. */
  all(): Template[] {
    return [...this.byKey.values()];
  }

  /**
   * Takes a line without its end.
   *
   * @param line its number, from 1
   * @returns what becomes of it is known at the end; undefined where it is other text already
   */
  add(bytes: Buffer, from: number, to: number, line: number): Waiting | undefined {
    const { tokens } = this;
    this.lines++;
    tokens.scan(bytes, from, to);
    if (tokens.over) return undefined;
    let template = tokens.key === this.lastKey ? this.last : this.byKey.get(tokens.key);
    if (template === undefined) {
      template = this.make(bytes, from, to);
      if (template === undefined) return undefined;
    }
    this.lastKey = tokens.key;
    this.last = template;
    if (tokens.count === 0 && to - from <= HEADING_BYTES) this.header = bytes.toString('utf8', from, to);
    template.order.push(this.lines);
    template.line.push(line);
    const { values } = template;
    const row = template.order.length - 1;
    for (let k = 0; k < values.length; k++) {
      values[k]?.push(tokens.value[k]!);
      if (tokens.kind[k] === SLOT.missing) this.miss(template, k, row);
    }
    return template.waits;
  }

  private miss({ missing }: Template, slot: number, row: number): void {
    const rows = missing.get(slot);
    if (rows === undefined) missing.set(slot, [row]);
    else rows.push(row);
  }

  private make(bytes: Buffer, from: number, to: number): Template | undefined {
    const { tokens } = this;
    if (tokens.count === 0 && to - from > HEADING_BYTES) return undefined;
    if (this.shapes >= MOST_SHAPES) return undefined;
    this.shapes++;
    if (this.byKey.size >= MOST_TABLES) this.makeRoom();
    if (this.byKey.size >= MOST_TABLES) return undefined;
    const { count } = tokens;
    const kind = tokens.kind.slice(0, count);
    const made: Template = {
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
  }
}
