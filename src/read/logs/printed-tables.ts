/**
 * Tables that trainers print, turned into lines of names and numbers: a header with rows below it (fastai, Ultralytics,
 * the notebooks of Hugging Face, xLearn, Vowpal Wabbit), and boxes of a name and a number a line (Stable-Baselines, Spinning Up).
 */
import { isErrorMeasure, isLossName, isRankingMeasure } from './metric-roles.ts';
import { numberOfText } from './number-text.ts';

/** Longer lines are not part of a table. */
const LONGEST = 400;
const MOST_CELLS = 40;
/** Rows of a box that are kept until it ends. */
const MOST_ROWS = 200;

export interface TableReader {
  /**
   * Takes a line.
   *
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

export function tableReader(): TableReader {
  let header: string[] | undefined;
  /** The evaluation that its rows are of, by the heading before it. */
  let headingOf = '';
  /** Whether tabs separate the names of the header. */
  let isTabbed = false;
  /** Whether the header is indented, as in a frame that pandas prints: its rows begin with their number. */
  let isFrame = false;
  let isVowpal = false;
  let section = '';
  let box: string[] | undefined;
  /** The names of a horizontal table: `| Name | lr | loss |` over `| Value | 0.1 | 2.3 |`. */
  let lying: string[] | undefined;
  let dict: string[] | undefined;
  /** The last row that counted: a full bar is drawn once more when it is closed. */
  let lastFound: string | undefined;
  /** The last line that was not blank. */
  let before = '';
  /** Whether the bar of this epoch has shown a loss that is not finite. */
  let toldNaN = false;

  /** @param ruled whether bars or tabs separate the cells: it is a row then whatever its losses say */
  const row = (names: readonly string[], cells: readonly string[], ruled: boolean): string | undefined => {
    // Further cells may be a bar drawn after the row.
    if (cells.length < names.length) return undefined;
    const first = names.findIndex((name) => AXIS.test(name));
    if (first < 0 && cells.length > names.length) return undefined;
    // Numbers after the last column: words within cells were split, and the columns are shifted.
    if (cells.slice(names.length).some((cell) => numberOfText(cell) !== undefined)) return undefined;
    const axis = first < 0 ? names.findIndex((name) => COUNTER.test(name)) : first;
    if (!/^\d+(?:\/\d+)?$/.test(cells[axis]!)) return undefined;
    if (!ruled && !names.some((name, k) => isTold(name) && numberOfText(cells[k]!) !== undefined))
      return undefined;
    return names
      .map((name, k) => [k === axis && first < 0 ? 'step' : name, cells[k] || 'None'] as const)
      .filter(([name, cell]) => isLoss(name) || !/[:=]/.test(cell))
      .map(([name, cell]) => `${name}: ${cell}`)
      .join(' | ');
  };
  /** Whether each loss of a row is a finite number. */
  const hasFiniteLosses = (names: readonly string[], cells: readonly string[]): boolean =>
    names.every((name, k) => !isLoss(name) || Number.isFinite(numberOfText(cells[k]!)));

