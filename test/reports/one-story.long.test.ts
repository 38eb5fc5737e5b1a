/** No line of a page contradicts another, on a thousand made runs. */
import { expect, it } from 'vitest';
import { contradictionsOfMade } from '../support/made-pages.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('one-story-long');

it('of 1,000 made runs no page contradicts itself', async () => {
  expect(await contradictionsOfMade(scratch(), 1000, 1000)).toEqual([]);
});
