/** A printed line as it is read: without colours, tensors and remarks, with names before their numbers, in English. */
import { withPoints } from '../decimal-commas.ts';
import { inEnglish } from '../in-english.ts';
import { DRAWING } from '../keras-bars.ts';
import { withoutStamp } from '../line-prefix.ts';
import { asPairs } from '../printed-layouts.ts';

/** The line with tensors as PyTorch prints them (`tensor(0.4, device='cuda:0')`) reduced to their numbers. */
function withoutTensors(line: string): string {
  let out = '';
  let at = 0;
  for (;;) {
    const open = line.indexOf(TENSOR, at);
    const close = open < 0 ? -1 : line.indexOf(')', open);
    if (close < 0) return out + line.slice(at);
    const inner = line.slice(open + TENSOR.length, close);
    const [number = ''] = inner.split(',', 1);
    out += line.slice(at, open) + (/[\s([]/.test(number) ? line.slice(open, close + 1) : number);
    at = close + 1;
  }
}
const TENSOR = 'tensor(';

/** The line with tabs and escapes that a collector of logs has written as their octal numbers (`#011`, `#033[32m`: rsyslog, SageMaker). */
const withoutOctal = (line: string): string =>
  line.replace(/#(011|033(?=\[))/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** The line without colours, and with tensors as their numbers. */
export function withoutDrawing(raw: string): string {
  const drawn = /[\u001b\u0008]/.test(raw) ? raw.replace(DRAWING, '') : raw;
  return drawn.includes(TENSOR) ? withoutTensors(drawn) : drawn;
}

/** The same of a line that no `--pattern` reads, with its escapes and its decimal commas written in the usual way. */
export const asText = (raw: string): string =>
  withPoints(withoutDrawing(raw.includes('#0') ? withoutOctal(raw) : raw));

/** The line without what points back at it: `loss: 0.31  <-- best`. */
function withoutRemark(line: string): string {
  if (!line.includes('<') && !line.includes('←')) return line;
  const at = line.search(/\s(?:<-{1,4}|<={2,4}|←)(?:\s|$)/);
  return at > 0 ? line.slice(0, at) : line;
}

/**
 * A line, with its escapes and decimal commas written in the usual way, as names and numbers.
 *
 * @param bare the line without the stamp of a logger, which no layout has; the stamp stays where no layout changes the line
 */
export function asSaid(text: string, bare = withoutStamp(text)): string {
  const plain = inEnglish(withoutRemark(bare));
  const pairs = asPairs(plain);
  return pairs === plain ? text.slice(0, text.length - bare.length) + plain : pairs;
}
