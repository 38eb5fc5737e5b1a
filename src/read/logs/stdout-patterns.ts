/**
 * What trainers print: a dialect is one entry. `line` must match from its marker on and names the axis in its groups
 * (`step`, or `epoch` alone); the rest of the line (`body`) holds the values, as pairs in one of a few layouts.
 *
 * Lines come from strangers: none of the expressions costs more than a few times the length of a line
 * (test/regular-expressions.test.ts). `s` lets `.*$` take whatever is left, U+2028 included, so that it never fails.
 */

/** A number or one of the words for what is not finite. */
const NUMBER = String.raw`[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)`;

/** A name, the first group. It is looked for where a word begins only: at each of its letters, a long one would cost its square. */
const WORD = String.raw`(?<![\w/.-])[\d/.-]*([A-Za-z_][\w/.-]*)`;

/** Name and number as text, in the order of the line. */
export type Pair = readonly [name: string, value: string];

/** The pairs that a pattern finds in a text: its first group is the name, its second the number. */
const pairsBy =
  (pattern: RegExp): ((text: string) => Pair[]) =>
  (text) => {
    // Not matchAll: it makes a new expression each time, which takes longer than the search.
    const pairs: Pair[] = [];
    pattern.lastIndex = 0;
    for (let found = pattern.exec(text); found !== null; found = pattern.exec(text))
      pairs.push([found[1]!.trim(), found[2]!]);
    return pairs;
  };

const CELL = new RegExp(String.raw`^\s*([A-Za-z][^:|,]*?)(?<!\s)(?:\s*:\s*|\s+)(${NUMBER})`);

/** `loss  3.64 | ppl 37.9`, `lm loss: 9.2E+00 |`, `loss 6.4, time 245ms`: a name, a blank or colon, a number, once a cell. */
const cells =
  (separator: string): ((text: string) => Pair[]) =>
  (text) =>
    text.split(separator).flatMap((part): Pair[] => {
      const found = CELL.exec(part);
      return found === null ? [] : [[found[1]!.trim(), found[2]!]];
    });
const barCells = cells('|');
const commaCells = cells(',');
/** `train_loss:3.5 train_time:263ms` */
const colonWords = pairsBy(new RegExp(`${WORD}:(${NUMBER})`, 'g'));
/** `global_step=3, loss=nan, lr=[5e-05, 5e-05]`: of a list the first */
const equalsPairs = pairsBy(new RegExp(String.raw`${WORD}\s*=\s*[[(]*(${NUMBER})(?!\w)`, 'g'));
/** `'loss': 2.4, 'grad_norm': '11.0'` */
const quotedPairs = pairsBy(new RegExp(String.raw`'([^']+)':\s*'?(${NUMBER})(?=['\s,}])`, 'g'));
/** ` - loss: 0.69 - accuracy: 0.5` */
const dashPairs = pairsBy(
  new RegExp(String.raw`(?:^|\s-\s)\s*([A-Za-z_][\w/.-]*):\s*(${NUMBER})(?!\w)`, 'g'),
);

export interface Dialect {
  readonly id: string;
  /** Text that every line of it holds: most lines are passed over by this alone. */
  readonly marker: string;
  /** Groups: `step`; `epoch` and `of` where the step counts within an epoch; `body`. */
  readonly line: RegExp;
  readonly pairs: (body: string) => Pair[];
  /** Put before the names, where the line says what they are of ("validation "). */
  readonly prefix?: string;
  /** The line has no axis of its own: it belongs to the step that was printed last. */
  readonly atLastStep?: boolean;
  /** What the axis counts; default step. */
  readonly axis?: 'epoch';
}

