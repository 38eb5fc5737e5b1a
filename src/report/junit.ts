/**
 * JUnit XML in the form that Jenkins reads: a suite for each run, a case for each rule of the gate (without a gate: for the
 * verdict and each finding). A failed rule of severity `error` is a failure, what could not be judged an error, what was left
 * out is skipped; warnings and notes pass and are reported in `system-out`.
 */

import type { GateRule } from '../model/gate.ts';
import { inert, inertOutput } from '../model/inert-text.ts';
import type { Report, RunReport } from '../model/report.ts';
import { FAILED } from '../model/runs-sentence.ts';
import type { ReportFormat } from './format.ts';
import { lossesOf } from './input-losses.ts';
import { knownOf, ruleAdvice } from './issues.ts';
import { isLeading } from './where-it-ends.ts';

interface Case {
  readonly name: string;
  readonly kind: 'pass' | 'failure' | 'error' | 'skipped';
  readonly message: string;
  /** What to do about it. */
  readonly help?: string | undefined;
}

/** XML 1.0 has no way to write most control characters, and lone surrogates are no characters. */
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

const xmlText = (text: string): string =>
  inert(text)
    .replace(NOT_XML, '\ufffd')
    .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** Attribute values lose their line breaks when read unless they are written as references. */
const attribute = (text: string): string => xmlText(text).replace(/[\n\t]/g, (c) => `&#${c.charCodeAt(0)};`);

/** A server that shows one case of a name shows the first: each value of a baseline has its own, without what moves from run to run. */
const ruleName = ({ id, series, expected }: GateRule): string =>
  id !== 'baseline'
    ? id
    : `baseline: ${series === null ? 'class' : expected.replace(/ [<>]= \S+ with tolerance \S+ \+ \S+$/, '')}`;

/** The same names with a number behind each that was there before. */
function numbered(cases: readonly Case[]): Case[] {
  const seen = new Map<string, number>();
  return cases.map((one) => {
    const count = (seen.get(one.name) ?? 0) + 1;
    seen.set(one.name, count);
    return count === 1 ? one : { ...one, name: `${one.name} (${count})` };
  });
}

function gateCases(report: Report, run: string): Case[] {
  const gate = report.gate!;
  return [
    ...gate.rules
      .filter((rule) => rule.run === run)
      .map((rule): Case => {
        const failed = rule.severity === 'error' ? 'failure' : 'pass';
        return {
          name: ruleName(rule),
          kind: rule.status === 'pass' ? 'pass' : rule.status === 'fail' ? failed : 'error',
          message: `${rule.severity}: expected ${rule.expected}; ${rule.message}`,
          help: ruleAdvice(rule, report) ?? undefined,
        };
      }),
    ...gate.problems
      .filter((problem) => problem.run === run)
      .map(({ id, message }): Case => ({ name: id, kind: 'error', message })),
    ...gate.skipped
      .filter((rule) => rule.run === run)
      .map(({ id, reason }): Case => ({ name: id, kind: 'skipped', message: reason })),
  ];
}

function findingCases(run: RunReport, report: Report): Case[] {
  const { verdict } = run;
  const known = knownOf(run, report) ?? undefined;
  return [
    {
      name: 'verdict',
      kind: FAILED.has(verdict.class) ? 'failure' : verdict.class === 'inconclusive' ? 'error' : 'pass',
      message: `${verdict.class}: ${verdict.why}`,
      help: known,
    },
    ...run.findings.map(
      ({ id, severity, message, steps, advice }): Case => ({
        name: steps === null ? id : `${id} at ${run.stepUnit} ${steps[0]}`,
        kind: severity === 'error' ? 'failure' : 'pass',
        message: `${severity}: ${message}`,
        help: (isLeading({ id, steps }, run) ? known : undefined) ?? advice ?? undefined,
      }),
    ),
    ...run.failedDetectors.map(
      ({ id, error }): Case => ({ name: id, kind: 'error', message: error.message }),
    ),
    ...run.notRun.map(({ id, reason }): Case => ({ name: id, kind: 'skipped', message: reason })),
  ];
}

function inputCases(report: Report): Case[] {
  return [
    ...report.inputs.flatMap((input) =>
      (input.errors ?? []).map(
        (error): Case => ({ name: input.path, kind: 'error', message: `${error.id}: ${error.message}` }),
      ),
    ),
    // Without a gate a torn last record is no error.
    ...report.inputs.flatMap((input): Case[] => {
      const losses = lossesOf(input);
      return losses.length === 0 ? [] : [{ name: input.path, kind: 'pass', message: losses.join('; ') }];
    }),
    ...(report.gate?.problems ?? [])
      .filter(({ run }) => run === null)
      .map(({ id, message }): Case => ({ name: id, kind: 'error', message })),
  ];
}

function suite(name: string, all: readonly Case[], timestamp: string): string {
  const cases = numbered(all);
  const of = (kind: Case['kind']): number => cases.filter((c) => c.kind === kind).length;
  const lines = cases.map((c) => {
    const head = `    <testcase name="${attribute(c.name)}" classname="${attribute(name)}" time="0"`;
    const text = xmlText(c.help === undefined ? c.message : `${c.message}\n${c.help}`);
    if (c.kind === 'pass') return `${head}>\n      <system-out>${text}</system-out>\n    </testcase>`;
    const body =
      c.kind === 'skipped'
        ? `<skipped message="${attribute(c.message)}"/>`
        : `<${c.kind} message="${attribute(c.message)}" type="${attribute(c.name)}">${text}</${c.kind}>`;
    return `${head}>\n      ${body}\n    </testcase>`;
  });
  return [
    `  <testsuite name="${attribute(name)}" tests="${cases.length}" failures="${of('failure')}" errors="${of('error')}" skipped="${of('skipped')}" time="0" timestamp="${attribute(timestamp)}">`,
    ...lines,
    '  </testsuite>',
  ].join('\n');
}

function renderJunit(report: Report): string {
  // JUnit's time stamps have no zone and no fraction.
  const timestamp = report.createdAt.slice(0, 19);
  const groups = new Set([
    ...report.runs.map(({ id }) => id),
    ...(report.gate?.rules ?? []).map(({ run }) => run),
  ]);
  const suites = [...groups].flatMap((id) => {
    const cases =
      report.gate === undefined
        ? report.runs.filter((run) => run.id === id).flatMap((run) => findingCases(run, report))
        : gateCases(report, id);
    return cases.length === 0 ? [] : [suite(id, cases, timestamp)];
  });
  const inputs = inputCases(report);
  if (inputs.length > 0) suites.unshift(suite('inputs', inputs, timestamp));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="clippy-diag">\n${suites.join('\n')}${suites.length > 0 ? '\n' : ''}</testsuites>\n`;
}

export const junit: ReportFormat = {
  id: 'junit',
  title: 'JUnit XML',
  render: (report) => inertOutput(renderJunit(report)),
};
