/** The answer of the brief page: what it tells to do, also where the loss itself shows nothing. */
import { describe, expect, test } from 'vitest';
import { untried } from '../../src/experiment/cause/remedies.ts';
import { AUDIT_LINKS, type AuditLink } from '../../src/model/audit.ts';
import { brokenLinkHeadline } from '../../src/model/audit-words.ts';
import { type Cause, LEARNS_SLOWER, type Remedy } from '../../src/model/cause.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { Incident, RunReport } from '../../src/model/report.ts';
import { briefRun, chartLines } from '../../src/report/brief.ts';
import { answerOf } from '../../src/report/brief-answer.ts';
import { html } from '../../src/report/html.ts';
import { markdown } from '../../src/report/markdown.ts';
import { leadingEvents } from '../../src/report/run-events.ts';
import { figuresOf, figureText, TRIED_FIGURES, triedSentence } from '../../src/report/tried.ts';
import { remedyWords } from '../../src/report/why.ts';
import { healthyRun, makeReport, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';

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
  // Readers of a warning without a line on what to do did nothing.
  ['warning', 'HEALTHY, with a warning', 'Go back to step-380.pt or before.'],
] as const)('a healthy loss beside a broken tensor (%s): %s', (severity, title, fix) => {
  const finding = brokenTensor(severity);
  const run = { ...makeRunReport(healthyRun()), findings: [finding], advice: [finding.advice!] };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.title).toBe(title);
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(fix);
  expect(answer.parts.find(({ label }) => label === 'Also')?.text).toContain('3 values of "w"');
});

const rise = (onsetStep: number, more: Partial<Incident>): Incident => ({
  class: 'inconclusive',
  series: 'loss',
  attempt: 0,
  onsetStep,
  lastGoodStep: onsetStep - 1,
  recoveredStep: null,
  peakStep: onsetStep + 1,
  peak: 17.9,
  ...more,
});

test('a rise after the one that the page is about is told where the log does not see its end', () => {
  const led = rise(40, { class: 'full-divergence' });
  const alsoWith = (later: Incident): string | undefined => {
    const run = makeRunReport(healthyRun());
    const incidents = [led, later];
    const verdict = {
      ...run.verdict,
      class: 'full-divergence' as const,
      series: 'loss',
      onsetStep: 40,
      incidents,
    };
    return answerOf({ ...run, verdict, findings: [] }, makeReport([run])).parts.find(
      ({ label }) => label === 'Also',
    )?.text;
  };
  expect(alsoWith(rise(129, {}))).toBe(
    'The loss rises again at step 129, to 17.9, and the log ends before it could come back.',
  );
  expect(alsoWith(rise(129, { class: 'micro-divergence', recoveredStep: 140 }))).toBeUndefined();
  expect(alsoWith(rise(12, {}))).toBeUndefined();
});

test('the ends of a calm loss are its levels, and single points where they are not known', () => {
  const run = makeRunReport(healthyRun());
  const points = answerOf(run, makeReport([run]));
  expect(points.change).toMatch(/ → /);
  const between = (first: number) => {
    const learnt = { holds: true, statement: 'learnt', levels: [first, 0.333] } as const;
    const known = { ...run, verdict: { ...run.verdict, provenBy: { ...run.verdict.provenBy!, learnt } } };
    return answerOf(known, makeReport([known]));
  };
  const levels = between(1.23);
  expect(levels.change).toMatch(/ 1\.23 → 0\.333$/);
  // First steps that throw the loss far above its first value are no level to have learnt from.
  expect(between(77.7).change).toMatch(/ 1\.1 → 0\.333$/);
  expect(levels.change).not.toBe(points.change);
  // They are said once.
  expect(levels.checked).toContain('learnt');
});

describe('a loss that is high since the data changed', () => {
  const told = (more: Partial<Cause>) => {
    const run = makeRunReport(healthyRun());
    const verdict = {
      ...run.verdict,
      ...{ class: 'full-divergence' as const, series: 'loss', onsetStep: 40 },
      incidents: [rise(40, { class: 'full-divergence' })],
    };
    const cause: Cause = {
      ...{ trigger: 'data', alsoTriggers: [], mechanism: 'bad-batch-only', step: null, onsetStep: 40 },
      ...{ confidence: 'shown', statement: 'batches are unlike those before', evidence: [] },
      ...more,
    };
    const from = { step: run.attemptList[0]!.firstStep, path: null };
    const tried = { tried: 'closed-loop', holds: true, outcome: 'holds', finalLoss: 0.4, from } as const;
    const remedies = [untried('fix-data', 'mend the data', tried)];
    const answer = answerOf({ ...run, verdict, cause, remedies, findings: [] }, makeReport([run]));
    return { title: answer.title, fix: answer.parts.find(({ label }) => label === 'Fix')!.text };
  };
  test('and weights that are shown to be unharmed did not diverge: nothing is begun again', () => {
    expect(told({})).toEqual({
      title: 'LOSS UP since step 40: the data changed, the weights are unharmed',
      fix: 'Train on with data as before.',
    });
  });
  test('and weights of which that is not shown, or that another cause harmed, diverged', () => {
    for (const more of [
      { confidence: 'likely' },
      { mechanism: 'overshoot' },
      { trigger: 'learning-rate' },
    ] as const)
      expect(told(more)).toMatchObject({
        title: 'DIVERGED at step 40',
        fix: 'Begin again and train on with data as before.',
      });
  });
});

