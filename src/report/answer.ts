/** What every page says of a run first, in the order in which it is read: brief-answer.ts finds it, the renderers lay it out. */
import type { Mood } from './class-paint.ts';

export interface Answer {
  /** How grave the first line is, for its mark and colour. */
  readonly mood: Mood;
  /** DIVERGED at step 400 */
  readonly title: string;
  /** loss 0.45 → 147, then 2.67: no recovery */
  readonly change: string;
  /** log.jsonl · 600 steps */
  readonly facts: string;
  /** What the verdict of a run that is well rests on, part by part; null for any other. */
  readonly checked: readonly string[] | null;
  /** Labelled paragraphs in reading order; lines of code are separate. */
  readonly parts: readonly {
    readonly label: string;
    readonly text: string;
    /** What replaces the text where its first sentence has no room. */
    readonly short?: string;
    readonly code?: string;
    readonly after?: string;
  }[];
  /** What was tried, the one to use first; empty where nothing was. */
  readonly tried: readonly Tried[];
  /** The batches that it was tried on, as a clause; empty where nothing was trained. */
  readonly over: string;
}

export interface Tried {
  /** null where it learns too slowly to tell. */
  readonly holds: boolean | null;
  readonly name: string;
  readonly finalLoss: number | null;
  /** Share of the steps before the incident that it changes, times how hard; null where that means nothing. */
  readonly interference: number | null;
  readonly smallestFactor: number | null;
  /** Whether it is the one to use. */
  readonly use: boolean;
}
