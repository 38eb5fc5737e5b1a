/**
 * Two judges on the made runs, in one table: share of right answers.
 *
 *     npx tsx bench/detection/table.ts [--seed N] [--count N] [--offset X] [--only TEXT] [--points N]
 */
import { parseArgs } from 'node:util';

import { JUDGES } from './judges.ts';
import { KINDS, madeRuns } from './made.ts';

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '400' },
    offset: { type: 'string', default: '0' },
    only: { type: 'string', default: '' },
    points: { type: 'string', default: '60,600,6000' },
    judges: { type: 'string', default: Object.keys(JUDGES).join(',') },
    wrong: { type: 'boolean', default: false },
  },
});
const judges = options.judges.split(',').map((name) => [name, JUDGES[name]!] as const);
const lengths = options.points.split(',').map(Number);
console.log(
  `| seed ${options.seed}, offset ${options.offset} | asked |${judges.map(([name]) => ` ${name}: ${lengths.join(' / ')} |`).join('')}`,
);
console.log(`|---|---|${judges.map(() => '---|').join('')}`);
for (const [row, kind] of KINDS.entries()) {
  if (!kind.name.includes(options.only)) continue;
  const cells = judges.map(([name, judge]) =>
    lengths.map((n) => {
      const count = Math.ceil(Number(options.count) * Math.min(1, 1200 / n));
      let right = 0;
      const wrong = new Map<string, number>();
      for (const run of madeRuns(kind, n, count, Number(options.seed) * 1000 + row, Number(options.offset))) {
        const said = judge(run.values);
        if (kind.right(said, run)) right++;
        else if (options.wrong) {
          const near = said.onset === null || run.at === null ? '' : `@${said.onset - run.at}`;
          const key = said.class + near;
          wrong.set(key, (wrong.get(key) ?? 0) + 1);
        }
      }
      if (options.wrong && wrong.size > 0)
        console.log(
          `  ${name} ${kind.name} n=${n}:`,
          [...wrong]
            .map(([k, c]) => `${k} ×${c}`)
            .slice(0, 8)
            .join(', '),
        );

      return ((100 * right) / count).toFixed(right === count ? 0 : 1);
    }),
  );
  const asked = kind.asked === null ? '' : `${100 * kind.asked} %`;
  console.log(`| ${kind.name} | ${asked} | ${cells.map((cell) => cell.join(' / ')).join(' | ')} |`);
}
