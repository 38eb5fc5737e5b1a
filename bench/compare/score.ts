/**
 * How often compare names the step, link and tensor of a change, and how often it calls identical code apart, over the
 * pairs that pairs.py has trained: npx tsx bench/compare/score.ts FOLDER
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { comparePaths } from '../../src/app/engine/compare-inputs.ts';
import type { RunComparison } from '../../src/model/comparison.ts';

/** What was changed; step and link are null where nothing was. */
export interface Truth {
  readonly change: string;
  readonly step: number | null;
  /** `loss or gradient`: of a rounded batch the loss may be the same number. */
  readonly link: string | null;
  /** `first`: the first tensor that the link has. */
  readonly tensor: string | null;
  /** Whether the change makes another training of it, and not one that is rounded otherwise or of another seed. */
  readonly apart: boolean;
}

export interface Scored {
  readonly pair: string;
  readonly truth: Truth;
  readonly found: RunComparison;
  /** Null where the truth has none. */
  readonly step: boolean | null;
  readonly link: boolean | null;
  readonly tensor: boolean | null;
  /** Whether the verdict is one that the truth allows. */
  readonly verdict: boolean;
}

/** Compares every pair of a folder. */
export async function scorePairs(folder: string): Promise<Scored[]> {
  const scored: Scored[] = [];
  for (const pair of readdirSync(folder).sort()) {
    const path = join(folder, pair, 'truth.json');
    if (!existsSync(path)) continue;
    const truth = JSON.parse(readFileSync(path, 'utf8')) as Truth;
    const [a, b] = ['a', 'b'].map((side) => join(folder, pair, side, 'ledger'));
    scored.push(scoreOf(pair, truth, await comparePaths({ a: [a!], b: [b!] }, {})));
  }
  return scored;
}

function scoreOf(pair: string, truth: Truth, found: RunComparison): Scored {
  const at = found.differsAt;
  const isRight = (own: unknown, wanted: unknown): boolean | null =>
    wanted === null ? null : own === wanted;
  const wanted = truth.tensor === 'first' ? (at?.tensor ?? 'none') : truth.tensor;
  return {
    pair,
    truth,
    found,
    step: isRight(at?.step, truth.step),
    link: truth.link === null ? null : truth.link.split(' or ').includes(at?.link ?? ''),
    tensor: isRight(at?.tensor, wanted),
    verdict: truth.apart ? found.verdict === 'apart' : found.verdict !== 'apart',
  };
}

const share = (found: readonly (boolean | null)[]): string => {
  const known = found.filter((one) => one !== null);
  return `${known.filter(Boolean).length} of ${known.length}`;
};

/** Lines of a table by change, and the totals. */
export function tableOf(scored: readonly Scored[]): string[] {
  const line = (name: string, own: readonly Scored[]): string =>
    `| ${name} | ${share(own.map(({ step }) => step))} | ${share(own.map(({ link }) => link))} | ${share(own.map(({ tensor }) => tensor))} | ${own.filter(({ found }) => found.verdict === 'apart').length} of ${own.length} |`;
  const changes = [...new Set(scored.map(({ truth }) => truth.change))];
  const isChanged = ({ truth }: Scored): boolean => truth.link !== null;
  return [
    '| change | step | link | tensor | called apart |',
    '|---|---|---|---|---|',
    ...changes.map((change) =>
      line(
        change,
        scored.filter(({ truth }) => truth.change === change),
      ),
    ),
    line('all changes', scored.filter(isChanged)),
    line(
      'identical code',
      scored.filter((one) => !isChanged(one)),
    ),
  ];
}

if (process.argv[1]?.endsWith('score.ts') === true) {
  const scored = await scorePairs(process.argv[2]!);
  console.log(tableOf(scored).join('\n'));
  for (const { pair, truth, found, step, link, tensor, verdict } of scored)
    if (step === false || link === false || tensor === false || !verdict)
      console.log(`${pair} ${JSON.stringify(truth)}: ${found.verdict}, ${JSON.stringify(found.differsAt)}`);
}