test.each([
  [0.444, 'ROSE at step 138, too soon to tell whether it is over'],
  [0.6, 'HIGH since step 138, too soon to tell whether it stays'],
  [null, 'HIGH since step 138, too soon to tell whether it stays'],
] as const)('a rise of 0.42 to 45 that ends at %s: %s', (after, title) => {
  const run = makeRunReport(healthyRun());
  const incidents = [rise(138, { before: 0.42, after })];
  const verdict = {
    ...run.verdict,
    class: 'inconclusive' as const,
    series: 'loss',
    onsetStep: 138,
    incidents,
  };
  expect(answerOf({ ...run, verdict }, makeReport([run])).title).toBe(title);
});

/** A remedy that was tried, as a cause gives it. */
const tried = (action: Remedy['action'], holds: boolean): Remedy => ({
  ...untried(action, 'what to do'),
  from: { step: 100, path: null },
  tried: 'closed-loop',
  holds,
  outcome: holds ? 'holds' : 'lost',
  finalLoss: 0.5,
});
const diverged = () => {
  const run = makeRunReport(healthyRun());
  return {
    ...run,
    verdict: { ...run.verdict, class: 'full-divergence' as const, onsetStep: 110 },
    advice: [],
  };
};

test.each([
  ['raise-precision', 'Go back to step 100, or a checkpoint before it, and train in float32.', 'float32'],
  [
    'fix-data',
    'Go back to step 100, or a checkpoint before it, and train on with data as before.',
    'data as before',
  ],
  [
    'restore-optimizer-state',
    'Go back to step 100, or a checkpoint before it, and put back the old optimizer state (what to do).',
    'old optimizer state',
  ],
] as const)('%s is told in words', (action, fix, name) => {
  const run = { ...diverged(), remedies: [tried(action, true)] };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(fix);
  expect(answer.tried[0]!.name).toBe(name);
});

test.each([
  [1, 'The one remedy tried here did not hold.'],
  [2, 'None of 2 remedies tried here held.'],
  [1, 'One remedy tried here did not hold; 1 is too slow to tell.', 1],
  [2, 'None of 2 remedies tried here held; 2 are too slow to tell.', 2],
])('%i that did not hold', (count, fix, slow = 0) => {
  const slower = {
    ...tried('raise-precision', false),
    holds: null,
    statement: `${LEARNS_SLOWER}, and what it does down there was not seen`,
  };
  const run = {
    ...diverged(),
    remedies: [
      ...Array.from({ length: slow }, () => slower),
      ...Array.from({ length: count }, () => tried('raise-precision', false)),
    ],
  };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.tried.slice(0, slow).map(({ name, holds }) => [name, holds])).toEqual(
    Array.from({ length: slow }, () => ['float32 (too slow to tell)', null]),
  );
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(fix);
});

test('a chart tells where to go back to, but not a run that came back', () => {
  const rewind = { rewindToStep: 90, rewindCheckpoint: null, skipFrom: null, skipTo: null };
  for (const [verdict, marks] of [
    ['full-divergence', ['rewind', 'onset']],
    ['micro-divergence', ['onset']],
  ] as const) {
    const run = diverged();
    const one = {
      ...run,
      rewind,
      verdict: {
        ...run.verdict,
        class: verdict,
        // Two that begin at one step have one mark.
        incidents: [verdict, 'drift'].map((kind) => ({ onsetStep: 110, recoveredStep: null, class: kind })),
      },
    } as never;
    expect(leadingEvents(one).map(({ kind }) => kind)).toEqual(marks);
  }
});

test.each([7, 8, 12])('a chart with values that are not finite keeps to its %i rows', (rows) => {
  const values = Array.from({ length: 60 }, (_, i) => (i < 40 ? 3 / (i + 1) : Number.NaN));
  const run = makeRunReport(makeRun('run.csv', [makeSeries('loss', 'loss', values)]));
  const options = { width: 80, colour: false, ascii: false, rows };
  const lines = chartLines(run, rows, options);
  expect(lines.join('\n')).toContain('non-finite');
  expect(lines.length).toBeLessThanOrEqual(rows);
});

test('what was tried is counted in words, and told in the fix where none held', () => {
  const told = (...remedies: Remedy[]): string | undefined => {
    const run = { ...diverged(), remedies };
    return triedSentence(answerOf(run, makeReport([run])))?.text;
  };
  expect(told(tried('raise-precision', true))).toBeUndefined();
  expect(told(tried('raise-precision', true), tried('restore-optimizer-state', false))).toBe(
    '1 of 2 remedies kept the run well.',
  );
  expect(told(tried('raise-precision', false))).toBeUndefined();
});

