import { describe, expect, it } from 'vitest';
import { COMMAND_GROUPS } from '../../src/app/cli/help.ts';
import { COMMANDS } from '../../src/run.ts';
import { cli } from '../support/cli.ts';

const ids = Object.keys(COMMANDS).map((id) => id.replaceAll(':', ' '));

it('--help has every command once, in a group, with one line about it', async () => {
  const grouped = Object.values(COMMAND_GROUPS).flat();
  expect([...grouped].sort()).toEqual([...ids, 'help'].sort());
  const { out } = await cli(['--help']);
  for (const id of grouped) expect(out.match(new RegExp(`^ {2}${id} {2,}\\S`, 'gm')), id).toHaveLength(1);
  expect(out).not.toContain('<%=');
});

describe.each(ids)('%s --help', (id) => {
  it('names its values, has its groups and an example, and fits 80 columns', async () => {
    const { out } = await cli([...id.split(' '), '--help']);
    // `<value>` and `<option>` say nothing; a group of a regular expression is no such name.
    expect(out).not.toMatch(/<(value|option)s?>|<options:|\[default: \]/);
    expect(out).toMatch(/^EXAMPLES\n {2}\$? ?\S/m);
    expect(out.split('\n')[0]).not.toBe('');
    const examples = out.indexOf('EXAMPLES');
    for (const line of out.slice(0, examples).split('\n').slice(1))
      expect(line.length, line).toBeLessThanOrEqual(80);
  });
});
