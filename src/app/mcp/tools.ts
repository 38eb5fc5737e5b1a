/** The tools that an agent may call: each reads, writes nothing, and answers in two kilobytes with the rest in a resource. */
import * as z from 'zod';
import { diagError } from '../../model/errors.ts';
import { toJson } from '../../model/json.ts';
import { type Report, SCHEMA_VERSION } from '../../model/report.ts';
import { isUrl, withoutSecrets } from '../../model/url.ts';
import { confined, liesIn } from '../../read/bytes/source.ts';
import { auditHeadline, renderAudit } from '../../report/audit-text.ts';
import { comparisonText } from '../../report/comparison-text.ts';
import { PLAIN } from '../../report/format.ts';
import { inspectText } from '../../report/inspect-text.ts';
import { json } from '../../report/json.ts';
import { briefOf, briefText } from '../../report/kilobyte-brief.ts';
import { analyze } from '../engine/analyze.ts';
import { auditCaptures } from '../engine/audit-captures.ts';
import { comparePaths } from '../engine/compare-inputs.ts';
import { inspectInputs } from '../engine/inspect.ts';
import { explain } from '../engine/pages.ts';
import { loadGateConfig } from '../gate/config-file.ts';
import { readGateEvidence } from '../gate/evidence.ts';
import { judgeGate } from '../gate/judge.ts';
import { type Allowed, checkAllowed } from './allowed.ts';

/** What a tool works with. */
export interface ToolContext {
  readonly allowed: Allowed;
  /** What forbids the network; null where it is allowed. */
  readonly offline: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly toolVersion: string;
  readonly now: () => Date;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** Reports what is being worked on. */
  readonly onProgress: (what: string) => void;
  readonly signal: AbortSignal;
}

/** An answer: the text in full, and the document behind it. */
export interface ToolAnswer {
  readonly text: string;
  readonly more: { readonly name: string; readonly mimeType: string; readonly text: string };
}

export interface Tool {
  readonly name: string;
  readonly description: string;
  readonly input: z.ZodType;
  run(input: unknown, context: ToolContext): Promise<ToolAnswer>;
}

const tool = <T>(
  name: string,
  description: string,
  input: z.ZodType<T>,
  run: (input: T, context: ToolContext) => Promise<ToolAnswer>,
): Tool => ({ name, description, input, run: (given, context) => run(input.parse(given), context) });

/** A report as an answer: its brief, and the whole of it as a resource. */
const ofReport = (report: Report): ToolAnswer => ({
  text: briefText(briefOf(report)),
  more: { name: 'report', mimeType: 'application/json', text: json.render(report, PLAIN) },
});

/** Works on paths and URLs within what is allowed; also links in a folder lead nowhere else. */
async function within<T>(
  named: readonly string[],
  { allowed, offline, env, signal }: ToolContext,
  use: (paths: readonly string[], shown: <V>(value: V) => V) => Promise<T>,
): Promise<T> {
  for (const path of named) await checkAllowed(path, allowed);
  const inFolders = (real: string): boolean => allowed.folders.some((folder) => liesIn(folder, real));
  if (!named.some(isUrl)) return confined(inFolders, () => use(named, (value) => value));
  if (offline !== null)
    throw diagError('source-offline', { url: withoutSecrets(named.find(isUrl)!), reason: offline });
  const { mountSources } = await import('../../read/sources/mount.ts');
  // An agent may be talked into any URL: none leads into the machine's own network.
  const mounted = await mountSources(named, { env, signal, publicOnly: true });
  try {
    return await confined(
      (real) => inFolders(real) || liesIn(mounted.folder, real),
      () => use(mounted.paths, mounted.shown),
    );
  } catch (error) {
    throw mounted.shown(error);
  } finally {
    await mounted.close();
  }
}

const paths = z
  .array(z.string().min(1))
  .min(1)
  .max(100)
  .describe('Files, folders or URLs: logs, checkpoints, captures, folders of runs.');
const side = (of: string) => z.array(z.string().min(1)).min(1).max(50).describe(of);
const document = (name: string, value: object): ToolAnswer['more'] => ({
  name,
  mimeType: 'application/json',
  text: toJson({ schemaVersion: SCHEMA_VERSION, ...value }),
});