describe('of what held', () => {
  const clip = (finalLoss: number, interference: number, rule = 'global-norm:1'): Remedy => ({
    ...tried('clip', true),
    rule,
    finalLoss,
    interference,
  });
  const skip = { ...tried('skip-batches', true), skipSteps: [84, 84] as const, paste: 'x' };
  const fixOf = (trigger: Cause['trigger'], ...remedies: Remedy[]): string => {
    const run = diverged();
    const cause = {
      ...run.cause,
      trigger,
      onsetStep: run.verdict.onsetStep,
      evidence: [],
      statement: 'so',
    } as never;
    const one = { ...run, cause, remedies };
    return answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!.text;
  };

  test.each([
    ['data', [skip, clip(0.4, 0)], /skip bad batch 84, which takes the cause away:$/],
    // Nothing ends lower: nobody asks.
    ['data', [skip, clip(0.6, 0)], /skip bad batch 84:$/],
    ['none-found', [skip, clip(0.4, 0.2)], /skip bad batch 84, which changes no healthy step:$/],
    ['sharpness', [clip(0.5, 0.1), clip(0.4, 0.2, 'agc:0.01')], /, which changes the least of healthy steps/],
    // What is first for another reason is given none.
    ['sharpness', [clip(0.5, 0.1), clip(0.4, 0.1, 'agc:0.01')], /clip the gradient norm at 1 \(explain/],
  ] as const)('the first says why it stands before those that end lower: %s %#', (trigger, remedies, fix) => {
    expect(fixOf(trigger, ...remedies)).toMatch(fix);
  });

  test('a table that has no room for all says how many held', () => {
    const run = {
      ...diverged(),
      remedies: [skip, clip(0.4, 0), clip(0.3, 0.1, 'clippy:paper'), clip(0.3, 0.1, 'agc:0.01')],
    };
    const heads = Array.from({ length: 30 }, (_, k) => 12 + k).flatMap((rows) =>
      briefRun(run, makeReport([run]), { width: 100, colour: false, ascii: false, rows }).filter((line) =>
        line.includes('shown'),
      ),
    );
    expect(heads.length).toBeGreaterThan(0);
    for (const head of heads) expect(head).toMatch(/^ {4}Tried: 4 of 4 held, [2-4] shown /);
  });

  test('another is named in 80 columns and 24 rows, however much there is to say', () => {
    const run = {
      ...diverged(),
      cause: {
        ...diverged().cause,
        trigger: 'data',
        onsetStep: 110,
        confidence: 'shown',
        evidence: [],
        statement: Array(6).fill('the batch has a loss that batches before it never had').join('; '),
      } as never,
      remedies: [{ ...skip, paste: 'x\ny' }, clip(0.4, 0), clip(0.3, 0.1, 'clippy:paper')],
      tasks: [400, 401, 402].map((onsetStep) => ({
        name: `a task with a long name ${onsetStep}`,
        class: 'full-divergence',
        onsetStep,
      })) as never,
      findings: [brokenTensor('error')],
    };
    const lines = briefRun(run, makeReport([run]), { width: 80, colour: false, ascii: false, rows: 24 });
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines.find((line) => line.startsWith('  Tried '))).toBe(
      '  Tried   3 of 3 kept the run well. Also: clip the gradient norm at 1 (0.4).',
    );
    // An order to paste several lines is told to its end, whatever the cause has to say.
    const long = { ...run, remedies: [{ ...skip, paste: 'a\nb\nc\nd' }, ...run.remedies.slice(1)] };
    const page = briefRun(long, makeReport([long]), { width: 80, colour: false, ascii: false, rows: 24 });
    const at = page.findIndex((line) => line.startsWith('  Fix '));
    expect(page.slice(at, at + 3).map((line) => line.trim())).toEqual([
      'Fix     Go back to step 100, or a checkpoint before it, and skip bad batch 84,',
      'which takes the cause away:',
      'a',
    ]);
    expect(page.length).toBeLessThanOrEqual(24);
  });
});

test.each([
  ['precision', 'So that it does not happen again: train in bfloat16 or float32, or lower the loss scale.'],
  ['none-found', 'Go back to a.pt.'],
])('where nothing held, what keeps the cause from coming again is told: %s', (trigger, end) => {
  const run = diverged();
  const one = {
    ...run,
    advice: ['go back to a.pt'],
    cause: { ...run.cause, trigger, onsetStep: 110, evidence: [], statement: 'so' } as never,
    remedies: [tried('raise-precision', false), tried('restore-optimizer-state', false)],
  };
  const told = answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!.text;
  expect(told.startsWith('None of 2 remedies tried here held. Go back to a.pt.')).toBe(true);
  expect(told.endsWith(end)).toBe(true);
});

test('the facts are those of the series that was judged, and say that the log goes on', () => {
  const run = makeRunReport(
    makeRun('run.csv', [
      makeSeries('loss', 'loss', [3, 2, 1]),
      makeSeries('lr', 'learning_rate', Array(40).fill(0.1)),
    ]),
  );
  const factsOf = (one: typeof run) => answerOf(one, makeReport([one])).facts;
  expect(factsOf({ ...run, attemptList: [{ ...run.attemptList[0]!, firstStep: 0, lastStep: 39 }] })).toBe(
    'run.csv · 3 points · steps 0 to 3 · the log goes on to 39',
  );
  expect(factsOf({ ...run, attemptList: [{ ...run.attemptList[0]!, firstStep: 0, lastStep: 3 }] })).toBe(
    'run.csv · 3 points · steps 0 to 3',
  );
});

