/**
 * Tables that trainers print, turned into lines of names and numbers: a header with rows below it (fastai, Ultralytics,
 * the notebooks of Hugging Face, xLearn, Vowpal Wabbit), and boxes of a name and a number a line (Stable-Baselines, Spinning Up).
 */
import { isErrorMeasure, isLossName, isRankingMeasure } from './metric-roles.ts';
import { numberOfText } from './number-text.ts';
import { means } from './text/words.ts';

/** Longer lines are not part of a table. */
const LONGEST = 400;
const MOST_CELLS = 40;
/** Rows of a box that are kept until it ends. */
const MOST_ROWS = 200;

export interface TableReader {
  /**
   * Takes a line.
   *
   * @param text without the stamp of a logger before it
   * @returns the names and numbers that it completes, `held` where it is part of an unfinished box or dictionary,
   *   `drawn` where it is a row whose bar is drawn again later, undefined where it is not part of a table
   */
  take(text: string): string | 'held' | 'drawn' | undefined;
  /** Whether the meaning of a line depends on those before it: a header or a box has begun. */
  isOpen(): boolean;
}

const RULE = /^[\s|+]*[-=─━]{4}[-=─━+|:\s]*$/;
/** A bar drawn after a row: tqdm's `: 12%|█▏  | 1/8`, and Ultralytics's own `: 12% ━╸── 1/8`. */
const BAR = /:?\s{1,4}(\d{1,3})%\s?[|━╸─]/;
const AXIS = /^(?:epoch|step|iter|iteration|round|it)$/i;
/** A counter that is the axis where no column has such a name, as in ParlAI's tables. */
const COUNTER = /^(?:total_train_updates|num_updates|global_?step|train_?step)$/i;

/** The cells of a line: between bars, tabs or blanks. */
function cellsOf(text: string): string[] {
  if (text.includes('|'))
    return text
      .split('|')
      .slice(text.trimStart().startsWith('|') ? 1 : 0, text.trimEnd().endsWith('|') ? -1 : undefined)
      .map((cell) => cell.trim());
  if (text.includes('\t'))
    return text
      .trim()
      .split('\t')
      .map((cell) => cell.trim());
  const wide = text
    .trim()
    .split('  ')
    .map((cell) => cell.trim())
    .filter((cell) => cell !== '');
  return wide.length > 1 ? wide : text.trim().split(' ');
}

/** Answers by the name of a column: each row asks again. */
const losses = new Map<string, boolean>();
const MOST_NAMES = 1000;
function isLoss(name: string): boolean {
  let found = losses.get(name);
  if (found === undefined) {
    found = (isLossName(name) && !/\bcosts?\b/i.test(name)) || isErrorMeasure(name);
    if (losses.size >= MOST_NAMES) losses.clear();
    losses.set(name, found);
  }
  return found;
}

/** What a table of training reports: a loss, or the gain of a ranking where that is all (RankLib). */
const isTold = (name: string): boolean => isLoss(name) || isRankingMeasure(name);

/** Columns that are named by their data alone, `train` and `valid`, as a rule of the loss. */
const hasSplits = (names: readonly string[]): boolean =>
  (['train', 'eval'] as const).every((of) => names.some((name) => means(name.toLowerCase(), of)));

/** `Epoch gpu_mem box obj cls labels img_size`: YOLO's parts of the loss are between the memory and the labels. */
const isYolo = (cells: readonly string[]): boolean => /^gpu_mem$/i.test(cells[1] ?? '');
function yoloNames(cells: readonly string[]): string[] {
  const end = cells.findIndex((name) => /^(?:labels|targets|instances)$/i.test(name));
  return cells.map((name, k) => (k > 1 && k < end && !/loss$/i.test(name) ? `${name}_loss` : name));
}

/** `[ 10%      ]     3     0.61`: xLearn prints its progress before a row, and a rule before its header. */
const PROGRESS = /^\s*\[[-\s\d%]{3,20}\]\s+/;
/** The first line of a dictionary that Python prints over several lines; a later line, which may be the last. */
const DICT_FIRST = /^\{'([\w/. -]{1,80})': ([^{}[\]]{1,80}),$/;
const DICT_ITEM = /^'([\w/. -]{1,80})': ([^{}[\]]{1,80})(?:,|(\}))$/;
/** An item that is itself a dictionary of numbers: `'train': {'acc': 0.5, 'loss': 2.0},`. */
const DICT_OF_ITEMS = /^'([\w/. -]{1,80})': \{([^{}[\]]{1,300})\}(?:,|(\}))$/;
const namesAndCells = (item: string, items: string): string[] =>
  items.split(', ').map((one) => `${item} ${one.replace(/^'([\w/. -]{1,80})'(?=: )/, '$1')}`);
