/** No line of a page contradicts another: pages of fixtures, and of runs drawn by seed; a thousand more in one-story.long. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contradictionsIn, contradictionsOfMade, reported } from '../support/made-pages.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('one-story');
const fixtures = ['fixtures/logs', 'fixtures/conventions', 'fixtures/job']
  .map((path) => join(projectRoot, path))
  .filter((path) => existsSync(path))
  .flatMap((path) => readdirSync(path).map((name) => join(path, name)));

describe('no line of a page contradicts another', () => {
  it.each([...fixtures, join(projectRoot, 'fixtures/incident/log.jsonl')])('%s', async (path) => {
    // What is refused has no page.
    const report = await reported(path).catch(() => null);
    if (report !== null) expect(contradictionsIn(report)).toEqual([]);
  });

  it('of 200 made runs', async () => {
    expect(await contradictionsOfMade(scratch(), 0, 200)).toEqual([]);
  });
});
