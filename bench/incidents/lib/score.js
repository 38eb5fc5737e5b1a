/** Scores the answers of a tool against the truth of the cases. Pure: the same answers give the same scores. */
import { median, share } from './intervals.js';
import { QUESTIONS, SAME_REMEDY } from './words.js';

/** An onset counts as met within this many steps of its window. */
export const NEAR = 10;
/** A factor counts as right within this share of it. */
const FACTOR_TOLERANCE = 0.01;

const asList = (value) =>
  Array.isArray(value) ? value : value === null || value === undefined ? [] : [value];

/** Whether a question about a case has an answer that can be found from this evidence. */
export function isKnowable(truth, evidence, question) {
  return !(truth.cannotBeKnownFrom?.[evidence] ?? []).includes(question);
}

/**
 * Steps between an onset and the window of the truth: 0 within it.
 * @param {number} onset
 * @param {{ first: number, last: number }} window both ends included
 */
export function onsetError(onset, window) {
  return onset < window.first ? window.first - onset : Math.max(0, onset - window.last);
}

const IS_RIGHT = {
  link: (truth, said) => asList(truth.links).includes(said),
  trigger: (truth, said) => asList(truth.triggers).includes(said),
  tensor: (truth, said) => asList(truth.tensors).includes(said),
  factor: (truth, said) => typeof said === 'number' && Math.abs(said / truth.factor - 1) <= FACTOR_TOLERANCE,
};

/** Whether the truth has an answer to a question at all. */
const HAS_ANSWER = {
  link: (truth) => asList(truth.links).length > 0,
  trigger: (truth) => asList(truth.triggers).length > 0,
  tensor: (truth) => asList(truth.tensors).length > 0,
  factor: (truth) => typeof truth.factor === 'number',
};

/** What is expected of a case at a level of evidence: an alarm, none, or either (something is wrong that this evidence does not show). */
export function expectedAlarm(truth, evidence) {
  if (!truth.alarm) return 'none';
  return truth.visibleIn.includes(evidence) ? 'alarm' : 'either';
}

function judgeRemedy(truth, answer) {
  const holding = truth.remedies.filter(({ holds }) => holds === true).map(({ action }) => action);
  if (holding.length === 0) return null;
  const first = asList(answer.remedies)[0];
  return holding.includes(SAME_REMEDY[first] ?? first);
}

/**
 * Judges one answer.
 * @param {object} truth content of truth.json
 * @param {object | null} answer what the tool printed; null where it failed
 * @param {string} evidence level that the tool was shown
 * @returns {object} one entry a measure: true, false, a number, or null where the measure does not apply
 */
export function judge(truth, answer, evidence) {
  const said = answer ?? {};
  const expected = expectedAlarm(truth, evidence);
  const judged = {
    id: truth.id,
    kind: truth.kind,
    fault: truth.family.fault,
    failed: answer === null,
    detected: expected === 'alarm' ? said.alarm === true : null,
    falseAlarm: expected === 'none' ? said.alarm === true : null,
    abstained: expected === 'either' ? null : said.alarm === null,
    class: null,
    onsetError: null,
    onsetNear: null,
    remedy: null,
    honoured: {},
    right: {},
  };
  if (expected === 'alarm') {
    judged.class = truth.classes.includes(said.class);
    if (truth.onset !== null && isKnowable(truth, evidence, 'onset')) {
      const error = typeof said.onset === 'number' ? onsetError(said.onset, truth.onset) : null;
      judged.onsetError = error;
      judged.onsetNear = error !== null && error <= NEAR;
    }
    judged.remedy = judgeRemedy(truth, said);
  }
  if (truth.alarm) {
    for (const question of QUESTIONS) {
      const claimed = said[question] !== null && said[question] !== undefined;
      // A tool that failed said nothing, which is not the same as saying that it cannot tell.
      if (!isKnowable(truth, evidence, question)) judged.honoured[question] = judged.failed ? null : !claimed;
      else if (HAS_ANSWER[question](truth))
        judged.right[question] = claimed && IS_RIGHT[question](truth, said[question]);
    }
  }
  return judged;
}

