/**
 * What Keras prints: a line that names the epoch, and bars with the values behind them.
 *
 * Lines come from strangers: none of the expressions costs more than a few times the length of a line
 * (test/regular-expressions.test.ts).
 */

/** A number or one of the words for what is not finite. */
const NUMBER = String.raw`[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)`;

/** Name and number as text, in the order of the line. */
export type Pair = readonly [name: string, value: string];

/** ` - loss: 0.69 - accuracy: 0.5` */
const DASH_PAIRS = new RegExp(String.raw`(?:^|\s-\s)\s*([A-Za-z_][\w/.-]*):\s*(${NUMBER})(?!\w)`, 'g');

/** Keras: `Epoch 3/10`, then `313/313 [====] - 1s 3ms/step - loss: 0.2 - accuracy: 0.9 - val_loss: 0.3`, often twice. */
export const KERAS_EPOCH = /^Epoch (\d+)\/(\d+)\s*$/;
export const KERAS_BAR = /^\s*(\d+)\/\1\s.*?\s-\s(?=[\w/]+: )/;
/** A bar that is not full has the mean so far: a mean that is not finite stays so. */
export const KERAS_LOST = /^\s*\d+\/\d+ \[=*>?\.*\] - (?=[^\n]* loss: -?(?:nan|inf)\b)/i;
export const KERAS_PART = /^\s{0,20}\d{1,12}\/\d{1,12} \[=*>\.*\] - /;
/** Whether the line of a full bar draws it. */
export const KERAS_DRAWN = /^\s*\d+\/\d+ \[=+\]/;
/** A bar whose values follow in the next line, as where its carriage returns became the ends of lines. */
export const KERAS_BARE_BAR = /^\s*\d+\/\d+\s+\[[=>.]+\]\s*$/;
export const KERAS_REST = /^\s{0,4}-\s.*:/;
/** The values of a bar, without the time that is left. */
export function kerasPairs(text: string): Pair[] {
  // Not matchAll: it makes a new expression each time, which takes longer than the search.
  const pairs: Pair[] = [];
  DASH_PAIRS.lastIndex = 0;
  for (let found = DASH_PAIRS.exec(text); found !== null; found = DASH_PAIRS.exec(text))
    if (found[1] !== 'ETA') pairs.push([found[1]!, found[2]!]);
  return pairs;
}

/** Colours, and the backspaces of a bar that is drawn again. */
export const DRAWING = /\u001b\[[\d;]*[A-Za-z]|\u0008+/g;
