/** Rules that a run is the same training as another one. Pure. */
import type { RunComparison } from '../../model/comparison.ts';
import { inconclusive, type Judged } from './judgement.ts';

/**
 * @param path the other run
 * @param comparison undefined where none was made: a saved report does not keep the points that it takes
 */
export function judgeSameAs(path: string, comparison: RunComparison | undefined): Judged {
  const expected = `the same training as ${path}`;
  if (comparison === undefined)
    return inconclusive(expected, null, 'a saved report keeps no points to compare; gate the log itself');
  const { verdict, statement, partsAt, end } = comparison;
  if (verdict === 'cannot-tell') return inconclusive(expected, null, statement);
  return {
    status: verdict === 'same' ? 'pass' : 'fail',
    expected,
    found: partsAt?.size ?? end?.relative ?? null,
    series: null,
    step: partsAt?.step ?? null,
    message: statement,
    locations: [],
  };
}