export const TOOLS: readonly Tool[] = [
  tool(
    'analyze',
    'Say of training runs whether, when and why they diverged, what to do, and what that rests on. The first line is the verdict; "CANNOT TELL" is an answer, too. Healthy runs are said to be healthy: do not cancel them.',
    z.strictObject({
      paths,
      budget: z
        .int()
        .min(0)
        .max(3600)
        .default(60)
        .describe('Seconds for what is expensive: checkpoints, replay, curvature.'),
    }),
    async ({ paths: named, budget }, context) =>
      within(named, context, async (local, shown) => {
        const report = shown(
          await analyze(local, { ...context, budget, onProgress: (what) => context.onProgress(shown(what)) }),
        );
        return ofReport(report);
      }),
  ),
  tool(
    'gate',
    'Judge runs by a policy: the rules of .clippy-diag.yaml in the working folder, or the recommended ones, and the rules given here. Says passed, failed, or not judged.',
    z.strictObject({
      paths,
      rules: z
        .array(z.string().min(1))
        .max(100)
        .default([])
        .describe('A finding, a class of verdict, or a threshold such as "last(loss) <= 0.2".'),
    }),
    async ({ paths: named, rules }, context) => {
      const config = await loadGateConfig({ cwd: process.cwd(), rules });
      return within(named, context, async (local, shown) => {
        const read = await readGateEvidence(local, {
          ...context,
          config,
          onProgress: (what) => context.onProgress(shown(what)),
        });
        const evidence = shown(read);
        const report = { ...evidence.report, gate: judgeGate({ ...evidence, baseline: null }, config) };
        return ofReport(report);
      });
    },
  ),
  tool(
    'compare',
    'Say whether two runs are the same training, and the first step, link and tensor in which they differ.',
    z.strictObject({
      a: side('The runs of the first side, one a seed.'),
      b: side('The runs of the second side, in the same order.'),
    }),
    async ({ a, b }, context) =>
      within([...a, ...b], context, async (local, shown) => {
        const sides = { a: local.slice(0, a.length), b: local.slice(a.length) };
        const comparison = shown(await comparePaths(sides, {}));
        return {
          text: `${comparisonText(comparison, PLAIN).join('\n')}\n`,
          more: document('comparison', { comparison }),
        };
      }),
  ),
  tool(
    'audit',
    'Check that the recorded steps of a capture did what the training code declares: gradient, clipping, optimizer, weight decay, data. Names what is broken and what explains it.',
    z.strictObject({ capture: z.string().min(1).describe('A capture, or a folder that holds captures.') }),
    async ({ capture }, context) =>
      within([capture], context, async ([local], shown) => {
        const { audits, errors } = shown(await auditCaptures(local!));
        const text = audits
          .map(({ path, audit }) => `${path}: ${auditHeadline(audit)}\n${renderAudit(audit, PLAIN)}\n`)
          .join('\n');
        const damage = errors.map(({ id, message }) => `damaged: ${id}: ${message}\n`).join('');
        return { text: damage + text, more: document('audits', { audits, errors }) };
      }),
  ),
  tool(
    'inspect',
    'Show what is in logs, checkpoints and captures: series with their roles, points and values that are not finite; tensors with their shapes.',
    z.strictObject({ paths }),
    async ({ paths: named }, context) =>
      within(named, context, async (local, shown) => {
        const inspection = shown(await inspectInputs(local, { listOnly: false }));
        const errors = inspection.errors.map((error) => error.toRecord());
        const problems = errors.map(({ id, message }) => `not read: ${id}: ${message}\n`).join('');
        return {
          text: problems + inspectText(inspection, { ...PLAIN, verbose: false }),
          more: document('inspection', { ...inspection, errors }),
        };
      }),
  ),
  tool(
    'explain',
    'Print the page of the docs about a finding, a clipping rule, an error, a format, a guide or a symptom.',
    z.strictObject({
      topic: z
        .string()
        .min(1)
        .max(200)
        .describe('An id as an answer names it, or a symptom: "not learning".'),
    }),
    async ({ topic }) => {
      const page = await explain(topic);
      return { text: page, more: { name: 'page', mimeType: 'text/markdown', text: page } };
    },
  ),
];
