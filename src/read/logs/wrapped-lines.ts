/**
 * Lines of a program that a collector of logs has wrapped, one record a line: Docker's json-file, Kubernetes' CRI, and JSON
 * records with a message. Each record gives one line, so that line numbers are those of the file.
 */
import { lossWordEnd } from '../seen/loss-words.ts';

/** What a record holds: a piece of a line of one stream, and whether the line ends with it. */
interface Piece {
  readonly text: string;
  readonly stream: string;
  readonly ends: boolean;
}

export interface Wrapper {
  readonly id: 'docker' | 'cri' | 'json-message';
  /** The piece of a record; undefined for any other line. */
  unwrap(line: string): Piece | undefined;
}

const CRI = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) ?/;
/** Where records keep the line that was printed. */
const MESSAGES = ['log', 'message', 'msg', 'textPayload', '@message', 'text', 'line'];
/** Numbers of a record that say when and where it was written. */
const PLACE =
  /^(?:@?time(?:stamp)?|ts|t|date|asctime|created|msecs|relativecreated|level(?:no)?|severity|pid|process|thread|line(?:no|_?number)?|rank|local_rank|node|seq|id|offset|ingestiontime|v|version)$/i;

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(line: string): Fields | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Fields;
  } catch {
    return undefined;
  }
}

const piece = (text: string, stream: unknown): Piece => ({
  text: text.replace(/\r?\n$/, '').replaceAll('\n', ' '),
  stream: typeof stream === 'string' ? stream : '',
  ends: text.endsWith('\n'),
});

const DOCKER: Wrapper = {
  id: 'docker',
  unwrap(line) {
    const { log, stream, time } = fieldsOf(line) ?? {};
    return typeof log === 'string' && typeof stream === 'string' && typeof time === 'string'
      ? piece(log, stream)
      : undefined;
  },
};

const KUBERNETES: Wrapper = {
  id: 'cri',
  unwrap(line) {
    const found = CRI.exec(line);
    if (found === null) return undefined;
    return { text: line.slice(found[0].length), stream: found[1]!, ends: found[2] === 'F' };
  },
};

/** Records with a message; a record with numbers of its own is a row of a log itself. */
const MESSAGE = (name: string): Wrapper => ({
  id: 'json-message',
  unwrap(line) {
    const fields = fieldsOf(line);
    const text = fields?.[name];
    if (fields === undefined || typeof text !== 'string') return undefined;
    const hasNumbers = Object.entries(fields).some(
      ([key, value]) => (typeof value === 'number' && !PLACE.test(key)) || isNested(value),
    );
    return hasNumbers ? undefined : { ...piece(text, ''), ends: true };
  },
});

/** Whether a value holds numbers of its own; labels of a pod hold none. */
const isNested = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  Object.entries(value).some(([key, one]) => typeof one === 'number' && !PLACE.test(key));

const WRAPPERS: readonly Wrapper[] = [DOCKER, KUBERNETES, ...MESSAGES.map(MESSAGE)];
/** Lines that are looked at; records of a collector's own may come first. */
const LOOKED_AT = 20;

/**
 * The wrapper of a text.
 *
 * @param head its first bytes, as UTF-8
 * @returns undefined where its lines are as the program printed them
 */
export function wrapperOf(head: Uint8Array): Wrapper | undefined {
  const first = head[0] ?? 0;
  if (first !== 0x7b && !(first >= 0x30 && first <= 0x39)) return undefined;
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('utf8');
  const lines = text.split('\n');
  // A line that the head cuts is not a record.
  if (lines.length > 1) lines.pop();
  const looked = lines.filter((line) => line.trim() !== '').slice(0, LOOKED_AT);
  if (looked.length === 0) return undefined;
  const found = WRAPPERS.find((one) => looked.every((line) => one.unwrap(line) !== undefined));
  if (found?.id !== 'json-message') return found;
  // JSON lines hold texts of any kind, such as rows of a data set. A log of training names a loss.
  return lines.some((line) => hasLossAndNumber(found.unwrap(line)?.text ?? '')) ? found : undefined;
}

function hasLossAndNumber(text: string): boolean {
  const bytes = Buffer.from(text);
  const end = lossWordEnd(bytes, 0, bytes.length);
  return end <= bytes.length && /^\W{0,8}(?:\d|nan|inf)/i.test(bytes.toString('utf8', end));
}

/** The longest piece of a line that is kept until the line ends. */
const LONGEST = 16 << 20;

/** The lines in a wrapped text. A line of several records has the place of the last one; the others give empty lines. */
export async function* unwrapped(
  chunks: AsyncIterable<Uint8Array>,
  wrapper: Wrapper,
): AsyncGenerator<Uint8Array> {
  const open = new Map<string, string>();
  const lineOf = (line: string): string => {
    const found = wrapper.unwrap(line.endsWith('\r') ? line.slice(0, -1) : line);
    // Any other line is handed on: the format decides what it is.
    if (found === undefined) return line;
    const text = (open.get(found.stream) ?? '') + found.text;
    const ends = found.ends || text.length > LONGEST;
    open.set(found.stream, ends ? '' : text);
    return ends ? text : '';
  };
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop()!;
    if (rest.length > LONGEST) {
      yield Buffer.from(rest);
      rest = '';
    }
    if (lines.length > 0) yield Buffer.from(`${lines.map(lineOf).join('\n')}\n`);
  }
  const left = [rest === '' ? '' : lineOf(rest), ...open.values()].filter((text) => text !== '').join('\n');
  if (left !== '') yield Buffer.from(left);
}
