/** SARIF 2.1.0: every complaint of a report as a result, with stable fingerprints. */
import type { Artifact, Log, ReportingDescriptor, Result } from 'sarif';
import { inert, inertName } from '../model/inert-text.ts';
import { toJson } from '../model/json.ts';
import type { Report } from '../model/report.ts';
import { helpOnKind } from './finding-words.ts';
import type { ReportFormat } from './format.ts';
import { contentHash } from './input-losses.ts';
import { type Issue, issuesOf } from './issues.ts';
import { pathToUri } from './path-uri.ts';

const LEVEL = { error: 'error', warning: 'warning', note: 'note' } as const;

/** Texts of SARIF may hold placeholders `{0}` and links `[text](target)`: braces and brackets are doubled or escaped. */
const plain = (text: string): string =>
  inert(text)
    .replace(/[\\[\]]/g, '\\$&')
    .replace(/[{}]/g, '$&$&');

const ruleId = (issue: Issue): string => (issue.source === 'gate' ? `gate/${issue.id}` : issue.id);

/** What a reader may ask of a rule: of findings their pages, of other rules their ids. */
function ruleOf(id: string, name: string): ReportingDescriptor {
  const help = helpOnKind(name);
  if (help === null) return { id: inertName(id), shortDescription: { text: plain(name) } };
  const { title, severity, summary, advice, page } = help;
  return {
    id,
    shortDescription: { text: plain(title) },
    fullDescription: { text: plain(summary) },
    help: { text: plain(`${summary} ${advice}`), markdown: page },
    defaultConfiguration: { level: LEVEL[severity] },
  };
}

function renderSarif(report: Report): string {
  const issues = issuesOf(report);
  const rules = new Map<string, ReportingDescriptor>();
  for (const issue of issues) {
    const id = ruleId(issue);
    if (!rules.has(id)) rules.set(id, ruleOf(id, issue.id));
  }
  const order = [...rules.keys()];
  const artifacts = report.inputs.map(
    (input): Artifact => ({
      location: { uri: pathToUri(input.path) },
      ...(contentHash(input) === null ? {} : { hashes: { 'sha-256': contentHash(input)! } }),
    }),
  );
  const results = issues.map(
    (issue): Result => ({
      ruleId: inertName(ruleId(issue)),
      ruleIndex: order.indexOf(ruleId(issue)),
      level: LEVEL[issue.severity],
      message: { text: plain(issue.message) + (issue.advice === null ? '' : `\n${plain(issue.advice)}`) },
      locations: issue.locations.map((place) => ({
        physicalLocation: {
          artifactLocation: { uri: pathToUri(place.path) },
          ...(place.line !== undefined
            ? { region: { startLine: Math.max(1, place.line) } }
            : place.byteOffset !== undefined
              ? { region: { byteOffset: Math.max(0, place.byteOffset) } }
              : {}),
        },
        ...(place.tensor === undefined
          ? {}
          : { logicalLocations: [{ name: inertName(place.tensor), kind: 'variable' }] }),
      })),
      partialFingerprints: { 'clippyDiag/v1': issue.fingerprint },
      properties: {
        ...(issue.run === null ? {} : { run: inertName(issue.run) }),
        ...(issue.steps === null ? {} : { firstStep: issue.steps[0], lastStep: issue.steps[1] }),
      },
    }),
  );
  const log: Log = {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: { name: 'clippy-diag', version: report.toolVersion, rules: [...rules.values()] },
        },
        columnKind: 'utf16CodeUnits',
        artifacts,
        results,
      },
    ],
  };
  return `${toJson(log)}\n`;
}

export const sarif: ReportFormat = {
  id: 'sarif',
  title: 'SARIF 2.1.0 for code scanning',
  render: renderSarif,
};
