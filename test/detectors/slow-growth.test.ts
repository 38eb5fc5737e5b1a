import { expect, it } from 'vitest';
import { slowGrowth } from '../../src/judge/detectors/slow-growth.ts';
import { findingsOf, makeRun, normals } from './runs.ts';

const FROM = 1400;
/** The loss of a language model, with 2 % of noise, times a factor from a step on. */
const runWith = (factor: (i: number) => number) =>
  makeRun([
    {
      name: 'loss',
      values: Array.from({ length: 2000 }, normals(5)).map(
        (noise, i) =>
          (2.6 + 8 * Math.exp(-i / 60) + 0.8 * Math.exp(-i / 700)) *
          (i < FROM ? 1 : factor(i - FROM)) *
          (1 + 0.02 * noise),
      ),
    },
  ]);
const told = (factor: (i: number) => number): string[] =>
  findingsOf(slowGrowth, runWith(factor)).map(({ message }) => message);

it('names a level that rises by 15 %, which is no incident, and where it ends', () => {
  const [message, ...more] = told(() => 1.15);
  expect(more).toEqual([]);
  expect(message).toMatch(
    /best level of 2\.7\d* from step 1(39|40)\d on; its median is 3\.\d+ at step 1[45]\d\d and 3\.0\d* at the end\.$/,
  );
});

it('says that a hump is over', () => {
  const [message] = told((i) => 1 + 0.2 * Math.exp(-(((i - 200) / 100) ** 4)));
  expect(message).toMatch(/ and 2\.\d+ at the end\.$/);
});

it('leaves out a player of a GAN, whose loss grows as the other learns', () => {
  const value = [...runWith(() => 1.15).series[0]!.value];
  const run = makeRun([
    { name: 'generator_loss', role: 'loss', values: value },
    { name: 'discriminator_loss', role: 'task_loss', values: value },
  ]);
  expect(findingsOf(slowGrowth, run)).toEqual([]);
});

it.each([
  ['nothing changes', () => 1],
  [
    'the level moves by 7 %, as between shards of data',
    (i: number) => (Math.floor(i / 150) % 2 === 0 ? 1.07 : 1),
  ],
])('says nothing where %s', (_, factor) => {
  expect(told(factor)).toEqual([]);
});
