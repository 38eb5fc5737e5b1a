/** Counts what was right, with intervals, and writes the tables. */
import { markdownTable } from '../../src/model/markdown-table.ts';
import { type Answer, LEVELS, type Level, type Made, type Truth } from './answers.ts';

export interface Found {
  readonly run: Made;
  readonly answers: Readonly<Record<Level, Answer>>;
  readonly truth: Truth;
}

export interface Share {
  readonly right: number;
  readonly of: number;
  /** Wilson's 95 % interval. */
  readonly interval: readonly [number, number];
}

const Z = 1.959964;

export function share(right: number, of: number): Share {
  if (of === 0) return { right, of, interval: [0, 1] };
  const p = right / of;
  const middle = (p + Z ** 2 / (2 * of)) / (1 + Z ** 2 / of);
  const half = (Z / (1 + Z ** 2 / of)) * Math.sqrt((p * (1 - p)) / of + Z ** 2 / (4 * of ** 2));
  return { right, of, interval: [middle - half, middle + half] };
}

const text = ({ right, of, interval: [low, high] }: Share): string =>
  of === 0
    ? 'none'
    : `${((100 * right) / of).toFixed(1)} % (${right} of ${of}; ${(100 * Math.max(0, low)).toFixed(0)} to ${(100 * high).toFixed(0)})`;

type Count = { right: number; of: number };

export interface LevelResult {
  readonly trigger: Share;
  /** Of the runs for which a trigger was named. */
  readonly named: Share;
  readonly shown: Share;
  readonly remedy: Share;
  /** Of first remedies that were tried and hold by the report. */
  readonly tried: Share;
  /** Of runs whose weights are said to be unharmed, those that are. */
  readonly unharmed: Share;
  /** Of verdicts `not-needed`, those on runs that hold. */
  readonly notNeeded: Share;
  /** Of rules that prevent in float64, those that are said to, or to hold as a remedy. */
  readonly holding: Share;
  /** Of verdicts `prevented`, by mode: how many are right; and of the rules that prevent, how many are said to. */
  readonly prevented: Readonly<Record<string, { readonly precision: Share; readonly recall: Share }>>;
  readonly families: Readonly<Record<string, { readonly trigger: Share; readonly remedy: Share }>>;
}
export type Results = Readonly<Record<'tune' | 'report', Readonly<Record<Level, LevelResult>>>>;

/** The results by half and evidence, and a line for each miss. */
export function scores(all: readonly Found[]): {
  readonly results: Results;
  readonly misses: readonly string[];
} {
  const misses: string[] = [];
  const byHalf = (half: 'tune' | 'report') =>
    Object.fromEntries(
      LEVELS.map((level) => [
        level,
        levelResult(
          all.filter(({ run }) => run.half === half),
          level,
          (line) => misses.push(`${half} ${level} ${line}`),
        ),
      ]),
    ) as unknown as Record<Level, LevelResult>;
  return { results: { tune: byHalf('tune'), report: byHalf('report') }, misses };
}

/** Counts by name, and a line for each miss. */
class Tally {
  private readonly counts = new Map<string, Count>();
  constructor(private readonly miss: (line: string) => void) {}

  /** @param why what is said where it is not right; left out where that is no miss */
  count(what: string, right: boolean, why?: () => string): void {
    const one = this.counts.get(what) ?? { right: 0, of: 0 };
    this.counts.set(what, { right: one.right + Number(right), of: one.of + 1 });
    if (!right && why !== undefined) this.miss(`${what}: ${why()}`);
  }
  of(what: string): Share {
    const { right, of } = this.counts.get(what) ?? { right: 0, of: 0 };
    return share(right, of);
  }
}

type Asked = { readonly run: Made; readonly answer: Answer; readonly truth: Truth; readonly level: Level };

const whoOf = ({ index, family, optimizer }: Made): string => `${index} ${family} ${optimizer}`;

function countTrigger(tally: Tally, { run, answer, truth }: Asked): void {
  const { trigger, confidence, onsetStep, statement } = answer;
  if (truth.triggers.length === 0) return;
  const right = truth.triggers.includes(trigger);
  tally.count(
    'trigger',
    right,
    () => `${whoOf(run)}: ${trigger} for ${truth.triggers.join(' or ')} (onset ${onsetStep}): ${statement}`,
  );
  tally.count(`trigger ${run.family}`, right);
  if (trigger !== 'none-found') tally.count('named', right);
  if (confidence === 'shown') tally.count('shown', right);
}

function countRemedy(tally: Tally, { run, answer, truth, level }: Asked): void {
  const [first] = answer.remedies;
  const outcome = truth.remedies[level][0];
  if (first === undefined || outcome == null) return;
  const right = outcome === 'holds';
  tally.count('remedy', right, () => `${whoOf(run)}: ${outcome}: holds=${first.holds} ${first.statement}`);
  tally.count(`remedy ${run.family}`, right);
  if (first.tried !== null && first.holds === true) tally.count('tried', right);
}

