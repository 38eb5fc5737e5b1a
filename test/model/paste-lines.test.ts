/** The table of lines for training scripts: every trainer can lower a rate, and no line has a name that nothing fills. */
import { describe, expect, it } from 'vitest';
import { PASTE_LINES, type PastePurpose, pasteLine } from '../../src/model/paste-lines.ts';
import { TRAINING_LOOPS } from '../../src/model/training-loop.ts';
import { RULES } from '../../src/step/rules/registry.ts';

/** Names that each purpose fills. Those of a rule are its options. */
const NAMES: Readonly<Partial<Record<PastePurpose, readonly string[]>>> = {
  rate: ['rate'],
  'rate by group': ['rates'],
  'rate factor': ['factor'],
  'decay factor': ['factor'],
  'skip step': ['first'],
  'skip range': ['first', 'last', 'end'],
  'skip steps': ['steps'],
  'skip rows': ['ids'],
};

const options = Object.values(RULES).flatMap((rule) => rule.options.map(({ name }) => name as string));

describe.each(TRAINING_LOOPS)('%s', (loop) => {
  it('can set a rate', () => {
    expect(pasteLine(loop, 'rate', { rate: 0.003 })).toContain('0.003');
  });

  it.each(Object.entries(PASTE_LINES[loop]))('%s names only what is filled', (purpose, line) => {
    const used = [...line.matchAll(/\{\{(\w+)\}\}/g)].map(([, name]) => name!);
    expect(used.length).toBeGreaterThan(0);
    for (const name of used) expect(NAMES[purpose as PastePurpose] ?? options).toContain(name);
  });
});

it('a name without a value is an error, not an empty place in a script', () => {
  expect(() => pasteLine('torch', 'rate', { rte: 1 })).toThrow('"rate" has no rate');
});

it('a set of steps keeps the braces of Python', () => {
  expect(pasteLine('torch', 'skip steps', { steps: '3, 7' })).toBe('if step in {3, 7}: continue');
});

it('where the loop is not known only batches can be left out', () => {
  expect(pasteLine(null, 'skip step', { first: 4 })).toBe('if step == 4: continue');
  expect(pasteLine(null, 'rate', { rate: 1 })).toBeNull();
});