  return {
    isOpen: () =>
      header !== undefined || lying !== undefined || box !== undefined || dict !== undefined || isVowpal,
    take(raw) {
      if (raw.length > LONGEST) return undefined;
      const text = raw
        .replace(/[│┃]/g, '|')
        .replace(PROGRESS, '')
        .replace(/^\s{0,8}# {0,4}(?=[A-Za-z])/, '')
        .replace(SPACY_HEADER, 'epoch  step  ');
      const trimmed = text.trim();
      const stacked = stackedNames(before, trimmed);
      const heading = EVALUATION.test(before) ? `${before.toLowerCase()} ` : '';
      if (trimmed !== '') before = trimmed;
      if (dict === undefined) {
        const [, name, cell] = DICT_FIRST.exec(trimmed) ?? [];
        if (name !== undefined) {
          dict = [`${name}: ${cell}`];
          return 'held';
        }
      } else {
        const nested = DICT_OF_ITEMS.exec(trimmed);
        const [, name, cell, end] = nested ?? DICT_ITEM.exec(trimmed) ?? [];
        const items = dict;
        dict = name === undefined || end !== undefined || items.length >= MOST_ROWS ? undefined : items;
        if (name !== undefined) {
          items.push(...(nested === null ? [`${name}: ${cell}`] : namesAndCells(name, cell!)));
          return end === undefined ? 'held' : items.join(', ');
        }
      }
      if (VOWPAL_HEADER.test(trimmed)) {
        isVowpal = true;
        return undefined;
      }
      const vowpal = isVowpal ? vowpalRow(trimmed) : undefined;
      if (vowpal !== undefined) return vowpal;
      if (RULE.test(trimmed)) {
        const rows = box;
        box = trimmed.includes('|') ? box : [];
        section = '';
        return rows !== undefined && rows.length > 1 ? rows.join(' | ') : undefined;
      }
      if (box !== undefined) {
        const cells = trimmed.startsWith('|') && trimmed.endsWith('|') ? trimmed.slice(1, -1).split('|') : [];
        const name = cells[0]?.trim() ?? '';
        if (cells.length === 2 && /^[A-Za-z]/.test(name) && box.length < MOST_ROWS) {
          const number = cells[1]!.trim();
          const told = numberOfText(number) !== undefined || (isLoss(name) && !/\s/.test(number));
          if (number === '' && !isLoss(name)) section = name.endsWith('/') ? name : '';
          // A loss without a number is kept: as missing or refused.
          else if (told) box.push(`${cells[0]!.startsWith('  ') ? section : ''}${name}: ${number || 'None'}`);
          return 'held';
        }
        box = undefined;
      }
      const lain = trimmed.startsWith('|') && trimmed.endsWith('|') ? cellsOf(trimmed) : [];
      if (/^name$/i.test(lain[0] ?? '') && lain.length <= MOST_CELLS && lain.some(isTold)) {
        lying = lain.slice(1);
        return 'held';
      }
      if (lying !== undefined && /^value$/i.test(lain[0] ?? '') && lain.length === lying.length + 1)
        return lying.map((name, k) => `${name}: ${lain[k + 1] || 'None'}`).join(' | ');
      if (header !== undefined) {
        const bar = BAR.exec(text);
        const bare = bar === null ? text : text.slice(0, bar.index);
        const byTabs = isTabbed && bare.includes('\t') ? cellsOf(bare) : [];
        const told =
          byTabs.length === header.length
            ? byTabs
            : header.some((name) => name.includes(' '))
              ? cellsOf(bare)
              : words(bare);
        const numbered = isFrame && told.length === header.length + 1 && /^\d{1,9}\s/.test(bare);
        const cells = numbered ? told.slice(1) : told;
        // `Si_f_rmse psavg_f_rmse`: a name that fills its column is followed by only one blank.
        const single = header.flatMap((name) => name.split(' '));
        const names = cells.length > header.length && cells.length === single.length ? single : header;
        const headed = names.map((name) =>
          headingOf === '' || AXIS.test(name) ? name : `${headingOf}${name}`,
        );
        const found = row(headed, cells, told === byTabs || bare.trimStart().startsWith('|'));
        if (found !== undefined && bar !== null) {
          // The running mean of an epoch counts at its end; one that is not finite stays so and counts at once.
          const counts = Number(bar[1]) >= 100 || (!toldNaN && !hasFiniteLosses(names, cells));
          if (!counts || found === lastFound) return 'drawn';
          toldNaN = Number(bar[1]) < 100;
          lastFound = found;
        }
        if (found !== undefined) return found;
      }
      if (stacked !== undefined) {
        header = stacked;
        headingOf = '';
        return undefined;
      }
      if (
        text.includes(':') ||
        text.includes('=') ||
        !/loss|nll|ppl|perplexity|deviance|gpu_mem|rmse|ndcg/i.test(text)
      )
        return undefined;
      // `Epoch batch      loss`: wide columns, with one blank between counters.
      const cells = cellsOf(text).flatMap((cell) => {
        const parts = cell.split(' ');
        return parts.length > 1 && parts.every((part) => AXIS.test(part) || part === 'batch')
          ? parts
          : [cell];
      });
      if (
        cells.length > 1 &&
        cells.length <= MOST_CELLS &&
        (AXIS.test(cells[0]!) || (text.includes('  ') && cells.some((cell) => COUNTER.test(cell)))) &&
        cells.every((cell) => NAME.test(cell)) &&
        (cells.some(isTold) || isYolo(cells))
      ) {
        header = isYolo(cells) ? yoloNames(cells) : cells;
        headingOf = heading;
        isFrame = /^\s/.test(text);
        isTabbed = text.trim().includes('\t');
      }
      return undefined;
    },
  };
}

const words = (text: string): string[] =>
  text.includes('|') ? cellsOf(text) : text.trim().split(/\s+/, MOST_CELLS + 20);
