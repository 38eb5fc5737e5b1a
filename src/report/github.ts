/**
 * Annotations for GitHub Actions as workflow commands on standard output:
 * https://docs.github.com/actions/reference/workflow-commands-for-github-actions
 *
 * A step may show ten errors, ten warnings and ten notices; what is left over is said in the last of its kind. The
 * worst come first.
 */

import type { Severity } from '../model/finding.ts';
import { inert } from '../model/inert-text.ts';
import type { Report } from '../model/report.ts';
import type { ReportFormat } from './format.ts';
import { type Issue, issuesOf } from './issues.ts';

const PER_KIND = 10;
/** Bytes of UTF-8 that a message may have. */
const MESSAGE_BYTES = 64 * 1024;
const COMMAND = { error: 'error', warning: 'warning', note: 'notice' } as const;

/** The data of a command: `%`, carriage return and line feed are escaped. */
const data = (text: string): string =>
  inert(text).replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');

/** A property of a command: `:` and `,` would end it. */
const property = (text: string): string => data(text).replace(/:/g, '%3A').replace(/,/g, '%2C');

/** Cuts text to a number of bytes, between characters, before it is escaped. */
export function cutToBytes(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  const mark = ' …';
  const cut = Buffer.from(text).subarray(0, bytes - Buffer.byteLength(mark));
  // A character that was cut in half decodes to U+FFFD.
  return cut.toString('utf8').replace(/\ufffd{1,3}$/, '') + mark;
}

function command(issue: Issue): string {
  const place = issue.locations[0];
  const properties = [
    ...(place === undefined ? [] : [`file=${property(place.path)}`]),
    ...(place?.line === undefined ? [] : [`line=${place.line}`]),
    `title=${property(cutToBytes(`clippy-diag: ${issue.source === 'gate' ? 'gate: ' : ''}${issue.id}`, 255))}`,
  ];
  const text = `${issue.run === null ? '' : `${issue.run}: `}${issue.message}${issue.advice === null ? '' : `\n${issue.advice}`}`;
  return `::${COMMAND[issue.severity]} ${properties.join(',')}::${data(cutToBytes(text, MESSAGE_BYTES / 4))}`;
}

/** Without findings that a failed rule of the gate reports: ten of a kind are shown, and no two should say the same. */
function untold(issues: readonly Issue[]): readonly Issue[] {
  const rules = issues.filter(({ source }) => source === 'gate');
  return issues.filter(
    ({ source, id, run, message }) =>
      source !== 'finding' ||
      !rules.some((rule) => rule.id === id && rule.run === run && rule.message.includes(message)),
  );
}

function renderGithub(report: Report): string {
  const issues = untold(issuesOf(report));
  // The gate's own rules say why the step fails: they must not be crowded out by findings.
  const rank: Record<Issue['source'], number> = { gate: 0, problem: 1, finding: 2 };
  const lines = (['error', 'warning', 'note'] as const).flatMap((severity: Severity) => {
    const all = issues
      .filter((issue) => issue.severity === severity)
      .sort((a, b) => rank[a.source] - rank[b.source]);
    if (all.length <= PER_KIND) return all.map(command);
    const shown = all.slice(0, PER_KIND - 1).map(command);
    const more = `${all.length - shown.length} more in the report; a step shows ${PER_KIND} of a kind`;
    return [...shown, `::${COMMAND[severity]} title=clippy-diag::${data(more)}`];
  });
  return lines.map((line) => `${line}\n`).join('');
}

export const github: ReportFormat = {
  id: 'github',
  title: 'annotations of GitHub Actions',
  render: renderGithub,
};
