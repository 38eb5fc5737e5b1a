/** The page of a kind of finding: `explain` prints it, docs/findings holds it, SARIF carries it as help. */
import type { FindingType } from '../../model/finding.ts';
import { listSection, pageOf, tableOf } from '../../model/markdown-page.ts';
import { numbersIn } from '../../model/options.ts';
import { sourceOf } from './registry.ts';

export function findingPage({ id, title, severity, thresholds, docs }: FindingType): string {
  const [first] = thresholds;
  return pageOf([
    `# ${id}`,
    `${title}. Severity: ${severity}. Found in ${sourceOf(id)}.`,
    docs.summary,
    docs.details,
    ...(first === undefined
      ? []
      : [
          '## Thresholds',
          tableOf(
            ['name', 'default', 'unit', 'range', 'origin'],
            thresholds.map((t) => [`\`${t.name}\``, String(t.value), t.unit, numbersIn(t.range), t.origin]),
          ),
          `Set one in the config, \`rules: { ${id}: [${severity}, { ${first.name}: ${first.value} }] }\`, or by \`--threshold ${id}.${first.name}=${first.value}\`.`,
        ]),
    '## What to do',
    docs.advice,
    ...listSection('References', docs.references),
  ]);
}
