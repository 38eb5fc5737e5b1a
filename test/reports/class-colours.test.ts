/** A class has one colour: on the brief page, in the table of runs, on the whole page and in HTML. */
import { expect, test } from 'vitest';
import { VERDICT_CLASSES, type VerdictClass } from '../../src/model/report.ts';
import { runsTable } from '../../src/model/runs-table.ts';
import { renderBrief } from '../../src/report/brief.ts';
import { html } from '../../src/report/html.ts';
import { renderTerminal } from '../../src/report/terminal.ts';
import { healthyRun, makeReport, makeRunReport } from '../support/make-report.ts';

const options = { width: 100, rows: 24, colour: true, ascii: false };
const EXPECTED: Record<VerdictClass, 'green' | 'yellow' | 'red'> = {
  healthy: 'green',
  inconclusive: 'yellow',
  'micro-divergence': 'yellow',
  drift: 'red',
  'never-learned': 'red',
  'full-divergence': 'red',
  'non-finite': 'red',
};
const CODES = { 32: 'green', 33: 'yellow', 31: 'red' } as const;
const TONES = { good: 'green', warn: 'yellow', bad: 'red' } as const;

/** The colour that the escape codes right before a text set. */
function colourBefore(text: string, what: string): string | undefined {
  const found = new RegExp(`\\u001b\\[(3[0-7])m(?:\\u001b\\[\\d+m)*${what}`).exec(text);
  return CODES[Number(found?.[1]) as keyof typeof CODES];
}

test.each(VERDICT_CLASSES)('%s', (name) => {
  const { verdict } = makeRunReport(healthyRun());
  const onsetStep = name === 'healthy' ? null : 50;
  const run = makeRunReport(healthyRun(), { verdict: { ...verdict, class: name, onsetStep } });
  const other = makeRunReport(healthyRun('other.csv'));
  const one = makeReport([run]);
  const two = makeReport([run, other], { table: runsTable({ runs: [run, other] }) });
  const colour = EXPECTED[name];
  expect(colourBefore(renderBrief(one, options), '[✓!✗] [A-Z]')).toBe(colour);
  expect(colourBefore(renderBrief(two, options), `\\d+ ${name}`)).toBe(colour);
  expect(colourBefore(renderTerminal(one, options), name)).toBe(colour);
  const toneOf = (found: RegExpExecArray | null) => TONES[found?.[1] as keyof typeof TONES];
  expect(toneOf(/class="toned (\w*)"/.exec(html.render(one, options)))).toBe(colour);
  expect(toneOf(new RegExp(`class="badge (\\w*)">${name}<`).exec(html.render(two, options)))).toBe(colour);
});
