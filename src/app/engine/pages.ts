/**
 * The pages of findings, clipping rules and errors, made from what the objects say of themselves, and the guides of docs/.
 * `explain` prints them; docs/findings and docs/rules hold the same text (a test compares).
 */
import { findingPage } from '../../judge/findings/page.ts';
import { FINDINGS } from '../../judge/findings/registry.ts';
import { diagError, ERROR_TEXTS, type ErrorCode } from '../../model/errors.ts';
import type { FindingType } from '../../model/finding.ts';
import { listSection, pageOf, tableOf } from '../../model/markdown-page.ts';
import { nearest } from '../../model/nearest.ts';
import { rangeOf } from '../../model/options.ts';
import { ruleOrder } from '../../step/rules/order.ts';
import { RULES } from '../../step/rules/registry.ts';
import type { ClipRule } from '../../step/rules/rule.ts';
import { guides } from './guides.ts';

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
  const names = Object.keys(presets).map((preset) => `${id}:${preset}`);
  const called = (names.length === 0 ? [id] : names).map((label) => `“${ruleOrder(label)}” (\`${label}\`)`);
  return pageOf([
    `# ${id}`,
    `${title}: ${docs.summary}`,
    `    ${docs.equation.replaceAll('\n', '\n    ')}`,
    `It acts on ${STAGES[rule.stage]}; ${rule.scope === 'entry' ? `it clamps ${SCOPES.entry}` : `one factor for ${SCOPES[rule.scope]}`}${rule.mayAmplify ? ', which may be above 1' : ''}.`,
    ...(rule.identity
      ? []
      : [
          `Among several rules (\`--rule '${id}+…'\`) it acts after those of an earlier stage, and within its stage in the order as written.`,
          `A report calls it ${called.join(' or ')}.`,
        ]),
    ...(rule.identity
      ? []
      : [
          docs.fromLog === undefined
            ? 'It needs gradients: a log alone says nothing of it.'
            : `A log alone says ${docs.fromLog}.`,
        ]),
    ...(options.length === 0
      ? []
      : [
          '## Options',
          tableOf(
            ['name', 'default', 'range', 'meaning'],
            options.map((o) => [
              `\`${o.name}\`${o.name === mainOption ? ' (may go unnamed)' : ''}`,
              o.default === null ? 'the optimizer’s' : String(o.default),
              rangeOf(o),
              o.meaning,
            ]),
          ),
        ]),
    ...listSection(
      'Presets',
      Object.entries(presets).map(
        ([name, values]) =>
          `\`${id}:${name}\`: ${Object.entries(values)
            .map(([option, value]) => `${option}=${value}`)
            .join(', ')}`,
      ),
    ),
    ...listSection('Implementations differ', docs.differences),
    ...listSection('References', docs.references),
  ]);
}

function errorPage(code: ErrorCode): string {
  const text: { message: string; hint?: string; exitCode: number } = ERROR_TEXTS[code];
  return pageOf([
    `# ${code}`,
    `An error; exit code ${text.exitCode}.`,
    `    ${text.message}`,
    ...(text.hint === undefined ? [] : [`What to do: ${text.hint}`]),
  ]);
}

const findings: ReadonlyMap<string, FindingType> = new Map(Object.entries(FINDINGS));
const rules: ReadonlyMap<string, ClipRule> = new Map(Object.entries(RULES));

/** The pages that are kept in docs/, by their path there. */
export const documentPages = (): Map<string, string> =>
  new Map([
    ...[...findings.values()].map((f): [string, string] => [`findings/${f.id}.md`, findingPage(f)]),
    ...[...rules.values()].map((r): [string, string] => [`rules/${r.id}.md`, rulePage(r)]),
  ]);

/** What a page is about. */
export const PAGE_KINDS = ['guide', 'format', 'finding', 'rule', 'error', 'decision'] as const;

interface PageEntry {
  readonly id: string;
  readonly kind: (typeof PAGE_KINDS)[number];
  readonly summary: string;
}

/** Every id that has a page, with what it is and one line about it; in the order of {@link PAGE_KINDS}. */
export async function explainable(): Promise<PageEntry[]> {
  const entries: PageEntry[] = [
    ...(await guides()).map(({ id, kind, summary }) => ({ id, kind, summary })),
    ...[...findings.values()].map((f) => ({ id: f.id, kind: 'finding' as const, summary: f.docs.summary })),
    ...[...rules.values()].map((r) => ({ id: r.id, kind: 'rule' as const, summary: r.docs.summary })),
    ...Object.entries(ERROR_TEXTS).map(([id, { message }]) => ({
      id,
      kind: 'error' as const,
      summary: message,
    })),
  ];
  return PAGE_KINDS.flatMap((kind) => entries.filter((one) => one.kind === kind));
}

/**
 * The page of a finding, a rule (`clippy`, also `clippy:tfrs`), an error, or a guide (`gate`, `formats`), in Markdown.
 *
 * @throws unknown-id, naming the nearest one
 */
export async function explain(id: string): Promise<string> {
  const [name = id] = id.split(':');
  const finding = findings.get(name);
  if (finding) return findingPage(finding);
  const rule = rules.get(name);
  if (rule) return rulePage(rule);
  if (Object.hasOwn(ERROR_TEXTS, name)) return errorPage(name as ErrorCode);
  // A page may be named as its file: docs/gate.md.
  const guide = name.replace(/^docs\//, '').replace(/\.md$/, '');
  const found = (await guides()).find((one) => one.id === guide || `${one.kind}s/${one.id}` === guide);
  if (found !== undefined) return found.text;
  const known = (await explainable()).map((one) => one.id);
  throw diagError('unknown-id', {
    kind: 'page',
    id,
    known: '`clippy-diag explain` lists all',
    nearest: nearest(guide, known),
  });
}