const count = (rows, pick) => {
  const judged = rows.map(pick).filter((value) => value !== null && value !== undefined);
  return share(judged.filter(Boolean).length, judged.length);
};

/** Questions that a tool ever answers: an abstention counts only where the tool could have claimed something. */
function everAnswered(answers) {
  return new Set(
    QUESTIONS.filter((question) =>
      answers.some((a) => a !== null && a[question] !== null && a[question] !== undefined),
    ),
  );
}

function honouredOf(rows, questions) {
  const pairs = rows.flatMap(({ honoured }) =>
    Object.entries(honoured).filter(([question, kept]) => kept !== null && questions.has(question)),
  );
  return share(pairs.filter(([, kept]) => kept).length, pairs.length);
}

function measuresOf(rows, questions, seconds) {
  return {
    detection: count(rows, (row) => row.detected),
    falseAlarm: count(rows, (row) => row.falseAlarm),
    abstained: count(rows, (row) => row.abstained),
    class: count(rows, (row) => row.class),
    onsetNear: count(rows, (row) => row.onsetNear),
    onsetError: median(rows.map((row) => row.onsetError).filter((error) => error !== null)),
    link: count(rows, (row) => row.right.link),
    trigger: count(rows, (row) => row.right.trigger),
    tensor: count(rows, (row) => row.right.tensor),
    factor: count(rows, (row) => row.right.factor),
    remedy: count(rows, (row) => row.remedy),
    honoured: honouredOf(rows, questions),
    failed: count(rows, (row) => row.failed),
    seconds: median(seconds),
  };
}

/**
 * Scores a tool.
 * @param {readonly { truth: object, answer: object | null, seconds: number }[]} results one entry a case, twins among them
 * @param {string} evidence level that the tool was shown
 * @returns {{ evidence: string, n: number, measures: object, byFault: object, worst: object[], cases: object[] }}
 */
export function score(results, evidence) {
  const rows = results.map(({ truth, answer }) => judge(truth, answer, evidence));
  const questions = everAnswered(results.map(({ answer }) => answer));
  const byFault = {};
  for (const fault of [...new Set(rows.map((row) => row.fault))].sort()) {
    const own = rows.filter((row) => row.fault === fault);
    byFault[fault] = measuresOf(own, questions, []);
  }
  return {
    evidence,
    n: rows.length,
    measures: measuresOf(
      rows,
      questions,
      results.map(({ seconds }) => seconds),
    ),
    byFault,
    worst: worstOf(byFault),
    cases: rows,
  };
}

/** Families with the lowest detection, or the most false alarms, first. */
function worstOf(byFault) {
  return Object.entries(byFault)
    .map(([fault, { detection, falseAlarm }]) => ({
      fault,
      missed: detection.n - detection.hits,
      of: detection.n,
      falseAlarms: falseAlarm.hits,
      healthy: falseAlarm.n,
    }))
    .filter(({ missed, falseAlarms }) => missed + falseAlarms > 0)
    .sort((a, b) => b.missed + b.falseAlarms - (a.missed + a.falseAlarms) || a.fault.localeCompare(b.fault));
}

/**
 * Measures that fell below a floor.
 * @param {object} measures of `score`
 * @param {Record<string, { least?: number, most?: number }>} floor shares from 0 to 1
 * @returns {string[]} one sentence for each
 */
export function falls(measures, floor) {
  return Object.entries(floor).flatMap(([name, { least, most }]) => {
    const value = measures[name]?.share ?? null;
    if (value === null) return [`${name}: no case measures it`];
    if (least !== undefined && value < least) return [`${name} is ${value.toFixed(3)}, below ${least}`];
    if (most !== undefined && value > most) return [`${name} is ${value.toFixed(3)}, above ${most}`];
    return [];
  });
}
