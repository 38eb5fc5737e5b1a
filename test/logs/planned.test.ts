/** Where training is to end, as its lines print it: the page says how far the log goes. */
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';

const lines = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i))
    .join('\n')
    .concat('\n');
const loss = (i: number): string => (0.3 + 2 * Math.exp(-i / 9)).toFixed(4);
const page = async (input: string): Promise<string> => (await cli(['analyze', '-'], { input })).out;
const batches = (epochs: number, of: string): string =>
  lines(
    4 * epochs,
    (i) => `Epoch [${1 + (i >> 2)}${of}], Step [${100 + 100 * (i % 4)}/469], Loss: ${loss(i)}`,
  );

describe('the range of steps', () => {
  it.each([
    ['steps', lines(18, (i) => `step ${10 * i + 10}/600 loss ${loss(i)}`), 'steps 10 to 180 of 600'],
    ['epochs', lines(17, (i) => `Epoch ${i + 1}/50 - loss: ${loss(i)}`), 'epochs 1 to 17 of 50'],
    ['batches of epochs', batches(3, '/10'), 'steps 100 to 1,338 of 4,690'],
  ])('says of how many, where a log of %s ends before', async (_, log, range) => {
    expect(await page(log)).toContain(range);
  });

  it.each([
    ['the last step', lines(60, (i) => `step ${10 * i + 10}/600 loss ${loss(i)}`)],
    ['the last record of it', lines(10, (i) => `[${100 * i + 100}/1050] loss=${loss(i)}`)],
    ['the last epoch of those counted from 0', lines(50, (i) => `Epoch ${i}/50 - loss: ${loss(i)}`)],
    ['the last epoch of batches', batches(3, '/3')],
    ['an epoch of which the number is not known', batches(3, '')],
    ['a log that begins in the last epoch', batches(3, '/3').split('\n').slice(8).join('\n')],
    ['a log that begins in a later epoch', batches(9, '/9').split('\n').slice(8).join('\n')],
    ['steps that begin again', lines(40, (i) => `[${(i % 10) + 1}/12] loss: ${loss(i)}`)],
  ])('says nothing of %s', async (_, log) => {
    const found = await page(log);
    expect(found).toMatch(/(?:steps|epochs|rows) \d/);
    expect(found).not.toMatch(/(?:steps|epochs|rows) \d[\d,]* to [\d,]+ of/);
  });
});
