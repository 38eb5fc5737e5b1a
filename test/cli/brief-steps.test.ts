/** What replay and curvature say first: the answer in plain words, failures last, on a screen of 80 columns. */
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';

/** Words of the method, which nobody needs who asks what to do. */
const JARGON = /P⁻¹H|P\^|2\/η|\bband\b|\|r\||HVP|as recorded|open loop|residual|eigenvalue|prevented/;

const page = async (...args: string[]): Promise<string[]> => {
  const { out } = await cli(args, { env: { COLUMNS: '80' } });
  const lines = out.trimEnd().split('\n');
  expect(lines.length).toBeLessThanOrEqual(24);
  for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
  expect(out).not.toMatch(JARGON);
  expect(lines.at(-1)).toContain('More: --verbose');
  return lines;
};

describe('replay', () => {
  it('has the answer first, and the rule that fails last', async () => {
    const lines = await page('replay', 'fixtures/incident/capture');
    expect(lines[0]).toBe('The incident begins at step 400. 1 of 5 rules holds, 4 not judged.');
    const rows = lines.filter((line) => /holds? |cannot tell/.test(line) && /%/.test(line));
    expect(rows).toHaveLength(6);
    expect(rows.at(-1)).toMatch(/^none +does not hold/);
    expect(lines.join(' ')).toContain('An estimate: each rule is tried on the recorded steps');
    expect(lines.join(' ').replace(/ +/g, ' ')).toContain(
      'Cannot tell: it takes more than a tenth off the usual updates before step 400 too',
    );
  });

  it('says why nothing can be judged', async () => {
    const lines = await page('replay', 'fixtures/captures/nan');
    expect(lines[0]).toBe('The incident begins at step 450. No rule can be judged.');
    expect(lines.join(' ').replace(/ +/g, ' ')).toContain(
      'Cannot tell: the gradient of step 450 is not finite',
    );
  });

  it('has the loss at the end where it trained again, and does not call that an estimate', async () => {
    const lines = await page(
      ...['replay', 'fixtures/captures/seed-2', '--mode', 'closed-loop'],
      ...['--rule', 'none', '--rule', 'global-norm:1'],
    );
    expect(lines[0]).toMatch(/^Trained again from step \d+\. The rule holds\.$/);
    expect(lines.join('\n')).toMatch(/^global-norm:1 +holds +0\.\d+ /m);
    expect(lines.join('\n')).not.toMatch(/estimate/);
    expect(lines.join(' ').replace(/ +/g, ' ')).toContain('The loss at the end is that on reference batches');
  });
});

describe('curvature', () => {
  it('compares with what the learning rate tolerates', async () => {
    const lines = await page('curvature', 'fixtures/incident/capture', '--at', '400');
    expect(lines[0]).toBe('TOO STEEP at step 400: 8.65 times what learning rate 0.5 tolerates');
    expect(lines.join(' ')).toContain('stable up to a');
  });

  it('says that a search did not converge, not a number', async () => {
    const { out, code } = await cli(['curvature', 'fixtures/incident/capture', '--max-products', '2']);
    expect(code).toBe(4);
    expect(out).toMatch(/^NOT CONVERGED at step 380: /);
  });

  it('gives the whole page where more was asked for than one value', async () => {
    const { out } = await cli(['curvature', 'fixtures/incident/capture', '--top', '2']);
    expect(out).toMatch(/eigenvalue +converged/);
  });
});
