/**
 * Jupyter notebooks (`.ipynb`, nbformat 4): what each cell printed is a text of its own, tables that it displayed are others.
 * Source: nbformat.readthedocs.io/en/latest/format_description.html.
 */

/** What a cell has left: its text as it was printed, or a table that it displayed. */
export interface CellOutput {
  /** `cell-3`, counted from 1 over all cells, or `cell-3-table-1`. */
  readonly name: string;
  readonly text: string;
}

type Text = string | readonly string[] | undefined;
interface Output {
  readonly output_type?: string;
  readonly text?: Text;
  readonly data?: { readonly 'text/plain'?: Text; readonly 'text/html'?: Text };
  readonly traceback?: readonly string[];
}
interface Cell {
  readonly cell_type?: string;
  readonly outputs?: readonly Output[];
}

/** Whether a head is that of a notebook: an object with cells or the version of the format. */
export const isNotebook = (head: Uint8Array): boolean =>
  head[0] === 0x7b &&
  /^\{\s*"(?:cells|metadata|nbformat|nbformat_minor)"\s*:/.test(
    Buffer.from(head.subarray(0, 200)).toString('latin1'),
  ) &&
  /"(?:cell_type|nbformat)"\s*:/.test(Buffer.from(head).toString('latin1'));

const joined = (text: Text): string =>
  typeof text === 'string' ? text : Array.isArray(text) ? text.join('') : '';

/**
 * The outputs of a notebook in the order of its cells.
 *
 * @returns undefined where the text is not a notebook
 */
export function notebookOutputs(document: string): CellOutput[] | undefined {
  let cells: readonly Cell[] | undefined;
  try {
    const { cells: own, worksheets } = JSON.parse(document) as {
      readonly cells?: readonly Cell[];
      readonly worksheets?: readonly { readonly cells?: readonly Cell[] }[];
    };
    cells = own ?? worksheets?.flatMap((sheet) => sheet.cells ?? []);
  } catch {
    return undefined;
  }
  if (!Array.isArray(cells)) return undefined;
  return cells.flatMap((cell: Cell, k) =>
    Array.isArray(cell?.outputs) ? outputsOf(cell.outputs, `cell-${k + 1}`) : [],
  );
}

function outputsOf(outputs: readonly Output[], name: string): CellOutput[] {
  let printed = '';
  const tables: CellOutput[] = [];
  for (const { output_type: kind, text, data, traceback } of outputs) {
    if (kind === 'stream') printed += joined(text);
    // An error ends a cell; what was printed may lack the end of its line.
    else if (kind === 'error' && Array.isArray(traceback))
      printed += `${printed === '' || printed.endsWith('\n') ? '' : '\n'}${traceback.join('\n')}\n`;
    else {
      const html = joined(data?.['text/html']);
      const found = html === '' ? [] : tablesIn(html);
      for (const table of found) tables.push({ name: `${name}-table-${tables.length + 1}`, text: table });
      const plain = joined(data?.['text/plain']);
      if (found.length === 0 && plain !== '' && !/^<[\w.]+ .*>$/.test(plain)) printed += `${plain}\n`;
    }
  }
  return [...(printed === '' ? [] : [{ name, text: printed }]), ...tables];
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  nbsp: ' ',
  '#39': "'",
};

/** Text between tags, in one line without tabs. */
const cellText = (html: string): string =>
  html
    .replace(/<[^<>]{0,1000}>/g, ' ')
    .replace(/&(amp|lt|gt|quot|nbsp|#39);/g, (_, name: string) => ENTITIES[name]!)
    .replace(/\s+/g, ' ')
    .trim();

/** The tables of a page, as lines with tabs; the progress tables of trainers are such. */
function tablesIn(html: string): string[] {
  return html
    .split(/<table\b/i)
    .slice(1)
    .map((table) =>
      table
        .split(/<\/table/i, 1)[0]!
        .split(/<tr\b/i)
        .slice(1)
        .map((row) =>
          row
            .split(/<t[hd]\b[^<>]{0,1000}>/i)
            .slice(1)
            .map(cellText),
        )
        .filter((cells) => cells.length > 1),
    )
    .filter((rows) => rows.length > 1)
    .map((rows) => `${rows.map((cells) => cells.join('\t')).join('\n')}\n`);
}