const recovered = (remedy: Remedy, until: number) => {
  const run = diverged();
  return {
    ...run,
    verdict: { ...run.verdict, class: 'micro-divergence' as const, series: 'loss', onsetStep: 40 },
    remedies: [remedy],
    replay: [{ mode: 'closed-loop', label: 'none', steps: [30, until], minClipFactor: [1] }] as never,
  };
};
const fixOf = (run: RunReport): string =>
  answerOf(run, makeReport([run])).parts.find(({ label }) => label === 'Fix')!.text;

test.each([
  [60, 0.9, 'Nothing now: the run came back. So that it does not happen again: train in float32.'],
  [99, 0.9, /^The run came back, but its loss stays higher than with this fix\. Go back to step 100, or/],
  [99, 0.51, /^Nothing now/],
])(
  'a loss that came back in a log of 100 steps, tried to step %i, says whether it stays higher',
  (until, finalLossWithout, fix) => {
    expect(fixOf(recovered({ ...tried('raise-precision', true), finalLossWithout }, until))).toMatch(fix);
  },
);

test.each([
  [null, 50],
  ['Is the capture of this run? Its incident begins at step 80.', 80],
])(
  '%s is told of a cause of a capture whose incident begins at step %i, with 40 in the log',
  (beware, onsetStep) => {
    const run = recovered(tried('fix-data', true), 99);
    const one = {
      ...run,
      cause: { ...run.cause, trigger: 'data', onsetStep, evidence: [], statement: 'so' } as never,
    };
    const told = answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Beware');
    expect(told?.text ?? null).toBe(beware);
  },
);

test('a loss that came back on data that changed for good: nothing, if they are meant', () => {
  expect(fixOf(recovered({ ...tried('fix-data', true), finalLossWithout: 1.5 }, 99))).toBe(
    'Nothing, if the new data are meant: the loss came back on them. If they are not, go back to step 100, or a checkpoint before it, and train on with data as before.',
  );
});

test.each([
  [0.9, /^The run came back, but its loss stays higher than with this fix\. Go back to step 100, or/],
  [0.51, /^Nothing now: the run came back\. So that it does not happen again: train in float32\.$/],
])('a run that came back and ends at %f, where a remedy ends at 0.5', (finalLossWithout, fix) => {
  const run = diverged();
  const one = {
    ...run,
    verdict: { ...run.verdict, class: 'micro-divergence' as const },
    remedies: [{ ...tried('raise-precision', true), finalLossWithout }],
  };
  const told = answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!;
  expect(told.text).toMatch(fix);
  // The losses of a replay are not those of the first line.
  expect(told.after).toBe(
    `Tried here: mean loss on normal batches 0.5 (without the fix ${finalLossWithout}).`,
  );
});

/** The run with an incident of its loss that it came back from by itself. */
const cameBack = (run: ReturnType<typeof makeRunReport>, incident: Incident) => ({
  ...run,
  verdict: {
    ...run.verdict,
    class: 'micro-divergence' as const,
    series: incident.series,
    onsetStep: incident.onsetStep,
    recoveredStep: incident.recoveredStep,
    incidents: [{ ...incident, class: 'micro-divergence' as const }],
  },
  cause: undefined as never,
  remedies: [untried('none-needed', 'nothing: the run came back by itself')],
});

test.each([
  [
    1.3,
    /^The run came back from this rise, but its loss is 1\.3 and more at the end, where 1 was usual before: it is/,
  ],
  [1.05, /^Nothing: the run came back by itself\.$/],
  // One point as low as before: it comes down to there.
  [Number.NaN, /^Nothing: the run came back by itself\.$/],
])('a run that came back is not well where it ends above the level before: %f', (end, fix) => {
  const values = Array.from({ length: 200 }, (_, i) =>
    i < 100 ? 1 : i < 103 ? 5 : Number.isNaN(end) ? (i === 195 ? 1 : 1.3) : end,
  );
  const run = makeRunReport(makeRun('run.csv', [makeSeries('loss', 'loss', values)]));
  const one = cameBack(run, rise(101, { recoveredStep: 104, peakStep: 101, peak: 5, before: 1, after: end }));
  const told = answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!;
  expect(told.text).toMatch(fix);
});

test.each([
  [0, 'train on with weight decay 0 at every step, whatever sets it'],
  [0.1, 'train on with weight decay × 0.1'],
])('a weight decay times %f', (weightDecayFactor, words) => {
  const remedy = untried('lower-weight-decay', 'less weight decay', { weightDecayFactor });
  expect(remedyWords(remedy, makeRunReport(healthyRun()))).toBe(words);
});

