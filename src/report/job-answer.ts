/** The answer of a run whose process ended in an error while its loss was well: what ended it, where, and what to do. */
import { formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { JOB_REASON_WORDS, jobEndClause } from '../model/job-words.ts';
import type { RunReport } from '../model/report.ts';
import { isOver } from './where-it-ends.ts';

interface JobAnswer {
  /** CRASHED at step 812: out of memory on rank 3 */
  readonly title: string;
  /** Whether the program ended itself in an error; else it was ended from outside. */
  readonly isError: boolean;
  readonly why: string;
  readonly fix: string;
}

/** Characters of the quoted message. */
const LONGEST_QUOTE = 160;

/** A message with its end, as a sentence before another. */
function quoted(message: string): string {
  const text = message.length > LONGEST_QUOTE ? `${message.slice(0, LONGEST_QUOTE).trimEnd()}…` : message;
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

/**
 * Null where the process did not end early, and where the loss itself is wrong at its end: then the incident leads, and the end of
 * the process is a further finding. A rise that is over ended nothing.
 */
export function jobAnswer(run: RunReport): JobAnswer | null {
  const { job, verdict, findings, stepUnit } = run;
  const finding = findings.find(({ id }) => id === 'job-crashed');
  const isLossWell =
    verdict.class === 'healthy' ||
    (verdict.class === 'inconclusive' && verdict.onsetStep === null) ||
    isOver(run);
  if (job === undefined || finding === undefined || !isLossWell) return null;
  const step = job.at?.step ?? null;
  const where = step === null ? '' : ` at ${stepUnit} ${formatCount(step)}`;
  const what = job.reason === null ? '' : `: ${JOB_REASON_WORDS[job.reason].short}`;
  const rank = job.rank === null ? '' : ` on rank ${job.rank}`;
  // The file alone: its folder is in the line of the log.
  const frame =
    job.at?.frame === undefined ? '' : `, raised at ${inertName(job.at.frame.replace(/^.*[\\/]/, ''))}`;
  const line = job.at?.line == null ? '' : ` (line ${formatCount(job.at.line)}${frame})`;
  const said = job.message === null ? '' : `: ${quoted(inertName(job.message))}`;
  return {
    title: `${job.ended === 'killed' ? 'KILLED' : 'CRASHED'}${where}${what}${rank}`,
    isError: finding.severity === 'error',
    why: `The process ${jobEndClause(job)}${line}${said}`,
    fix: JOB_REASON_WORDS[job.reason ?? 'exception'].next,
  };
}
