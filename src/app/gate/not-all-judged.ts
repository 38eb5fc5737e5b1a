/** Whether the verdict of a report covers every loss record of its log. */
import type { GateProblem } from '../../model/gate.ts';
import type { RunReport } from '../../model/report.ts';

/** A verdict on a part of the log proves nothing of the rest. */
export function notAllJudged({ id: run, verdict: { coverage, provenBy } }: RunReport): GateProblem[] {
  const problem = (id: string, message: string): GateProblem[] => [{ exitCode: 4, id, run, message }];
  if (coverage === undefined || provenBy === undefined)
    return problem(
      'coverage-unknown',
      'the report has no `verdict.coverage` and `verdict.provenBy`: analyze the inputs again',
    );
  return provenBy.judged.holds === false ? problem('not-all-judged', provenBy.judged.statement) : [];
}