export const DIALECTS: readonly Dialect[] = [
  {
    // modded-nanogpt: step:946/1530 train_loss:3.5 train_time:263502ms step_avg:174.04ms
    id: 'modded-nanogpt',
    marker: 'step:',
    line: /^\s*step:(?<step>\d+)\/\d+\s+(?<body>.*)$/s,
    pairs: colonWords,
  },
  {
    // nanoGPT: step 0: train loss 10.9, val loss 10.95
    id: 'nanogpt-eval',
    marker: 'step ',
    line: /^\s*step\s+(?<step>\d+)(?:\/\d+)?:\s+(?<body>(?:train |val )loss.*)$/s,
    pairs: commaCells,
  },
  {
    // nanoGPT: iter 100: loss 6.42, time 245.26ms, mfu 23.1%
    id: 'nanogpt',
    marker: 'iter ',
    line: /^\s*iter\s+(?<step>\d+):\s+(?<body>loss.*)$/s,
    pairs: commaCells,
  },
  {
    // llm.c: step   10/18865 | loss 9.3 (+nanz)| norm 3.8 (+nanz)| lr 6.00e-07 | 1210.5 ms | 433k tok/s
    id: 'llm-c',
    marker: '| ',
    line: /^\s*step\s+(?<step>\d+)\/\d+\s+\|(?<body>.*)$/s,
    pairs: barCells,
  },
  {
    // llm.c: val loss 10.99
    id: 'llm-c-eval',
    marker: 'val loss ',
    line: /^(?<body>val loss \S+)\s*$/,
    pairs: commaCells,
    atLastStep: true,
  },
  {
    // llm.c, main.log: s:10 trl:9.3 lr:6e-7 norm:3.8
    id: 'llm-c-main',
    marker: 's:',
    line: /^s:(?<step>\d+)\s+(?<body>(?:tel|trl|eval):.*)$/s,
    pairs: colonWords,
  },
  {
    // Megatron: iteration  100/ 500000 | consumed samples: 25600 | lm loss: 9.2E+00 | grad norm: 3.1 |
    id: 'megatron',
    marker: 'iteration ',
    line: /\biteration\s+(?<step>\d+)\s*\/\s*\d+\s*\|(?<body>.*)$/s,
    pairs: barCells,
  },
  {
    // Megatron: validation loss at iteration 1000 | lm loss value: 3.2E+00 | lm loss PPL: 2.4E+01 |
    id: 'megatron-eval',
    marker: 'loss at iteration',
    line: /(?:validation|test) loss at iteration\s+(?<step>\d+)(?!\d)[^|]{0,60}\|(?<body>.*)$/s,
    pairs: barCells,
    prefix: 'validation ',
  },
  {
    // Transformer-XL: | epoch   3 step    23400 |    460 batches | lr 0.000846 | ms/batch 674 | loss  3.64 | ppl 37.9
    id: 'transformer-xl',
    marker: '| epoch ',
    line: /\|\s*epoch\s+\d+ step\s+(?<step>\d+)\s*\|(?<body>.*)$/s,
    pairs: barCells,
  },
  {
    // Transformer-XL: | Eval   6 at step    24000 | time: 2697.80s | valid loss  3.52 | valid ppl    33.726
    id: 'transformer-xl-eval',
    marker: '| Eval ',
    line: /\|\s*Eval\s+\d+ at step\s+(?<step>\d+)\s*\|(?<body>.*)$/s,
    pairs: barCells,
  },
  {
    // fairseq: | train_inner | epoch 001:  100 / 1000 loss=8.4, ppl=250, num_updates=100, lr=1.2e-05, gnorm=3.2
    id: 'fairseq-inner',
    marker: 'num_updates=',
    line: /^(?:(?!loss=).)*(?<body>loss=.*\bnum_updates=(?<step>[\d.e+]+).*)$/s,
    pairs: equalsPairs,
  },
  {
    // fairseq: | valid | epoch 001 | valid on 'valid' subset | loss 5.9 | ppl 60.1 | num_updates 1000
    id: 'fairseq-valid',
    marker: "| valid on '",
    line: /^(?:(?!\| valid on ').)*\| valid on '[^']*' subset \|(?<body>.*\bnum_updates (?<step>[\d.e+]+).*)$/s,
    pairs: barCells,
    prefix: 'valid_',
  },
  {
    // fairseq: | epoch 001 | loss 8.4 | ppl 250 | num_updates 1000 | lr 0.0001 | gnorm 2.0
    id: 'fairseq-train',
    marker: '| num_updates ',
    line: /^(?:(?![|\s]epoch \d+\s*\|).)*?(?:^|[|\s])epoch \d+\s*\|(?<body>(?!.*valid on ').*\bnum_updates (?<step>[\d.e+]+).*)$/s,
    pairs: barCells,
    prefix: 'train_',
  },
  {
    // DLRM: Finished training it 1024/4096 of epoch 0, 12.3 ms/it, loss 0.5, accuracy 78.1 %
    id: 'dlrm',
    marker: 'Finished training it ',
    line: /Finished training it (?<step>\d+)\/(?<of>\d+) of epoch (?<epoch>\d+),(?<body>.*)$/s,
    pairs: commaCells,
  },
  {
    // DLRM: Testing at - 4096/4096 of epoch 0, loss 0.45, accuracy 78.9 %, best 78.9 %
    id: 'dlrm-test',
    marker: 'Testing at - ',
    line: /Testing at - (?<step>\d+)\/(?<of>\d+) of epoch (?<epoch>\d+),(?<body>.*)$/s,
    pairs: commaCells,
    prefix: 'test ',
  },
  {
    // DLRM prints the result of a test in the line after, too:  accuracy 77.430 %, best 77.430 %
    id: 'dlrm-test-result',
    marker: ' %, best ',
    line: /^\s*(?<body>(?:loss \S+, )?accuracy [\d.]+ %, best .*)$/s,
    pairs: commaCells,
    prefix: 'test ',
    atLastStep: true,
  },
  {
    // DeepSpeed examples: Step at 4 with Perplexity: nan
    id: 'deepspeed-perplexity',
    marker: ' with Perplexity: ',
    line: /\bStep at (?<step>\d+) with (?<body>Perplexity: .*)$/s,
    pairs: commaCells,
  },
  {
    // DeepSpeed-Chat: Epoch 1/1 with loss 0.5754789632299672
    id: 'deepspeed-epoch',
    marker: ' with loss ',
    line: /\bEpoch (?<step>\d+)\/\d+ with (?<body>loss .*)$/s,
    pairs: commaCells,
    axis: 'epoch',
  },
  {
    // Hugging Face: {'loss': 2.4977, 'grad_norm': 11.0, 'learning_rate': 5.77e-07, 'epoch': 0.0}
    id: 'hugging-face',
    marker: "'epoch': ",
    line: /(?<body>\{(?=[^{}]*\})'[^{}]*'epoch': '?(?<step>[\d.]+)[^{}]*\})/,
    pairs: quotedPairs,
    axis: 'epoch',
  },
  {
    // absl, DeepSpeed: global_step=3, grad_norm=2.02788, loss=0.360571
    id: 'key-value',
    marker: 'global_step=',
    line: /^(?<body>.*\bglobal_step=(?<step>\d+)\b.*)$/s,
    pairs: equalsPairs,
  },
  {
    // DeepSpeed: [Rank 0] step=10, skipped=10, lr=[9.65e-06, 0.0], mom=[(0.9, 0.95)]
    id: 'deepspeed',
    marker: ' step=',
    line: /(?:^|\s)(?<body>step=(?<step>\d+), skipped=.*)$/s,
    pairs: equalsPairs,
  },
];

/** Keras: `Epoch 3/10`, then `313/313 [====] - 1s 3ms/step - loss: 0.2 - accuracy: 0.9 - val_loss: 0.3`, often twice. */
export const KERAS_EPOCH = /^Epoch (\d+)\/(\d+)\s*$/;
export const KERAS_BAR = /^\s*(\d+)\/\1\s.*?\s-\s(?=[\w/]+: )/;
/** A bar that is not full tells the mean so far: one that is no number stays so. */
export const KERAS_LOST = /^\s*\d+\/\d+ \[=*>?\.*\] - (?=[^\n]* loss: -?(?:nan|inf)\b)/i;
export const KERAS_PART = /^\s{0,20}\d{1,12}\/\d{1,12} \[=*>\.*\] - /;
/** Whether the line of a full bar draws it. */
export const KERAS_DRAWN = /^\s*\d+\/\d+ \[=+\]/;
/** A bar whose values follow in the next line, as where its carriage returns became the ends of lines. */
export const KERAS_BARE_BAR = /^\s*\d+\/\d+\s+\[[=>.]+\]\s*$/;
export const KERAS_REST = /^\s{0,4}-\s.*:/;
/** The time that is left is no value. */
export const kerasPairs = (text: string): Pair[] => dashPairs(text).filter(([name]) => name !== 'ETA');

/** Colours, and the backspaces of a bar that is drawn again. */
export const DRAWING = /\u001b\[[\d;]*[A-Za-z]|\u0008+/g;