/** The second line of Vowpal Wabbit's header, whose names take two lines. */
const VOWPAL_HEADER = /^loss\s+last\s+counter\s+weight\s+label\s+predict\s+features$/;
/** A row of Vowpal Wabbit; an `h` at its end marks losses of held-out rows. */
const VOWPAL_ROW = /^(\S+)\s+(\S+)\s+(\d+)\s+[\d.]+\s.*?(\sh)?$/;
/** The loss is the one since the line before; the average is of the whole run. `n.a.` and `unknown` are no values. */
function vowpalRow(text: string): string | undefined {
  const [, average, since, counter, held] = VOWPAL_ROW.exec(text) ?? [];
  if (average === undefined || since === undefined) return undefined;
  const cell = (value: string): string => (/^(?:n\.a\.|unknown)$/.test(value) ? 'None' : value);
  const name = held === undefined ? 'loss' : 'heldout_loss';
  return `step: ${counter} | ${name}: ${cell(since)} | average_${name}: ${cell(average)}`;
}

/** spaCy's header: `E    #       LOSS TOK2VEC  LOSS NER`; the second counts steps. */
const SPACY_HEADER = /^E\s{1,8}#\s{1,12}(?=LOSS )/;
/** A cell of a header; and one of a two-line header, in which a cell may be empty or a unit in brackets. */
const NAME = /^[A-Za-z][\w ./@()-]{0,40}$/;
const PART_OF_NAME = /^(?:[A-Za-z(][\w .:/()-]{0,40})?$/;
/**
 * The names of a header whose words are in two lines, as in MATLAB's table: `| Mini-batch |` over `| Loss |`;
 * undefined where the lines are not such a header.
 */
function stackedNames(above: string, below: string): string[] | undefined {
  if (!above.startsWith('|') || !below.startsWith('|') || !below.endsWith('|')) return undefined;
  const [upper, lower] = [cellsOf(above), cellsOf(below)];
  if (upper.length !== lower.length || upper.length > MOST_CELLS || lower[0] !== '') return undefined;
  if (!upper.every((cell) => NAME.test(cell)) || !lower.every((cell) => PART_OF_NAME.test(cell)))
    return undefined;
  const names = upper.map((cell, k) => `${cell} ${lower[k]!.replace(/\([^()]*\)$/, '')}`.trim());
  return AXIS.test(names[0]!) && names.some(isLoss) ? names : undefined;
}

/** A heading on its own line before a table says which data its rows are of. */
const EVALUATION = /^(?:valid(?:ation)?|eval(?:uation)?|test(?:ing)?)$/i;

/** Lines of a dictionary that Python prints over several lines, after its first. */
class DictLines {
  private items: string[] | undefined;

  isOpen(): boolean {
    return this.items !== undefined;
  }

  take(line: string): string | 'held' | undefined {
    const { items } = this;
    if (items === undefined) {
      const [, name, cell] = DICT_FIRST.exec(line) ?? [];
      if (name === undefined) return undefined;
      this.items = [`${name}: ${cell}`];
      return 'held';
    }
    const nested = DICT_OF_ITEMS.exec(line);
    const [, name, cell, end] = nested ?? DICT_ITEM.exec(line) ?? [];
    if (name === undefined || end !== undefined || items.length >= MOST_ROWS) this.items = undefined;
    if (name === undefined) return undefined;
    items.push(...(nested === null ? [`${name}: ${cell}`] : namesAndCells(name, cell!)));
    return end === undefined ? 'held' : items.join(', ');
  }
}

/** A box of a name and a number a line, between rules. */
class Box {
  private rows: string[] | undefined;
  private section = '';

  isOpen(): boolean {
    return this.rows !== undefined;
  }

  /** A rule begins a box and ends the one before it; one with bars parts the rows of a box. */
  rule(line: string): string | undefined {
    const { rows } = this;
    if (!line.includes('|')) this.rows = [];
    this.section = '';
    return rows !== undefined && rows.length > 1 ? rows.join(' | ') : undefined;
  }

  take(line: string): 'held' | undefined {
    const { rows } = this;
    if (rows === undefined) return undefined;
    const cells = isRuled(line) ? line.slice(1, -1).split('|') : [];
    const name = cells[0]?.trim() ?? '';
    if (cells.length !== 2 || !/^[A-Za-z]/.test(name) || rows.length >= MOST_ROWS) {
      this.rows = undefined;
      return undefined;
    }
    const number = cells[1]!.trim();
    const told = numberOfText(number) !== undefined || (isLoss(name) && !/\s/.test(number));
    if (number === '' && !isLoss(name)) this.section = name.endsWith('/') ? name : '';
    // A loss without a number is kept: as missing or refused.
    else if (told) rows.push(`${cells[0]!.startsWith('  ') ? this.section : ''}${name}: ${number || 'None'}`);
    return 'held';
  }
}

const isRuled = (line: string): boolean => line.startsWith('|') && line.endsWith('|');

/** A horizontal table: `| Name | lr | loss |` over `| Value | 0.1 | 2.3 |`. */
class Lying {
  private names: string[] | undefined;

  isOpen(): boolean {
    return this.names !== undefined;
  }

  take(line: string): string | 'held' | undefined {
    const cells = isRuled(line) ? cellsOf(line) : [];
    const first = cells[0] ?? '';
    if (/^name$/i.test(first) && cells.length <= MOST_CELLS && cells.some(isTold)) {
      this.names = cells.slice(1);
      return 'held';
    }
    const { names } = this;
    if (names === undefined || !/^value$/i.test(first) || cells.length !== names.length + 1) return undefined;
    return names.map((name, k) => `${name}: ${cells[k + 1] || 'None'}`).join(' | ');
  }
}

/** Which column is the axis: one of that name, else a counter; -1 without one. */
function axisOf(names: readonly string[]): number {
  const first = names.findIndex((name) => AXIS.test(name));
  return first < 0 ? names.findIndex((name) => COUNTER.test(name)) : first;
}

/** An axis with its total, as in `3/90`. */
const OF_TOTAL = /^\d+\/\d+$/;

/**
 * The names and numbers of a row; undefined where there is no row.
 *
 * @param ruled whether bars or tabs separate the cells: it is a row then whatever its losses say
 */
function rowOf(names: readonly string[], cells: readonly string[], ruled: boolean): string | undefined {
  // Further cells may be a bar drawn after the row.
  if (cells.length < names.length) return undefined;
  const first = names.findIndex((name) => AXIS.test(name));
  if (first < 0 && cells.length > names.length) return undefined;
  // Numbers after the last column: words within cells were split, and the columns are shifted.
  if (cells.slice(names.length).some((cell) => numberOfText(cell) !== undefined)) return undefined;
  const axis = axisOf(names);
  if (!/^\d+(?:\/\d+)?$/.test(cells[axis]!)) return undefined;
  const isNumber = (k: number): boolean => numberOfText(cells[k]!) !== undefined;
  if (
    !ruled &&
    !names.some((name, k) => isTold(name) && isNumber(k)) &&
    !hasSplits(names.filter((_, k) => isNumber(k)))
  )
    return undefined;
  return names
    .map((name, k) => [k === axis && first < 0 ? 'step' : name, cells[k] || 'None'] as const)
    .filter(([name, cell]) => isLoss(name) || !/[:=]/.test(cell))
    .map(([name, cell]) => `${name}: ${cell}`)
    .join(' | ');
}

/** Whether each loss of a row is a finite number. */
const hasFiniteLosses = (names: readonly string[], cells: readonly string[]): boolean =>
  names.every((name, k) => !isLoss(name) || Number.isFinite(numberOfText(cells[k]!)));

/** The cells of a header with a loss; undefined for other text. `Epoch batch      loss` has one blank between counters. */
function headerOf(text: string): string[] | undefined {
  if (text.includes(':') || text.includes('=') || !NAMES_LOSS.test(text)) return undefined;
  const cells = cellsOf(text).flatMap((cell) => {
    const parts = cell.split(' ');
    return parts.length > 1 && parts.every((part) => AXIS.test(part) || part === 'batch') ? parts : [cell];
  });
  const isHeader =
    cells.length > 1 &&
    cells.length <= MOST_CELLS &&
    (AXIS.test(cells[0]!) || (text.includes('  ') && cells.some((cell) => COUNTER.test(cell)))) &&
    cells.every((cell) => NAME.test(cell)) &&
    (cells.some(isTold) || isYolo(cells) || hasSplits(cells));
  return isHeader ? (isYolo(cells) ? yoloNames(cells) : cells) : undefined;
}
const NAMES_LOSS = /loss|nll|ppl|perplexity|deviance|gpu_mem|rmse|ndcg|\btrain/i;

/** A header with rows below it. */
class Headed {
  private names: readonly string[] = [];
  /** The evaluation that its rows are of, by the heading before it. */
  private heading = '';
  /** Whether tabs separate the names. */
  private isTabbed = false;
  /** Whether the header is indented, as in a frame that pandas prints: its rows begin with their number. */
  private isFrame = false;
  /** Whether its rows give the axis with its total (`3/90`); undefined before its first row. */
  private isOfTotal: boolean | undefined;
  /** The last row that counted: a full bar is drawn once more when it is closed. */
  private last: string | undefined;
  /** Whether the bar of this epoch has shown a loss that is not finite. */
  private toldNaN = false;

  isOpen(): boolean {
    return this.names.length > 0;
  }

  /** Looks for a header in a line that is no row. @param before the line above it */
  begin(text: string, before: string): void {
    const line = text.trim();
    const stacked = stackedNames(before, line);
    const names = stacked ?? headerOf(text);
    if (names === undefined) return;
    if (names.join() !== this.names.join()) this.isOfTotal = undefined;
    this.names = names;
    this.heading = stacked === undefined && EVALUATION.test(before) ? `${before.toLowerCase()} ` : '';
    this.isTabbed = stacked === undefined && line.includes('\t');
    this.isFrame = stacked === undefined && /^\s/.test(text);
  }

  take(text: string): string | 'drawn' | undefined {
    if (!this.isOpen()) return undefined;
    const bar = BAR.exec(text);
    const bare = bar === null ? text : text.slice(0, bar.index);
    const tabbed = this.isTabbed && bare.includes('\t') ? cellsOf(bare) : [];
    const isByTabs = tabbed.length === this.names.length;
    const cells = isByTabs ? tabbed : this.cellsIn(bare);
    const names = this.namesFor(cells);
    const { heading } = this;
    const headed = names.map((name) => (heading === '' || AXIS.test(name) ? name : `${heading}${name}`));
    const found = rowOf(headed, cells, isByTabs || bare.trimStart().startsWith('|'));
    // One table writes its axis in one way: rows below another one's header, which may fit too, are not of it.
    const isOfTotal = OF_TOTAL.test(cells[axisOf(names)] ?? '');
    if (found === undefined || isOfTotal !== (this.isOfTotal ?? isOfTotal)) return undefined;
    this.isOfTotal = isOfTotal;
    if (bar === null) return found;
    // The running mean of an epoch counts at its end; one that is not finite stays so and counts at once.
    const isFull = Number(bar[1]) >= 100;
    const counts = isFull || (!this.toldNaN && !hasFiniteLosses(names, cells));
    if (!counts || found === this.last) return 'drawn';
    this.toldNaN = !isFull;
    this.last = found;
    return found;
  }

  private cellsIn(bare: string): string[] {
    const told = this.names.some((name) => name.includes(' ')) ? cellsOf(bare) : words(bare);
    const isNumbered = this.isFrame && told.length === this.names.length + 1 && /^\d{1,9}\s/.test(bare);
    return isNumbered ? told.slice(1) : told;
  }

  /** `Si_f_rmse psavg_f_rmse`: a name that fills its column is followed by only one blank. */
  private namesFor(cells: readonly string[]): readonly string[] {
    const { names } = this;
    const single = names.flatMap((name) => name.split(' '));
    return cells.length > names.length && cells.length === single.length ? single : names;
  }
}

class Tables implements TableReader {
  private readonly dict = new DictLines();
  private readonly box = new Box();
  private readonly lying = new Lying();
  private readonly headed = new Headed();
  private isVowpal = false;
  /** The last line that was not blank. */
  private before = '';

  isOpen(): boolean {
    const { headed, lying, box, dict, isVowpal } = this;
    return headed.isOpen() || lying.isOpen() || box.isOpen() || dict.isOpen() || isVowpal;
  }

  take(raw: string): string | 'held' | 'drawn' | undefined {
    if (raw.length > LONGEST) return undefined;
    const text = raw
      .replace(/[│┃]/g, '|')
      .replace(PROGRESS, '')
      .replace(/^\s{0,8}# {0,4}(?=[A-Za-z])/, '')
      .replace(SPACY_HEADER, 'epoch  step  ');
    const line = text.trim();
    const { before } = this;
    if (line !== '') this.before = line;
    const item = this.dict.take(line);
    if (item !== undefined) return item;
    if (VOWPAL_HEADER.test(line)) {
      this.isVowpal = true;
      return undefined;
    }
    const vowpal = this.isVowpal ? vowpalRow(line) : undefined;
    if (vowpal !== undefined) return vowpal;
    if (RULE.test(line)) return this.box.rule(line);
    const found = this.box.take(line) ?? this.lying.take(line) ?? this.headed.take(text);
    if (found === undefined) this.headed.begin(text, before);
    return found;
  }
}

export const tableReader = (): TableReader => new Tables();

const words = (text: string): string[] =>
  text.includes('|') ? cellsOf(text) : text.trim().split(/\s+/, MOST_CELLS + 20);
