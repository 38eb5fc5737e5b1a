import { expect, test } from 'vitest';
import { findingTypeOf } from '../../src/judge/findings/registry.ts';
import { incidentClause, incidentHeadline, incidentTitle } from '../../src/model/incident-words.ts';

test.each([
  [
    'micro-divergence',
    'The loss rose and came back, or settled a little higher',
    'ROSE at step 4',
    'x rose at step 4, back at 9',
  ],
  ['drift', 'The loss went up and stays up', 'WENT UP from step 4', 'x went up from step 4'],
  [
    'full-divergence',
    'The loss diverged and did not come back',
    'DIVERGED at step 4',
    'x diverged at step 4, back at 9: too late',
  ],
  [
    'non-finite',
    'The loss is not a number (NaN or infinite)',
    'NOT A NUMBER from step 4',
    'x is not a number from step 4',
  ],
] as const)('%s has one word for all that tell of it', (name, title, headline, clause) => {
  expect(incidentTitle(name)).toBe(title);
  expect(incidentHeadline(name, 'step 4')).toBe(headline);
  const back = clause.includes('back') ? '9' : null;
  expect(incidentClause(name, 'x', 'step 4', back)).toBe(clause);
  const id = name === 'non-finite' ? 'non-finite-loss' : name;
  expect(findingTypeOf(id)?.title).toBe(title);
});

test('a rise that the log does not see the end of is high only where it stands high', () => {
  expect(incidentHeadline('inconclusive', 'step 4')).toBe(
    'HIGH since step 4, too soon to tell whether it stays',
  );
  expect(incidentHeadline('inconclusive', 'step 4', true)).toBe(
    'ROSE at step 4, too soon to tell whether it is over',
  );
});