test('a run that did not come back is not told that it did', () => {
  const values = Array.from({ length: 200 }, (_, i) => (i < 100 ? 1 : i < 103 ? 5 : i === 195 ? 1 : 1.3));
  const run = makeRunReport(makeRun('run.csv', [makeSeries('loss', 'loss', values)]));
  const risen = rise(101, { recoveredStep: null, peakStep: 101, peak: 5, before: 1, after: 1.3 });
  const one = { ...cameBack(run, risen), remedies: [] };
  const told = answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!;
  expect(told.text).toMatch(
    /^Put back what changed if it was not meant: the loss is 1\.3 since then, and was 1\./,
  );
});

/** What the page says to do about a run that rises to 4 at step 50, with this change. */
const fixOfRisen = (change: Partial<RunReport>, recoveredStep: number | null = null): string =>
  answerOfRisen(change, recoveredStep).parts.find(({ label }) => label === 'Fix')!.text;

function answerOfRisen(change: Partial<RunReport>, recoveredStep: number | null) {
  const values = Array.from({ length: 200 }, (_, i) => (i < 50 || (recoveredStep ?? 200) <= i ? 1 : 4));
  const run = makeRunReport(makeRun('run.csv', [makeSeries('loss', 'loss', values)]));
  const incident = rise(50, { recoveredStep, peakStep: 50, peak: 4, before: 1, after: values.at(-1)! });
  const came = cameBack(run, incident);
  const kind = recoveredStep === null ? 'drift' : 'micro-divergence';
  const verdict = { ...came.verdict, class: kind, incidents: [{ ...incident, class: kind }] } as const;
  const one: RunReport = { ...came, verdict, ...change };
  return answerOf(one, makeReport([one]));
}

test('a loss that does not come back is never left as it is', () => {
  expect(fixOfRisen({ remedies: [untried('none-needed', 'nothing: the weights are unharmed')] })).toMatch(
    /^Evaluate weights from after step 50 on batches from before it: a usual loss means that the data changed/,
  );
});

test('a pattern that has the first line is mended though its rises come back', () => {
  const cause = {
    trigger: 'order',
    alsoTriggers: [],
    mechanism: 'unknown',
    step: 50,
    onsetStep: 50,
    confidence: 'likely',
    statement: 'likely because the rows are in blocks of one kind',
    evidence: [],
    failure: 'saw-tooth',
  } satisfies Cause;
  const remedies = [untried('fix-data', 'shuffle the rows again')];
  expect(fixOfRisen({ cause, remedies }, 60)).toMatch(/^Shuffle the rows again/);
  expect(answerOfRisen({ cause, remedies }, 60).change).toBe('loss up to 4, ends at 1');
  const { failure: _, ...unnamed } = cause;
  expect(fixOfRisen({ cause: unnamed, remedies }, 60)).toMatch(/^Nothing now: the run came back\./);
});

test('a failure that goes on leads a rise that came back, and is not left as it is', () => {
  const cause = {
    trigger: 'precision',
    alsoTriggers: [],
    mechanism: 'overflow',
    step: 55,
    onsetStep: 50,
    confidence: 'likely',
    statement: 'likely because gradients overflow in float16',
    evidence: [],
    failure: 'scaler-skips-every-step',
  } satisfies Cause;
  const remedies = [untried('raise-precision', 'go back to a checkpoint before step 55')];
  const back = answerOfRisen({ cause, remedies }, 60);
  expect(back.title).toBe('SKIPS EVERY STEP since step 55: no weight changes any more');
  expect(back.parts.find(({ label }) => label === 'Fix')!.text).toMatch(/^Go back to a checkpoint before/);
  // A loss that is lost leads.
  expect(answerOfRisen({ cause, remedies }, null).title).toBe('WENT UP from step 50');
});

test('a fault of the code is mended though the loss came back', () => {
  const cause = {
    trigger: 'code',
    alsoTriggers: [],
    mechanism: 'unknown',
    step: 50,
    onsetStep: 50,
    confidence: 'shown',
    statement: 'the model is in evaluation mode from step 50 on',
    evidence: [],
  } satisfies Cause;
  expect(fixOfRisen({ cause, remedies: [untried('fix-code', 'call model.train()')] }, 60)).toBe(
    'Call model.train().',
  );
});

test('a loss of exactly 0 to the end is not called no number', () => {
  const run = makeRunReport(
    makeRun('run.csv', [makeSeries('loss', 'loss', [...Array(50).fill(1), ...Array(50).fill(0)])]),
  );
  const incident = rise(50, { class: 'non-finite', recoveredStep: null, peak: 0, before: 1, after: null });
  const one: RunReport = {
    ...run,
    verdict: { ...cameBack(run, incident).verdict, class: 'non-finite', incidents: [incident] },
  };
  const answer = answerOf(one, makeReport([one]));
  expect([answer.title, answer.change]).toEqual([
    'EXACTLY 0 from step 50 to the end',
    'loss 1 → 0 to the end',
  ]);
});

