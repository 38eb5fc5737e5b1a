/** Draws what a program printed to a terminal, with its colours, as an SVG. */

/** How a stretch of text looks: what the escape sequences of ECMA-48 (SGR) before it ask for. */
interface Style {
  readonly colour: string | null;
  readonly bold: boolean;
  readonly dim: boolean;
}

interface Stretch extends Style {
  readonly text: string;
}

const PLAIN: Style = { colour: null, bold: false, dim: false };

/** The eight colours of a terminal by their SGR number, on a dark ground. */
const COLOURS: Readonly<Record<number, string>> = {
  31: '#ff7b72',
  32: '#56d364',
  33: '#e3b341',
  34: '#79c0ff',
  35: '#d2a8ff',
  36: '#56d4dd',
  90: '#8b949e',
};
const FOREGROUND = '#e6edf3';
const BACKGROUND = '#0d1117';
const BAR = '#161b22';

/** Size of one cell of text, in the units of the picture. */
const CELL = { width: 8.4, height: 19, font: 14 };
const MARGIN = 18;
const BAR_HEIGHT = 34;

/** The style after one SGR number. A number that is not known changes nothing. */
function styleAfter(style: Style, number: number): Style {
  if (number === 0) return PLAIN;
  if (number === 1) return { ...style, bold: true };
  if (number === 2) return { ...style, dim: true };
  if (number === 22) return { ...style, bold: false, dim: false };
  if (number === 39) return { ...style, colour: null };
  return number in COLOURS ? { ...style, colour: COLOURS[number]! } : style;
}

/** One printed line, cut where its style changes; the style goes on into the next line. */
function stretchesOf(line: string, before: Style): { stretches: Stretch[]; style: Style } {
  let style = before;
  const stretches: Stretch[] = [];
  // A part at an odd place is what stood between `ESC [` and `m`.
  for (const [index, part] of line.split(/\u001b\[([\d;]*)m/).entries()) {
    if (index % 2 === 1) for (const number of part.split(';')) style = styleAfter(style, Number(number));
    else if (part !== '') {
      const last = stretches.at(-1);
      if (last !== undefined && sameLook(last, style))
        stretches[stretches.length - 1] = { ...last, text: last.text + part };
      else stretches.push({ ...style, text: part });
    }
  }
  return { stretches, style };
}

const sameLook = (a: Style, b: Style): boolean =>
  a.colour === b.colour && a.bold === b.bold && a.dim === b.dim;

const escaped = (text: string): string =>
  text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]!);

const tspan = ({ text, colour, bold, dim }: Stretch): string => {
  const attributes = [
    colour === null ? '' : ` fill="${colour}"`,
    bold ? ' font-weight="bold"' : '',
    dim ? ' opacity="0.65"' : '',
  ].join('');
  return attributes === '' ? escaped(text) : `<tspan${attributes}>${escaped(text)}</tspan>`;
};

/**
 * A terminal with a command and what it printed, as an SVG that needs no font and no script.
 *
 * @param command the line after the prompt
 * @param printed the output, with SGR escape sequences
 * @param columns width of the terminal in characters, 20 to 400
 */
export function terminalSvg(command: string, printed: string, columns: number): string {
  const lines = [`\u001b[2m$\u001b[22m \u001b[1m${command}\u001b[22m`, ...printed.trimEnd().split('\n')];
  const width = Math.ceil(columns * CELL.width + 2 * MARGIN);
  const height = BAR_HEIGHT + lines.length * CELL.height + 2 * MARGIN;
  let style = PLAIN;
  const rows = lines.map((line, index) => {
    const { stretches, style: after } = stretchesOf(line, style);
    style = after;
    const y = BAR_HEIGHT + MARGIN + (index + 0.8) * CELL.height;
    // `textLength` keeps the columns in line whatever font the reader has.
    const cells = stretches.reduce((sum, { text }) => sum + [...text].length, 0);
    return `<text x="${MARGIN}" y="${y.toFixed(1)}" textLength="${(cells * CELL.width).toFixed(1)}" xml:space="preserve">${stretches.map(tspan).join('')}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(command)}">
<rect width="${width}" height="${height}" rx="8" fill="${BACKGROUND}"/>
<path d="M0 ${BAR_HEIGHT}V8a8 8 0 0 1 8-8H${width - 8}a8 8 0 0 1 8 8V${BAR_HEIGHT}z" fill="${BAR}"/>
<circle cx="20" cy="17" r="6" fill="#ff5f57"/><circle cx="40" cy="17" r="6" fill="#febc2e"/><circle cx="60" cy="17" r="6" fill="#28c840"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="${CELL.font}" fill="${FOREGROUND}">
${rows.join('\n')}
</g>
</svg>
`;
}

/** The text of such a picture, line by line and without colours: the command first. */
export function textOfSvg(svg: string): string {
  return [...svg.matchAll(/<text [^>]*>(.*?)<\/text>/g)]
    .map(([, row = '']) =>
      row
        .replace(/<[^>]*>/g, '')
        .replaceAll('&lt;', '<')
        .replaceAll('&gt;', '>')
        .replaceAll('&amp;', '&'),
    )
    .join('\n');
}
