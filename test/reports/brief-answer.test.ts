/** The answer of the brief page: what it tells to do, also where the loss itself shows nothing. */
import { expect, test } from 'vitest';
import type { Finding } from '../../src/model/finding.ts';
import { answerOf } from '../../src/reports/brief-answer.ts';
import { healthyRun, makeReport, makeRunReport } from '../support/make-report.ts';

const brokenTensor = (severity: Finding['severity']): Finding => ({
  id: 'non-finite-tensor',
  severity,
  steps: null,
  series: null,
  message: '3 values of "w" are not finite',
  measured: null,
  threshold: null,
  locations: [],
  advice: 'go back to step-380.pt or before',
});

test.each([
  ['error', 'THE LOSS IS HEALTHY, THE RUN IS NOT', 'Go back to step-380.pt or before.'],
  // A warning is told; orders are for what is broken.
  ['warning', 'HEALTHY', undefined],
] as const)('a healthy loss beside a broken tensor (%s): %s', (severity, title, fix) => {
  const finding = brokenTensor(severity);
  const run = { ...makeRunReport(healthyRun()), findings: [finding], advice: [finding.advice!] };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.title).toBe(title);
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(fix);
  expect(answer.parts.find(({ label }) => label === 'Also')?.text).toContain('3 values of "w"');
});
