import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readArm } from '../../src/experiment/replay/read-arm.ts';

const rows = [{ step: 60, rows: [3, 20], ids: ['a/3', 20] }];

it('an arm of rows is read with their ids, or without', () => {
  const arm = { kind: 'skip-rows', steps: [60], rows };
  expect(readArm(arm)).toEqual(arm);
  expect(readArm({ ...arm, rows: [{ step: 60, rows: [3] }] })?.rows).toEqual([
    { step: 60, rows: [3], ids: null },
  ]);
});

it.each([
  ['none at all', undefined],
  ['no list', 3],
  ['an empty list', []],
  ['no rows of a batch', [{ step: 60, rows: [] }]],
  ['a place that is no whole number', [{ step: 60, rows: [1.5] }]],
  ['a place before the first', [{ step: 60, rows: [-1] }]],
  ['a step that is no number', [{ step: '60', rows: [1] }]],
  ['fewer ids than rows', [{ step: 60, rows: [1, 2], ids: ['a'] }]],
  ['an id that is an object', [{ step: 60, rows: [1], ids: [{}] }]],
])('an arm of rows that names %s is none', (_, given) => {
  expect(readArm({ kind: 'skip-rows', steps: [60], rows: given })).toBeNull();
});

it('whatever is stored, it is an arm or null, and other members are not kept', () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), fc.anything(), (value, kind, steps) => {
      for (const given of [value, { kind, steps, rows, made: 'up' }]) {
        const found = readArm(given);
        if (found === null) continue;
        expect(typeof found.kind).toBe('string');
        expect((found.steps ?? []).every(Number.isFinite)).toBe(true);
        expect(found).not.toHaveProperty('made');
      }
    }),
  );
});
