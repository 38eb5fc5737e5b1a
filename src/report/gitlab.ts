/** GitLab's code quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format */
import { inertName } from '../model/inert-text.ts';
import { toJson } from '../model/json.ts';
import type { Report } from '../model/report.ts';
import type { ReportFormat } from './format.ts';
import { issuesOf } from './issues.ts';

const SEVERITY = { error: 'critical', warning: 'minor', note: 'info' } as const;

function renderGitlab(report: Report): string {
  const entries = issuesOf(report).map((issue) => {
    const place = issue.locations[0];
    return {
      description: inertName(`${issue.run === null ? '' : `${issue.run}: `}${issue.message}`),
      check_name: inertName(issue.source === 'gate' ? `gate/${issue.id}` : issue.id),
      fingerprint: issue.fingerprint,
      severity: SEVERITY[issue.severity],
      // Code Climate's member, which GitLab ignores.
      ...(issue.advice === null ? {} : { content: { body: inertName(issue.advice) } }),
      // Both are required, also where a report has no input at all.
      location: {
        path: inertName(place?.path ?? '.').replace(/^(\.\/)+/, ''),
        lines: { begin: Math.max(1, place?.line ?? 1) },
      },
    };
  });
  return `${toJson(entries)}\n`;
}

export const gitlab: ReportFormat = {
  id: 'gitlab',
  title: "GitLab's code quality JSON",
  render: renderGitlab,
};