test('of a column that stops before the run is back the one that goes on tells the end', () => {
  const run = makeRunReport(
    makeRun('run.csv', [
      makeSeries('loss', 'loss', [...Array(50).fill(1), ...Array(50).fill(4)]),
      makeSeries('train/loss', 'other', Array(200).fill(0.7)),
    ]),
  );
  const one = cameBack(
    run,
    rise(51, { recoveredStep: 120, recoveredIn: 'train/loss', peak: 5, before: 1, after: 4 }),
  );
  const answer = answerOf(one, makeReport([one]));
  expect(answer.change).toBe('loss 1 → 5; train/loss back at step 120, ends at 0.7');
  expect(answer.parts.find(({ label }) => label === 'Fix')!.text).toBe(
    'Nothing: the run came back by itself.',
  );
});

test.each([
  [[84, 85, 86], 'skip bad batches 84 to 86'],
  [[84, 90, 91, 104], 'skip bad batches 84, 90 to 91 and 104'],
  [[84], 'skip bad batch 84'],
  // A range would tell to leave out good ones, too.
  [[84, 88, 92, 96, 104], 'skip 5 bad batches between 84 and 104'],
])('batches %j are told as those that they are', (steps, name) => {
  const run = {
    ...diverged(),
    remedies: [{ ...tried('skip-batches', true), skipSteps: [steps[0]!, steps.at(-1)!] as const }],
    replay: [{ mode: 'as-recorded', arm: { kind: 'skip-batches', steps } }] as never,
  };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.tried[0]!.name).toBe(name);
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(
    // Without a line to paste for the trainer the list is what a loader reads.
    `Go back to step 100, or a checkpoint before it, and ${name} (the list of these batches: --report skip-list:skip.json).`,
  );
});

test.each([
  ['clippy:paper', 'clip with the paper’s Clippy', null, ' (explain clippy).'],
  ['global-norm:1', 'clip the gradient norm at 1', 'max_grad_norm=1', ':'],
  [
    'agc:0.02+rms',
    'clip at 2 % of the weights (AGC) and clip the RMS of each update at 1',
    null,
    ' (explain agc).',
  ],
  // What the words do not tell is told as it was asked for.
  ['global-norm:1,semantics=optax', 'clip the gradient norm at 1 (global-norm:1,semantics=optax)', 'x', ':'],
  // Of a report that a newer version wrote.
  ['newrule:3', 'clip with newrule:3', null, ' (explain newrule).'],
])('%s is told in words', (rule, name, paste, end) => {
  const run = { ...diverged(), remedies: [{ ...tried('clip', true), rule, paste }] };
  const answer = answerOf(run, makeReport([run]));
  expect(answer.tried[0]!.name).toBe(name);
  expect(answer.parts.find(({ label }) => label === 'Fix')?.text).toBe(
    `Go back to step 100, or a checkpoint before it, and ${name}${end}`,
  );
});

test.each([
  [['watch'], ['click', 'like'], 'Task `watch` broke first (step 400), `click` and `like` 2 steps later.'],
  [['watch', 'click'], [], 'Tasks `watch` and `click` broke first (step 400).'],
])('%j before %j', (first, later, where) => {
  const task = (name: string, onsetStep: number) => ({ name, class: 'full-divergence', onsetStep });
  const run = {
    ...diverged(),
    tasks: [...first.map((name) => task(name, 400)), ...later.map((name) => task(name, 402))] as never,
  };
  expect(answerOf(run, makeReport([run])).parts[0]).toEqual({ label: 'Where', text: where });
});

test('where the run itself began, it is begun again', () => {
  const run = diverged();
  const first = run.attemptList[0]!.firstStep;
  const told = (step: number): string[] => {
    const rewind = { rewindToStep: step, rewindToCheckpoint: null } as never;
    const one = {
      ...run,
      rewind,
      remedies: [{ ...tried('raise-precision', true), from: { step, path: null } }],
    };
    const [back] = leadingEvents(one).filter(({ kind }) => kind === 'rewind');
    return [back!.label, answerOf(one, makeReport([one])).parts.find(({ label }) => label === 'Fix')!.text];
  };
  expect(told(first)).toEqual(['begin again', 'Begin again and train in float32.']);
  expect(told(first + 7)).toEqual([
    `go back to ${first + 7}`,
    `Go back to step ${first + 7}, or a checkpoint before it, and train in float32.`,
  ]);
});

test('how hard a rule cuts at most is told as a share of a step, and that it cuts none', () => {
  const [, , cut] = TRIED_FIGURES;
  const told = (smallestFactor: number | null) => figureText(cut!, { smallestFactor } as never, '–');
  expect([told(0.05), told(1), told(null)]).toEqual(['to 5 %', 'none', '–']);
});

