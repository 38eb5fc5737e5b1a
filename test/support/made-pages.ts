/** Made runs, drawn by seed, and what no page about a run may say at once. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { analyze } from '../../src/app/engine/analyze.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { random } from './random.ts';

/** A loss and perhaps a rate and a gradient norm, a line of JSON a step. */
function madeLog(seed: number): string {
  const uniform = random(seed);
  const pick = <T>(...of: readonly T[]): T => of[Math.floor(uniform() * of.length)]!;
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const points = pick(30, 60, 150, 400, 800);
  const stride = pick(1, 1, 10, 100);
  const [floor, height] = [pick(0.02, 0.4, 3), pick(0, 0.3, 2, 8)];
  const noise = pick(0, 0.02, 0.1, 0.3);
  const decay = points / pick(3, 8, 20);
  const shape = shapeOf(pick, Math.floor(points * (0.1 + 0.85 * uniform())), pick(1.3, 2, 6, 50, 1e4));
  const negative = uniform() < 0.1;
  const [hasRate, hasNorm] = [uniform() < 0.5, uniform() < 0.5];
  const lines = Array.from({ length: points }, (_, i) => {
    const level = (floor + height * Math.exp(-i / decay)) * Math.exp(noise * normal());
    const loss = negative ? shape(i, level) - 2 * height - floor : shape(i, level);
    const value = Number.isFinite(loss) ? String(loss) : 'NaN';
    const rate = hasRate ? `,"lr":${1e-3 * (1 - i / points)}` : '';
    const norm = hasNorm ? `,"grad_norm":${shape(i, Math.exp(0.2 * normal())) || 0}` : '';
    return `{"step":${i * stride},"loss":${value}${rate}${norm}}\n`;
  });
  // A fifth of the runs has two attempts: it begins again, or goes on from where three quarters of it were.
  const again = uniform() < 0.2 ? lines.slice(pick(0, Math.floor(points * 0.75))) : [];
  return [...lines, ...again].join('');
}

/** What happens from a point on, `times` as high: nothing, a spike, a step, a climb, a growth without end, NaN, a cycle. */
function shapeOf(
  pick: <T>(...of: readonly T[]) => T,
  at: number,
  times: number,
): (i: number, level: number) => number {
  const lasts = pick(1, 3, 10, 40);
  return pick<(i: number, level: number) => number>(
    (_, level) => level,
    (i, level) => (i >= at && i < at + lasts ? times * level : level),
    (i, level) => (i >= at ? times * level : level),
    (i, level) => (i >= at ? level * Math.min(times, 1 + (times - 1) * ((i - at) / lasts)) : level),
    (i, level) => (i >= at ? level * Math.min(1e30, times ** ((i - at) / lasts)) : level),
    (i, level) => (i >= at ? Number.NaN : level),
    (i, level) => (i >= at ? level * (1 + (times - 1) * Math.exp(-(i - at) / lasts)) : level),
    (i, level) => level * (1 + 0.3 * Math.sin(i / lasts)),
  );
}

/** The page of a run, part by part. */
interface Page {
  readonly run: RunReport;
  readonly title: string;
  readonly change: string;
  readonly isWell: boolean;
  readonly part: (label: string) => string;
}

const numbersIn = (text: string): number[] =>
  [...text.matchAll(/(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w%])/g)].map(([one]) =>
    Number(one.replaceAll(',', '')),
  );

/** What contradicts what, by a name of the contradiction. Each says whether a page has it. */
export const CONTRADICTIONS: Readonly<Record<string, (page: Page) => boolean>> = {
  'a run that is well is told what to mend': ({ isWell, part }) => isWell && part('Fix') !== '',
  'a run that is well has an incident that goes on': ({ isWell, run }) =>
    isWell && run.verdict.incidents.some((one) => one.recoveredStep === null),
  'a run that came back is told to go back': ({ title, part }) =>
    title.startsWith('RECOVERED') && /^go back|^begin again/i.test(part('Fix')),
  'a run that came back has no step at which it did': ({ title, change }) =>
    title.startsWith('RECOVERED') && !/ back at /.test(change),
  'a run that goes on badly is told that nothing is to be done': ({ title, part }) =>
    /^(DIVERGED|WENT UP|NOT A NUMBER|LEARNT NOTHING)/.test(title) && /^nothing/i.test(part('Fix')),
  'the incident of the first line comes back further down': ({ run, change, part }) => {
    const { series, onsetStep } = run.verdict;
    return (
      change.endsWith('no recovery') &&
      part('Also').includes(`\`${series}\` rose at step ${onsetStep?.toLocaleString('en')}, back at`)
    );
  },
  'a loss that rose ends below where it began to rise': ({ title, change }) => {
    if (!/^(WENT UP|SETTLED HIGHER)/.test(title)) return false;
    const [before, ...after] = numbersIn(change.replace(/^\S+ /, ''));
    return before !== undefined && after.length > 0 && after.every((one) => one < before);
  },
  'a loss that learnt is no lower than at first': ({ run, change }) => {
    const { learnt } = run.verdict.provenBy ?? {};
    if (learnt?.holds !== true || run.verdict.class !== 'healthy') return false;
    const [first, last] = numbersIn(change.replace(/^\S+ /, ''));
    return first !== undefined && last !== undefined && !(last <= first);
  },
  'nothing was learnt, and the loss ends far below its first level': ({ run, title }) => {
    const { learnt } = run.verdict.provenBy ?? {};
    return title.startsWith('LEARNT NOTHING') && learnt?.holds === true;
  },
  'the step of the title is not a step of the run': ({ run, title }) => {
    const [step] = numbersIn(/(?:step|epoch|row) [\d,]+/.exec(title)?.[0] ?? '');
    const [first, last] = [run.attemptList[0]?.firstStep, run.attemptList.at(-1)?.lastStep];
    return step !== undefined && first !== undefined && last !== undefined && (step < first || step > last);
  },
};

/** The contradictions of the pages of a report. */
export function contradictionsIn(report: Report): string[] {
  return report.runs.flatMap((run) => {
    const { title, change, mood, parts } = answerOf(run, report);
    const part = (label: string): string => parts.find((one) => one.label === label)?.text ?? '';
    const page: Page = { run, title, change, isWell: mood === 'good', part };
    return Object.entries(CONTRADICTIONS).flatMap(([name, has]) =>
      has(page)
        ? [`${name}: ${title} ${change} | Fix ${part('Fix').slice(0, 60)} | Also ${part('Also')}`]
        : [],
    );
  });
}

/** The report of a log, with nothing tried. */
export const reported = (path: string): Promise<Report> =>
  analyze([path], { budget: 0, toolVersion: '0.0.0', now: () => new Date(0) });

/** The contradictions of the pages of made runs. @param folder of their logs, one after the other in one file */
export async function contradictionsOfMade(folder: string, from: number, count: number): Promise<string[]> {
  const found: string[] = [];
  const path = join(folder, 'log.jsonl');
  for (let seed = from; seed < from + count; seed++) {
    writeFileSync(path, madeLog(seed));
    found.push(...contradictionsIn(await reported(path)).map((one) => `seed ${seed}: ${one}`));
  }
  return found;
}
