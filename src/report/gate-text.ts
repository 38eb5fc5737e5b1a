/** The result of a gate on a terminal: one line for each rule, what fails and the verdict last, where a CI log ends. */
import { Ansis } from 'ansis';
import { counted, formatCount } from '../model/format-number.ts';
import type { GateResult, GateRule } from '../model/gate.ts';
import { inertName } from '../model/inert-text.ts';
import type { Report } from '../model/report.ts';
import { toAscii } from './ascii.ts';
import { byReason } from './by-reason.ts';
import type { RenderOptions } from './format.ts';
import { GATE_WORDS } from './gate-words.ts';

function ruleLine(rule: GateRule, paint: Ansis, several: boolean): string {
  const mark =
    rule.status === 'pass'
      ? paint.green('pass')
      : rule.status === 'inconclusive'
        ? paint.yellow('????')
        : rule.severity === 'error'
          ? paint.red('FAIL')
          : paint.yellow(rule.severity === 'warning' ? 'warn' : 'note');
  const place = rule.locations[0];
  const where = [
    ...(several ? [inertName(rule.run)] : []),
    ...(rule.step === null ? [] : [`step ${formatCount(rule.step)}`]),
    ...(place?.line === undefined ? [] : [`${inertName(place.path)}:${place.line}`]),
  ].join(', ');
  const why = rule.status === 'pass' ? '' : `\n        expected ${inertName(rule.expected)}`;
  return `  ${mark}  ${paint.bold(inertName(rule.id))}  ${inertName(rule.message)}${where === '' ? '' : paint.dim(` (${where})`)}${why}`;
}

/** What was left out, once for each reason: by the rules of a run, then by the runs of the same rules. */
function leftOut(skipped: GateResult['skipped'], several: boolean) {
  const inRuns = new Map<string, { ids: string; severity: string; reason: string; runs: string[] }>();
  for (const { ids, one } of byReason(skipped, ({ run, severity, reason }) =>
    JSON.stringify([run, severity, reason]),
  )) {
    const { run, severity, reason } = one;
    const key = JSON.stringify([ids, severity, reason]);
    const runs = inRuns.get(key)?.runs ?? [];
    inRuns.set(key, { ids, severity, reason, runs: [...runs, run] });
  }
  return [...inRuns.values()].map(({ runs, ...rest }) => ({
    ...rest,
    where: several
      ? ` on ${runs.length === 1 ? inertName(runs[0]!) : `${formatCount(runs.length)} runs`}`
      : '',
  }));
}

/** Names of a reason's files that are shown; the others are counted. */
const NAMES_SHOWN = 5;

/** Files that were not inputs, once for each reason. */
function passedOver(skipped: Report['skipped'], paint: Ansis): string[] {
  const reasons = new Map<string, string[]>();
  for (const { path, reason } of skipped) reasons.set(reason, [...(reasons.get(reason) ?? []), path]);
  return [...reasons].map(([reason, paths]) => {
    const names = paths.slice(0, NAMES_SHOWN).map((path) => inertName(path));
    const more = paths.length > names.length ? [`and ${formatCount(paths.length - names.length)} more`] : [];
    return `  ${paint.dim('skip')}  skipped ${[...names, ...more].join(', ')}: ${inertName(reason)}`;
  });
}

/** Whether a rule holds and says no more than that. */
const isPlain = ({ id, status, message }: GateRule): boolean => status === 'pass' && message === `no ${id}`;

/** Rules that hold and have nothing to say, in one line; of several runs, with how many they hold for. */
function passes(rules: readonly GateRule[], paint: Ansis, several: boolean): string[] {
  if (rules.length === 0) return [];
  const runs = new Map<string, number>();
  for (const { id } of rules) runs.set(id, (runs.get(id) ?? 0) + 1);
  const names = [...runs].map(
    ([id, count]) => inertName(id) + (several ? ` (${counted(count, 'run')})` : ''),
  );
  return [`  ${paint.green('pass')}  ${names.join(', ')}`];
}

/** Whether a rule keeps the gate from passing. */
const blocks = ({ status, severity }: GateRule): boolean =>
  status === 'inconclusive' || (status === 'fail' && severity === 'error');

/**
 * Renders the result of a gate.
 *
 * @param skipped what a walk skipped; files that seem to be logs are problems of the gate
 */
export function renderGate(
  gate: GateResult,
  { colour, ascii }: RenderOptions,
  skipped: Report['skipped'] = [],
): string {
  const paint = new Ansis(colour ? 1 : 0);
  const several = new Set(gate.rules.map(({ run }) => run)).size > 1;
  const count = (test: (rule: GateRule) => boolean): number => gate.rules.filter(test).length;
  const counts = [
    `${count(({ passed }) => passed)} of ${gate.rules.length} rules hold`,
    ...(count(({ status }) => status === 'inconclusive') > 0
      ? [`${count(({ status }) => status === 'inconclusive')} not judged`]
      : []),
    ...(gate.skipped.length > 0 ? [`${gate.skipped.length} left out`] : []),
  ].join(', ');
  const names = [...new Set(gate.rules.filter(blocks).map(({ run }) => inertName(run)))];
  const failed =
    names.length > NAMES_SHOWN
      ? [...names.slice(0, NAMES_SHOWN), `and ${formatCount(names.length - NAMES_SHOWN)} more`]
      : names;
  const word = `gate ${GATE_WORDS[gate.exitCode]}`;
  const headline = gate.passed ? paint.bold.green(word) : paint.bold.red(word);
  const lines = [
    ...passes(gate.rules.filter(isPlain), paint, several),
    ...gate.rules
      .filter((rule) => !blocks(rule) && !isPlain(rule))
      .map((rule) => ruleLine(rule, paint, several)),
    ...leftOut(gate.skipped, several).map(
      ({ ids, where, severity, reason }) =>
        `  ${severity === 'warning' ? paint.yellow('warn') : paint.dim('skip')}  ${inertName(ids)}  left out${where}: ${inertName(reason)}`,
    ),
    ...passedOver(
      skipped.filter(({ saysLog }) => saysLog === undefined),
      paint,
    ),
    ...gate.problems.map(
      ({ id, run, message }) =>
        `  ${paint.yellow('????')}  ${paint.bold(inertName(id))}  ${run !== null ? `${inertName(run)}: ` : ''}${inertName(message)}`,
    ),
    ...gate.rules.filter(blocks).map((rule) => ruleLine(rule, paint, several)),
    ...(several && failed.length > 0 ? [`  runs that failed: ${failed.join(', ')}`] : []),
    `${headline}: ${counts}`,
  ];
  const text = `${lines.join('\n')}\n`;
  return ascii ? toAscii(text) : text;
}
