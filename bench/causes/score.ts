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

function levelResult(found: readonly Found[], level: Level, miss: (line: string) => void): LevelResult {
  const counts = new Map<string, Count>();
  const count = (what: string, right: boolean): void => {
    const one = counts.get(what) ?? { right: 0, of: 0 };
    counts.set(what, { right: one.right + Number(right), of: one.of + 1 });
  };
  const modes = new Set<string>();
  for (const { run, answers, truth } of found) {
    const answer = answers[level];
    const who = `${run.index} ${run.family} ${run.optimizer}`;
    if (truth.triggers.length > 0) {
      const right = truth.triggers.includes(answer.trigger);
      count('trigger', right);
      count(`trigger ${run.family}`, right);
      if (answer.trigger !== 'none-found') count('named', right);
      if (answer.confidence === 'shown') count('shown', right);
      if (!right)
        miss(
          `trigger ${who}: ${answer.trigger} for ${truth.triggers.join(' or ')} (onset ${answer.onsetStep}): ${answer.statement}`,
        );
    }
    const [first] = answer.remedies;
    const outcome = truth.remedies[level][0];
    if (first !== undefined && outcome != null) {
      const right = outcome === 'holds';
      count('remedy', right);
      count(`remedy ${run.family}`, right);
      if (first.tried !== null && first.holds === true) count('tried', right);
      if (!right) miss(`remedy ${who}: ${outcome}: holds=${first.holds} ${first.statement}`);
    }
    for (const { mode, rule, verdict, confidence, why } of answer.verdicts) {
      const prevents = truth.prevents[rule] ?? null;
      if (prevents === null) continue;
      const kind = mode === 'closed-loop' ? mode : `${mode}, ${confidence}`;
      const name = mode === 'closed-loop' ? mode : mode;
      modes.add(name);
      if (verdict === 'prevented') {
        count(`precision ${name}`, prevents);
        if (!prevents) miss(`prevented ${who}: ${kind} ${rule}: ${why}`);
      }
      if (prevents) count(`recall ${name}`, verdict === 'prevented');
    }
  }
  const of = (what: string): Share => share(counts.get(what)?.right ?? 0, counts.get(what)?.of ?? 0);
  const families = [...new Set(found.map(({ run }) => run.family))].sort();
  return {
    trigger: of('trigger'),
    named: of('named'),
    shown: of('shown'),
    remedy: of('remedy'),
    tried: of('tried'),
    prevented: Object.fromEntries(
      [...modes]
        .sort()
        .map((mode) => [mode, { precision: of(`precision ${mode}`), recall: of(`recall ${mode}`) }]),
    ),
    families: Object.fromEntries(
      families.map((family) => [
        family,
        { trigger: of(`trigger ${family}`), remedy: of(`remedy ${family}`) },
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
