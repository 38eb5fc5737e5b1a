/**
 * The pages of findings, clipping rules and errors, made from what the objects say of themselves, and the guides of docs/.
 * `explain` prints them; docs/findings and docs/rules hold the same text (a test compares).
 */

import type { KnownFailure } from '../../judge/failures/failure.ts';
import { failurePage } from '../../judge/failures/page.ts';
import { KNOWN_FAILURES } from '../../judge/failures/registry.ts';
import { findingPage } from '../../judge/findings/page.ts';
import { FINDINGS } from '../../judge/findings/registry.ts';
import { diagError, ERROR_TEXTS, type ErrorCode } from '../../model/errors.ts';
import type { FindingType } from '../../model/finding.ts';
import { inertName } from '../../model/inert-text.ts';
import { JOB_REASONS, type JobReason } from '../../model/job.ts';
import { JOB_REASON_WORDS } from '../../model/job-words.ts';
import { listSection, pageOf, tableOf } from '../../model/markdown-page.ts';
import { nearest } from '../../model/nearest.ts';
import { rangeOf } from '../../model/options.ts';
import { ruleOrder } from '../../step/rules/order.ts';
import { RULES } from '../../step/rules/registry.ts';
import type { ClipRule } from '../../step/rules/rule.ts';
import { guides } from './guides.ts';
import { pagesFor } from './symptoms.ts';

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

/** The page of a way in which a process ends. */
function endPage(reason: JobReason): string {
  const { clause, next } = JOB_REASON_WORDS[reason];
  return pageOf([
    `# ${reason}`,
    `The process ${clause}. Read from what the training printed: its log, or the stderr, Slurm or Kubernetes text in its folder. The first line that states the reason is quoted, with the last step before it; of several ranks the one that failed first is named.`,
    '## What to do',
    next,
    'The rules `job-crashed` of the gate fails such a run where the program ended itself in an error; see `explain job-crashed`.',
  ]);
}

/** The pages that a symptom leads to, as a page of its own; undefined where none is known. */
async function symptomPage(typed: string): Promise<string | undefined> {
  const ids = pagesFor(typed, KNOWN_FAILURES);
  if (ids.length === 0) return undefined;
  const pages = new Map((await explainable()).map((one) => [one.id, one.summary]));
  return pageOf([
    `# Pages on “${inertName(typed)}”`,
    ids.map((id) => `- \`${id}\`: ${pages.get(id) ?? ''}`).join('\n'),
    'One of them: clippy-diag explain ID. Which of them a run shows, and at which step: clippy-diag analyze FOLDER.',
  ]);
}

const failures: ReadonlyMap<string, KnownFailure> = new Map(KNOWN_FAILURES.map((one) => [one.id, one]));
const findings: ReadonlyMap<string, FindingType> = new Map(Object.entries(FINDINGS));
const rules: ReadonlyMap<string, ClipRule> = new Map(Object.entries(RULES));

/** The pages that are kept in docs/, by their path there. */
export const documentPages = (): Map<string, string> =>
  new Map([
    ...[...findings.values()].map((f): [string, string] => [`findings/${f.id}.md`, findingPage(f)]),
    ...KNOWN_FAILURES.map((one): [string, string] => [`failures/${one.id}.md`, failurePage(one)]),
    ...[...rules.values()].map((r): [string, string] => [`rules/${r.id}.md`, rulePage(r)]),
  ]);

/** What a page is about. */
export const PAGE_KINDS = [
  'guide',
  'format',
  'failure',
  'crash',
  'finding',
  'rule',
  'error',
  'decision',
] as const;

interface PageEntry {
  readonly id: string;
  readonly kind: (typeof PAGE_KINDS)[number];
  readonly summary: string;
}

/** Every id that has a page, with what it is and one line about it; in the order of {@link PAGE_KINDS}. */
export async function explainable(): Promise<PageEntry[]> {
  const entries: PageEntry[] = [
    ...(await guides()).map(({ id, kind, summary }) => ({ id, kind, summary })),
    ...KNOWN_FAILURES.map(({ id, docs }) => ({ id, kind: 'failure' as const, summary: docs.summary })),
    ...JOB_REASONS.map((id) => ({
      id,
      kind: 'crash' as const,
      summary: `The process ${JOB_REASON_WORDS[id].clause}.`,
    })),
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
 * The page of a finding, a known failure, a crash, a rule (`clippy`, also `clippy:tfrs`), an error, or a guide (`gate`, `formats`),
 * in Markdown; of a symptom (`nan`, `not learning`) the list of the pages that answer it.
 *
 * @throws unknown-id, naming the nearest one
 */
export async function explain(id: string): Promise<string> {
  const [name = id] = id.split(':');
  const finding = findings.get(name);
  if (finding) return findingPage(finding);
  const failure = failures.get(name);
  if (failure) return failurePage(failure);
  if (Object.hasOwn(JOB_REASON_WORDS, name)) return endPage(name as JobReason);
  const rule = rules.get(name);
  if (rule) return rulePage(rule);
  if (Object.hasOwn(ERROR_TEXTS, name)) return errorPage(name as ErrorCode);
  // A page may be named as its file: docs/gate.md.
  const guide = name.replace(/^docs\//, '').replace(/\.md$/, '');
  const found = (await guides()).find((one) => one.id === guide || `${one.kind}s/${one.id}` === guide);
  if (found !== undefined) return found.text;
  const symptom = await symptomPage(id);
  if (symptom !== undefined) return symptom;
  const known = (await explainable()).map((one) => one.id);
  throw diagError('unknown-id', {
    kind: 'page',
    id,
    known: '`clippy-diag explain` lists all',
    nearest: nearest(guide, known),
  });
}
