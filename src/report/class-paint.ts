/** How grave each class of a verdict is, and so its mark and its colour: on a terminal and in HTML. */
import type { Ansis } from 'ansis';
import type { VerdictClass } from '../model/report.ts';

export type Mood = 'good' | 'doubtful' | 'bad';

/** A run that did not come back is bad; one that came back, or is undecided, is doubtful. */
export const CLASS_MOODS: Readonly<Record<VerdictClass, Mood>> = {
  healthy: 'good',
  inconclusive: 'doubtful',
  'micro-divergence': 'doubtful',
  drift: 'bad',
  'never-learned': 'bad',
  'full-divergence': 'bad',
  'non-finite': 'bad',
};

export type Paint = (text: string) => string;

const COLOURS = { good: 'green', doubtful: 'yellow', bad: 'red' } as const;

export const moodPaint = (paint: Ansis, mood: Mood): Paint => {
  const colour = paint.bold[COLOURS[mood]];
  return (text) => colour(text);
};

/** A class from a report of another version may be unknown here. */
export const classPaint = (paint: Ansis, of: string): Paint =>
  moodPaint(paint, Object.hasOwn(CLASS_MOODS, of) ? CLASS_MOODS[of as VerdictClass] : 'doubtful');
