/** What `resume` says, check by check, broken ones first. */
import { Ansis } from 'ansis';
import { inertName } from '../model/inert-text.ts';
import type { Resume } from '../model/resume.ts';
import { OUTCOME_MARKS, OUTCOME_ORDER } from './audit-text.ts';
import type { RenderOptions } from './format.ts';
import { wrap } from './wrap.ts';

/** Width of the column of names. */
const NAMES = 21;

/** Pure. The answer in one line, then the checks. */
export function renderResume({ ok, checkpoint, checks, newestGood }: Resume, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const answer =
    ok === true ? 'may be resumed' : ok === false ? 'do not resume' : 'holds nothing to resume from';
  const better =
    newestGood === null || newestGood === checkpoint
      ? []
      : [`newest checkpoint that may be resumed: ${inertName(newestGood)}`];
  const lines = OUTCOME_ORDER.flatMap((outcome) =>
    checks
      .filter((check) => check.outcome === outcome)
      .flatMap(({ id, statement }) => {
        const text = OUTCOME_MARKS[outcome][options.ascii ? 1 : 0]!;
        const mark =
          outcome === 'broken' ? paint.red(text) : outcome === 'holds' ? paint.green(text) : paint.dim(text);
        const [first = '', ...others] = wrap(inertName(statement), options.width, ' '.repeat(NAMES));
        return [`${mark} ${id.padEnd(NAMES - 2)}${first.slice(NAMES)}`, ...others];
      }),
  );
  return [`${inertName(checkpoint)}: ${answer}`, ...better, ...lines].join('\n');
}
