/**
 * The pages of detectors, clipping rules and errors, made from what the objects say of themselves. `explain` prints
 * them; docs/detectors and docs/rules hold the same text (a test compares).
 */
import type { Detector } from '../detectors/detector.ts';
import { DETECTORS } from '../detectors/registry.ts';
import { diagError, ERROR_TEXTS, type ErrorCode } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import { rangeOf } from '../model/options.ts';
import { RULES } from '../rules/registry.ts';
import type { ClipRule } from '../rules/rule.ts';

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows]
    .map(
      (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`,
    )
    .join('\n');
const list = (title: string, items: readonly string[]): string[] =>
  items.length === 0 ? [] : [`## ${title}`, items.map((item) => `- ${item}`).join('\n')];
const page = (parts: readonly string[]): string => `${parts.join('\n\n')}\n`;

function detectorPage({ id, title, severity, thresholds, docs }: Detector): string {
  return page([
    `# ${id}`,
    `${title}. Severity: ${severity}.`,
    docs.summary,
    docs.details,
    ...(thresholds.length === 0
      ? []
      : [
          '## Thresholds',
          table(
            ['name', 'default', 'unit', 'origin'],
            thresholds.map((t) => [`\`${t.name}\``, String(t.value), t.unit, t.origin]),
          ),
        ]),
    '## What to do',
    docs.advice,
    ...list('References', docs.references),
  ]);
}

const STAGES = {
  gradient: 'the gradient, before the optimizer sees it',
  direction: 'the direction, before the learning rate',
  update: 'the update, learning rate included',
};
const SCOPES = {
  model: 'the whole model',
  tensor: 'each tensor',
  unit: 'each unit of a tensor',
  entry: 'each entry',
};

function rulePage(rule: ClipRule): string {
  const { id, title, docs, options, mainOption, presets = {} } = rule;
  return page([
    `# ${id}`,
    `${title}: ${docs.summary}`,
    `    ${docs.equation.replaceAll('\n', '\n    ')}`,
    `It acts on ${STAGES[rule.stage]}; ${rule.scope === 'entry' ? `it clamps ${SCOPES.entry}` : `one factor for ${SCOPES[rule.scope]}`}${rule.mayAmplify ? ', which may be above 1' : ''}.`,
    ...(options.length === 0
      ? []
      : [
          '## Options',
          table(
            ['name', 'default', 'range', 'meaning'],
            options.map((o) => [
              `\`${o.name}\`${o.name === mainOption ? ' (may go unnamed)' : ''}`,
              o.default === null ? 'the optimizer’s' : String(o.default),
              rangeOf(o),
              o.meaning,
            ]),
          ),
        ]),
    ...list(
      'Presets',
      Object.entries(presets).map(
        ([name, values]) =>
          `\`${id}:${name}\`: ${Object.entries(values)
            .map(([option, value]) => `${option}=${value}`)
            .join(', ')}`,
      ),
    ),
    ...list('Implementations differ', docs.differences),
    ...list('References', docs.references),
  ]);
}

function errorPage(code: ErrorCode): string {
  const text: { message: string; hint?: string; exitCode: number } = ERROR_TEXTS[code];
  return page([
    `# ${code}`,
    `An error; exit code ${text.exitCode}.`,
    `    ${text.message}`,
    ...(text.hint === undefined ? [] : [`What to do: ${text.hint}`]),
  ]);
}

const detectors: ReadonlyMap<string, Detector> = new Map(Object.entries(DETECTORS));
const rules: ReadonlyMap<string, ClipRule> = new Map(Object.entries(RULES));

/** The pages that are kept in docs/, by their path there. */
export const documentPages = (): Map<string, string> =>
  new Map([
    ...[...detectors.values()].map((d): [string, string] => [`detectors/${d.id}.md`, detectorPage(d)]),
    ...[...rules.values()].map((r): [string, string] => [`rules/${r.id}.md`, rulePage(r)]),
  ]);

/** Every id that has a page, with what it is and one line about it. */
export const explainable = (): { id: string; kind: 'detector' | 'rule' | 'error'; summary: string }[] => [
  ...[...detectors.values()].map((d) => ({ id: d.id, kind: 'detector' as const, summary: d.docs.summary })),
  ...[...rules.values()].map((r) => ({ id: r.id, kind: 'rule' as const, summary: r.docs.summary })),
  ...Object.entries(ERROR_TEXTS).map(([id, { message }]) => ({
    id,
    kind: 'error' as const,
    summary: message,
  })),
];

/**
 * The page of a detector, a rule (`clippy`, also `clippy:tfrs`) or an error, in Markdown.
 *
 * @throws unknown-id, naming the nearest one
 */
export function explain(id: string): string {
  const [name = id] = id.split(':');
  const detector = detectors.get(name);
  if (detector) return detectorPage(detector);
  const rule = rules.get(name);
  if (rule) return rulePage(rule);
  if (Object.hasOwn(ERROR_TEXTS, name)) return errorPage(name as ErrorCode);
  const known = explainable().map((one) => one.id);
  throw diagError('unknown-id', {
    kind: 'page',
    id,
    known: `did you mean ${nearest(name, known)}? \`clippy-diag explain\` lists all`,
  });
}
