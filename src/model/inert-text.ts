/**
 * Untrusted text (names of metrics, tensors, files) made harmless for a terminal: control characters, escape
 * sequences and bidirectional marks are shown as their code points. Line breaks and tabs of our own texts stay.
 */
const DANGEROUS =
  // C0 but \t and \n, DEL, C1, bidi and zero-width controls, line and paragraph separators, lone surrogates, BOM, no characters, tags.
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]|[\u{e0000}-\u{e007f}]/gu;

const codePoint = (character: string): string => `\\u{${character.codePointAt(0)!.toString(16)}}`;

/** Colours and weights as we write them; an escape sequence of a name is not one of these, as {@link inert} has been there. */
const OWN_COLOUR = /(\u001b\[[\d;]*m)/;

/** Text of ours that may hold colours. */
export const inertButColours = (text: string): string =>
  text.includes('\u001b')
    ? text
        .split(OWN_COLOUR)
        .map((part, i) => (i % 2 === 1 ? part : inert(part)))
        .join('')
    : inert(text);

/** A JSON text of the same value, in which the characters that {@link inert} shows are written as their codes. */
export const inertJson = (json: string): string =>
  json.replace(DANGEROUS, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join(''),
  );

/** Text that may hold line breaks of ours. */
export const inert = (text: string): string => text.replace(DANGEROUS, codePoint);

/** A name on one line: line breaks and tabs are made visible too. */
export const inertName = (name: string): string => inert(name).replace(/[\n\t]/g, codePoint);

/**
 * What a CI server takes for a command in the output of a job: on GitHub `::name` at the start of a line, blanks before
 * it or not, and `##[name]`; on Azure `##vso[`. Colours count as blanks: a server may take them away first.
 */
const CI_COMMAND = /^((?:[^\S\n\r\u2028\u2029]|\u001b\[[\d;]*m)*):(?=:)|#(?=#(?:vso)?\[)/gm;

/** Output whose lines no CI server reads as its commands, whatever names are in it. */
export const inertOutput = (text: string): string =>
  text.replace(CI_COMMAND, (found, blanks?: string) =>
    found === '#' ? codePoint(found) : `${blanks}${codePoint(':')}`,
  );
