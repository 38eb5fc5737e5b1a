/** Lines that are source, comments, prompts or commands: what they assign to a loss is not a record of training. */

/** What starts a line of source, of a comment or of a prompt. */
export function isComment(bytes: Buffer, at: number, to: number): boolean {
  const first = bytes[at];
  const second = at + 1 < to ? bytes[at + 1] : 0;
  if (first === 0x23) return second === 0x20;
  if (first === 0x2f) return second === 0x2f;
  return first === 0x3e && second === 0x3e;
}

/** What only a line of a program looks like: a statement, a string, a call that goes on. */
const PROGRAM =
  /^\s*(?:<(?!\w{1,20}: {0,8}\d)\s*[\w<]|(?:[[(]\s*)?['"`]|(?:const|let|var|def|class|return|if|elif|else|for|while|assert|expect|print|printf|import|from|case|type|int|float|double|auto|export|await|yield|raise|throw|try|except|self\.|this\.|it\(|test\()\b)|=\s{0,4}(?!tensor|np\.|jnp\.|array|float)[\w.]{1,40}\(|\)\s?=>|=>\s?\{|\w\(\[?\s*['"`]|\bfunction\b|&&|(?<!%)\|\|(?!:|\s{0,4}(?:[A-Z]\w{0,20}:|[a-z]\w{0,20}: {0,4}\d|$))|[!=]==?\s/;
/** A line of a list or of a comparison of two files: `- epoch 3: loss 0.4`. */
const ITEM = /^\s*[-+]\s*[\w<]/;
/** A counter with its total, which no list has: `- Train | Epoch 1 | 143/573 | Loss: 2.3`. */
const WITH_TOTAL = /(?<![\d/.])\d{1,9}\/\d{1,9}(?![\d/.])/;
/** A line of a dictionary that Python prints over several: `'training_loss': 0.31}`. */
const PRINTED_ITEM = /^\s*'[\w/. -]{1,80}': [-+\w.]{1,40}[,}]{0,2}\s*$/;
/** A request in the log of a server. */
const REQUEST = /"(?:GET|POST|PUT|HEAD|DELETE|PATCH) \//;
/** What a test reports of its own file: `loss_test.go:28: step 0 loss 0.482`. */
const OF_TEST = /^\s{0,8}(?:\w{1,80}_test|test_\w{1,80})\.[a-z]{1,4}:\d{1,6}:/;
/** Whether a line looks like one of a program or its tests, or asks a server. */
export const isProgram = (text: string): boolean =>
  REQUEST.test(text) ||
  OF_TEST.test(text) ||
  (ITEM.test(text) && !WITH_TOTAL.test(text)) ||
  (PROGRAM.test(text.slice(0, 200)) && !PRINTED_ITEM.test(text)) ||
  /(?:[{(\\]|[)\]}"'];|[)\]}],)\s*$/.test(text.slice(-20));

/** A command with its options: `python train.py --loss 0.5`. */
export const isCommand = (text: string): boolean => /(?:^|\s)--[a-z][\w-]*[ =]/.test(text);