test('what a run that is well noted is told, in the words of the finding, and its page has no blank line', () => {
  const note = (id: string, message: string): Finding =>
    ({ ...brokenTensor('note'), id, message }) as Finding;
  const well = makeRunReport(healthyRun());
  const jump = note('learning-rate-anomaly', '"lr" rises 102.6-fold to 0.362 at step 94');
  const slow = note('loss-spike', `"loss" grows ${'on and '.repeat(20)}on.`);
  const options = { width: 100, colour: false, ascii: false, rows: 24 };
  const pageOf = (...findings: Finding[]): string[] => {
    const run = { ...well, findings };
    return briefRun(run, makeReport([run]), options);
  };
  expect(pageOf()).toHaveLength(3);
  expect(pageOf(jump)[2]).toBe(`  Noted   ${jump.message}.`);
  expect(pageOf(jump)).toHaveLength(4);
  expect(pageOf(jump, slow)[2]).toBe(`  Noted   ${jump.message}. 1 more finding.`);
  expect(pageOf(slow)[2]).toBe('  Noted   Single losses far above the band.');
  expect(pageOf(jump)[3]).toContain('explain learning-rate-anomaly');
  // Pages that list all findings say it there, once.
  const noted = makeReport([{ ...well, findings: [jump] }]);
  for (const format of [html, markdown])
    expect(format.render(noted, options).split(/rises 102\.6-fold/)).toHaveLength(2);
  // One that is not well tells what is wrong, and no notes.
  const broken = { ...diverged(), findings: [jump] };
  expect(answerOf(broken, makeReport([broken])).parts.map(({ label }) => label)).not.toContain('Noted');
});

test.each([
  [brokenTensor('error').message, 'Error: 3 values of "w" are not finite.'],
  [`${'long '.repeat(40)}.`, 'Error: Parameters or optimizer state are NaN or infinite.'],
])('a finding is told by its words, or by its title where these are many: %s', (message, told) => {
  const run = { ...diverged(), findings: [{ ...brokenTensor('error'), message }] };
  expect(answerOf(run, makeReport([run])).parts.find(({ label }) => label === 'Also')?.text).toBe(told);
});

test.each([
  // The end without is what it is held against; null is no number.
  [0.5, 3, /^Try: go back to step 100.* and train in float32\.$/],
  [0.5, null, /^Try: go back to step 100/],
  [4, 3, undefined],
])(
  'a remedy of which too little was recorded ends at %f, without it at %s',
  (finalLoss, finalLossWithout, fix) => {
    const open = {
      ...tried('raise-precision', true),
      holds: null,
      outcome: null,
      finalLoss,
      finalLossWithout,
    };
    const run = { ...diverged(), remedies: [open] };
    const told = answerOf(run, makeReport([run])).parts.find(({ label }) => label === 'Fix');
    if (fix === undefined) expect(told).toBeUndefined();
    else {
      expect(told?.text).toMatch(fix);
      expect(told?.after).toMatch(
        /^Tried here: mean loss on normal batches 0\.5.*Too little was recorded to be sure that it holds\.$/,
      );
    }
  },
);

/** A finding as a detector or a capture gives it. */
const finding = (id: Finding['id'], severity: Finding['severity'], message: string): Finding => ({
  ...brokenTensor(severity),
  id,
  message,
  steps: [80, 100],
  series: 'loss',
});
const partOf = (run: Parameters<typeof answerOf>[0], label: string) =>
  answerOf(run, makeReport([run])).parts.find((part) => part.label === label);

test('that the loss is no number stands in the first line, and not under Also; that of another series does', () => {
  const { verdict, ...run } = diverged();
  const lost = {
    ...run,
    verdict: { ...verdict, class: 'non-finite' as const, series: 'loss' },
    findings: [finding('non-finite-loss', 'error', '"loss" is not finite at 3 of 9 points')],
  };
  expect(partOf(lost, 'Also')).toBeUndefined();
  const other = { ...lost, verdict: { ...lost.verdict, series: 'val_loss' } };
  expect(partOf(other, 'Also')?.text).toBe('Error: "loss" is not finite at 3 of 9 points.');
});

test('weights that moved otherwise than recorded put training and recording in doubt', () => {
  const run = { ...makeRunReport(healthyRun()), findings: [finding('capture-mismatch', 'warning', 'm')] };
  expect(partOf(run, 'Also')?.text).toMatch(
    /^Warning: between steps 80 and 100 the weights changed .* Either something else wrote .*, or the recording is wrong: look at /,
  );
});

test('a warning that does not fit is its title, and no part of a sentence', () => {
  const message = `Attempt 2 begins at step 74, ${'before the end of the one before, '.repeat(3)}so`;
  const run = {
    ...diverged(),
    findings: [finding('repeated-or-lost-steps', 'warning', message)],
    remedies: [{ ...tried('raise-precision', true), paste: 'one\n'.repeat(9) }],
  };
  const page = briefRun(run, makeReport([run]), { width: 80, rows: 24, colour: false, ascii: false });
  expect(page.find((line) => line.startsWith('  Also'))).toBe(
    '  Also    Warning: A resume repeats or loses steps.',
  );
});

test('a column of what was tried that is empty in each row is left out', () => {
  const titles = (one: Remedy): string[] => {
    const run = { ...diverged(), remedies: [one] };
    return figuresOf(answerOf(run, makeReport([run])).tried).map(({ title }) => title);
  };
  expect(titles(tried('raise-precision', true))).toEqual(['loss at the end']);
  expect(titles(tried('skip-batches', true))).toEqual(['loss at the end', 'changes healthy steps']);
});

