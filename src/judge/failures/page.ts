/** The page of a known failure: `explain` prints it, docs/failures holds it. */
import { pageOf } from '../../model/markdown-page.ts';
import type { KnownFailure } from './failure.ts';

export const failurePage = ({ id, title, symptoms, docs }: KnownFailure): string =>
  pageOf([
    `# ${id}`,
    `${title}. A failure that a log alone may show.`,
    docs.summary,
    '## Evidence in the log',
    docs.evidence,
    '## What looks alike and is not it',
    docs.notThis,
    '## What to do, and what confirms it',
    docs.whatToDo,
    `Found by: ${symptoms.join(', ')}.`,
  ]);