/** What is said of rules, and of a run that is lost all the same. */
function countRules(tally: Tally, { run, answer, truth }: Asked): void {
  const harmed = truth.outcome === 'lost' || truth.outcome === 'hurt';
  const held = new Set(
    answer.remedies.flatMap(({ rule, holds }) => (holds === true && rule !== null ? [rule] : [])),
  );
  if (answer.mechanism === 'bad-batch-only')
    tally.count('unharmed', !harmed, () => `${whoOf(run)}: ${answer.statement}`);
  for (const { mode, rule, verdict, confidence, why } of answer.verdicts) {
    const prevents = truth.prevents[rule] ?? null;
    if (prevents === null) continue;
    const because = () => `${whoOf(run)}: ${confidence} ${rule}: ${why}`;
    if (verdict === 'prevented') tally.count(`precision ${mode}`, prevents, because);
    if (verdict === 'not-needed') tally.count('notNeeded', !harmed, because);
    if (!prevents) continue;
    tally.count(`recall ${mode}`, verdict === 'prevented');
    if (mode === 'closed-loop') tally.count('holding', verdict === 'prevented' || held.has(rule));
  }
}

function levelResult(found: readonly Found[], level: Level, miss: (line: string) => void): LevelResult {
  const tally = new Tally(miss);
  for (const { run, answers, truth } of found) {
    const asked = { run, answer: answers[level], truth, level };
    countTrigger(tally, asked);
    countRemedy(tally, asked);
    countRules(tally, asked);
  }
  const modes = new Set(
    found.flatMap(({ answers, truth }) =>
      answers[level].verdicts
        .filter(({ rule }) => (truth.prevents[rule] ?? null) !== null)
        .map(({ mode }) => mode),
    ),
  );
  const families = [...new Set(found.map(({ run }) => run.family))].sort();
  return {
    trigger: tally.of('trigger'),
    named: tally.of('named'),
    shown: tally.of('shown'),
    remedy: tally.of('remedy'),
    tried: tally.of('tried'),
    unharmed: tally.of('unharmed'),
    notNeeded: tally.of('notNeeded'),
    holding: tally.of('holding'),
    prevented: Object.fromEntries(
      [...modes]
        .sort()
        .map((mode) => [
          mode,
          { precision: tally.of(`precision ${mode}`), recall: tally.of(`recall ${mode}`) },
        ]),
    ),
    families: Object.fromEntries(
      families.map((family) => [
        family,
        { trigger: tally.of(`trigger ${family}`), remedy: tally.of(`remedy ${family}`) },
      ]),
    ),
  };
}

const EVIDENCE: Readonly<Record<Level, string>> = {
  log: 'the log',
  capture: 'and a capture',
  model: 'with batches and a model',
};

/** Tables of results in Markdown. */
export function tablesOf({ tune, report }: Results): string {
  const halves = (
    [
      ['tuned on', tune],
      ['not tuned on', report],
    ] as const
  ).filter(([, half]) => half.model.trigger.of > 0);
  const rows = (value: (result: LevelResult) => Share) =>
    halves.flatMap(([name, half]) => [[name, ...LEVELS.map((level) => text(value(half[level])))]]);
  const table = (what: string, value: (result: LevelResult) => Share): string[][] =>
    rows(value).map(([name, ...cells]) => [what, name!, ...cells]);
  const main = markdownTable(
    ['what', 'half', ...LEVELS.map((level) => EVIDENCE[level])],
    [
      ...table('trigger right', ({ trigger }) => trigger),
      ...table('… where one is named', ({ named }) => named),
      ...table('… where it is `shown`', ({ shown }) => shown),
      ...table('first remedy holds', ({ remedy }) => remedy),
      ...table('… where it was tried and said to hold', ({ tried }) => tried),
      ...table('`unharmed` is right', ({ unharmed }) => unharmed),
      ...table('`not-needed` is right', ({ notNeeded }) => notNeeded),
      ...table('rules that prevent are said to prevent or hold', ({ holding }) => holding),
    ],
  );
  const modes = [
    ...new Set(halves.flatMap(([, half]) => LEVELS.flatMap((level) => Object.keys(half[level].prevented)))),
  ].sort();
  const prevented = markdownTable(
    ['`prevented`, by mode', 'half', 'evidence', 'right', 'found of those that prevent'],
    modes.flatMap((mode) =>
      halves.flatMap(([name, half]) =>
        LEVELS.flatMap((level) => {
          const one = half[level].prevented[mode];
          return one === undefined
            ? []
            : [[mode, name, EVIDENCE[level], text(one.precision), text(one.recall)]];
        }),
      ),
    ),
  );
  const families = markdownTable(
    ['family, not tuned on', 'trigger right', 'first remedy holds'],
    Object.entries(report.model.families).map(([family, { trigger, remedy }]) => [
      family,
      `${trigger.right} of ${trigger.of}`,
      `${remedy.right} of ${remedy.of}`,
    ]),
  );
  return `${[main, prevented, families].map((lines) => lines.join('\n')).join('\n\n')}\n`;
}