describe('a cause against which nothing was tried', () => {
  const answerWith = (change: Partial<RunReport>) => {
    const run = diverged();
    const one = { ...run, remedies: [], advice: ['go on with half the learning rate'], ...change };
    return answerOf(one, makeReport([one]));
  };
  const causeOf = (trigger: string): never =>
    ({ ...diverged().cause, trigger, onsetStep: 110, evidence: [], statement: 'so' }) as never;
  const partOf = (answer: ReturnType<typeof answerOf>, label: string) =>
    answer.parts.filter((part) => part.label === label).map(({ text }) => text);

  test('of data: compare the batches, and no rule of thumb on the rate', () => {
    const [fix] = partOf(answerWith({ cause: causeOf('data') }), 'Fix');
    expect(fix).toMatch(/^Compare the rows and the labels of the batches from step \d+ on/);
    expect(fix).not.toContain('learning rate');
  });

  test('a checkpoint to go back to keeps the first letter of its path', () => {
    const rewind = { rewindToStep: 100, rewindToCheckpoint: 'runs/step-100.pt' } as never;
    const [fix] = partOf(answerWith({ cause: causeOf('data'), rewind }), 'Fix');
    expect(fix).toContain('From before it: runs/step-100.pt.');
  });

  test('not found: the look that distinguishes data from weights', () => {
    const [fix] = partOf(answerWith({ cause: causeOf('none-found') }), 'Fix');
    expect(fix).toMatch(/^Evaluate weights from after step \d+ on batches from before it/);
    expect(fix).not.toContain('learning rate');
  });

  test('of the rate: what there was', () => {
    const [fix] = partOf(answerWith({ cause: causeOf('learning-rate') }), 'Fix');
    expect(fix).toContain('Go on with half the learning rate.');
  });

  test('not found, where the audit names what the code did: that is why', () => {
    const broken = {
      id: 'optimizer-options',
      outcome: 'broken',
      statement: 'weightDecay is 200 from step 110 on, and was 0',
      fix: 'look for what writes it',
      follows: null,
    };
    const audit = { links: [broken] } as never;
    const answer = answerWith({ cause: causeOf('none-found'), audit });
    expect(partOf(answer, 'Why')).toEqual([
      'weightDecay is 200 from step 110 on, and was 0. Try: look for what writes it.',
    ]);
    expect(partOf(answer, 'Fix')).toEqual([]);
    expect(partOf(answer, 'Code')).toEqual([]);
  });
});

test('a process that ended leads a rise that was over before, and not one that goes on', () => {
  const job: RunReport['job'] = {
    ended: 'crashed',
    reason: 'out-of-memory',
    at: { line: 343, step: 338, time: null },
    rank: null,
    message: 'CUDA out of memory',
    gaps: [],
    resumes: [],
  };
  const crash = { ...brokenTensor('error'), id: 'job-crashed', message: 'The process ran out of memory' };
  const rose = {
    ...brokenTensor('warning'),
    id: 'micro-divergence',
    steps: [41, 43] as const,
    series: 'loss',
  };
  const pageWith = (kind: Incident['class'], recoveredStep: number | null): string => {
    const run = makeRunReport(healthyRun());
    const incident = rise(41, { class: kind, recoveredStep });
    const verdict = { ...run.verdict, class: kind, series: 'loss', onsetStep: 41, incidents: [incident] };
    const broken = { ...run, job, verdict, findings: [crash, rose] };
    const options = { width: 80, colour: false, ascii: false, rows: 24 };
    return briefRun(broken, makeReport([broken]), options).join('\n');
  };
  const over = pageWith('micro-divergence', 43);
  expect(over).toContain('CRASHED at step 338: out of memory');
  expect(over).toMatch(/Also +Warning/);
  expect(over).toContain('explain job-crashed');
  expect(pageWith('full-divergence', null)).toMatch(/^✗ DIVERGED at step 41/m);
});

test('steps that did not do what the code says are in the first line of a healthy loss, unless there is worse', () => {
  const link: AuditLink = {
    id: 'audit-accumulation',
    link: 'accumulation',
    outcome: 'broken',
    checks: 3,
    broken: 2,
    step: 180,
    tensor: null,
    index: null,
    cause: 'not-divided',
    factor: 8,
    residual: 0,
    residualDeclared: 900,
    confidence: 'shown',
    statement: 'the recorded gradient is 8 times that of the loss',
    fix: 'divide once',
    wouldTell: null,
    follows: null,
  };
  const finding = { ...brokenTensor('error'), id: link.id, message: `${link.statement}.` };
  const run = { ...makeRunReport(healthyRun()), audit: { links: [link], checks: 3, broken: 1 } };
  const titleWith = (...findings: Finding[]): string => {
    const broken = { ...run, findings };
    return answerOf(broken, makeReport([broken])).title;
  };
  expect(titleWith(finding)).toBe('GRADIENT 8 TIMES THAT OF THE LOSS at step 180, the loss is healthy');
  expect(titleWith(finding, brokenTensor('error'))).toBe('THE LOSS IS HEALTHY, THE RUN IS NOT');
  for (const name of AUDIT_LINKS)
    expect(brokenLinkHeadline({ ...link, link: name, step: 9_999_999 }, 'step').length).toBeLessThan(78);
});
