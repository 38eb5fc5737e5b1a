/** What replay and curvature say first: the answer in plain words, failures last, on a screen of 80 columns. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import { briefCurvature, briefReplay } from '../../src/report/brief-steps.ts';
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

describe('replay of what was trained in the own framework too', () => {
  const entry = (more: Partial<ReplayEntry>): ReplayEntry => ({
    ...{ mode: 'as-recorded', rule: 'none', options: {}, optimizer: 'adagrad', steps: [1, 2, 3], loss: null },
    ...{ minClipFactor: [1, 1, 1], updateNorm: [1, 1, 1], firstEngagedStep: null, engagedFraction: 0 },
    ...{
      ended: { reason: 'completed', step: 3 },
      verdict: 'cannot-tell',
      confidence: 'exact',
      why: 'it acts',
    },
    ...{ bottleneck: null, onsetStep: 2 },
    ...more,
  });
  const trained = (more: Partial<ReplayEntry>): ReplayEntry =>
    entry({ mode: 'closed-loop', source: 'recorded', loss: [1, 1, 1], verdict: 'not-prevented', ...more });
  const entries = [
    entry({ verdict: 'not-prevented' }),
    entry({ rule: 'global-norm', label: 'global-norm:1' }),
    entry({ rule: 'agc', label: 'agc:0.01', why: 'its updates stay large' }),
    trained({}),
    trained({ rule: 'global-norm', label: 'global-norm:1', verdict: 'prevented', loss: [0.2, 0.2, 0.2] }),
    trained({ label: 'none, guard', arm: { kind: 'guard' }, verdict: 'cannot-tell', why: 'it is too short' }),
  ];
  const more = { findings: [], notes: [], trains: false };
  const page = briefReplay(entries, more, { width: 80, colour: false, ascii: false });

  it('has each rule once, by what was trained, and counts rules apart from other changes', () => {
    expect(page.split('\n')[0]).toBe(
      'The incident begins at step 2. 1 of 2 rules holds, 1 not judged. None of 1 other',
    );
    const rows = page.split('\n').filter((line) => / never /.test(line));
    expect(rows.map((row) => row.split(/ {2,}/).slice(0, 2).join(': '))).toEqual([
      'global-norm:1: holds',
      'agc:0.01: cannot tell',
      'guard: cannot tell',
      'none: does not hold',
    ]);
    expect(page).not.toMatch(/recorded\)/);
  });
  it('says of which rule it cannot tell, where reasons differ, and offers no mode that cannot run', () => {
    const text = page.replace(/\s+/g, ' ');
    expect(text).toContain('Cannot tell for agc:0.01: its updates stay large');
    expect(text).toContain('Cannot tell for guard: it is too short');
    expect(text).toContain('was trained again in your own framework');
    expect(text).not.toContain('--mode closed-loop');
    const alone = briefReplay(entries.slice(0, 3), more, { width: 80, colour: false, ascii: false });
    expect(alone.replace(/\s+/g, ' ')).not.toContain('--mode closed-loop');
  });
});

it.each([['replay'], ['curvature'], ['matrix'], ['inspect', '--check']])(
  '%s of a recorder that saw no incident says so, not that the folder is wrong',
  async (...args) => {
    const folder = mkdtempSync(join(tmpdir(), 'no-incident-'));
    writeFileSync(join(folder, 'status.json'), '{"steps":400,"stopped":null,"problems":[]}');
    const { err, code } = await cli([...args, folder]);
    expect(code).toBe(3);
    expect(err).toContain('error[recorder-without-capture]');
    expect(err).toContain('saw 400 steps and no incident in their losses');
  },
);

describe('curvature', () => {
  it('compares with what the learning rate tolerates', async () => {
    const lines = await page('curvature', 'fixtures/incident/capture', '--at', '400');
    // Adagrad: the limit is right for a step with its state held, and no forecast of a run.
    expect(lines.slice(0, 2).join(' ')).toBe(
      'Steepness at step 400: 8.65 times the limit at learning rate 0.5; no forecast for this optimizer',
    );
    const text = lines.join(' ').replace(/\s+/g, ' ');
    expect(text).not.toMatch(/TOO STEEP|Stable|stable up to/);
    expect(text).toContain('`clippy-diag preflight` tries learning rates.');
  });

  const entryOf = (step: number, ratio: number, stability: object): CurvatureEntry => ({
    ...{
      checkpoint: `step-${step}`,
      step,
      method: 'lanczos',
      operator: 'hessian',
      block: 'all',
      task: 'all',
    },
    ...{ eigenvalues: [{ value: 4 * ratio, residualNorm: 0, converged: true, iterations: 3 }] },
    ...{ largestMagnitude: 4 * ratio, hvpCount: 3, hvpMethod: 'double-backward', seed: 0, backend: 'js' },
    ...{ source: 'computed', stability: { learningRate: 0.5, limit: 4, ratio, ...stability } },
  });
  const said = (entries: readonly CurvatureEntry[]): string =>
    briefCurvature(entries, true, false, { width: 200, colour: false, ascii: false })!;
  it.each([
    ['plain SGD', { forecast: true }, /^TOO STEEP at step 9: 2 times what learning rate 0.5 tolerates\n/],
    ['momentum', { forecast: false }, /^Steepness at step 9: 2 times the limit .*; no forecast for this opt/],
    [
      'what a recorder did not tell',
      {},
      /^Steepness at step 9: 2 times the .*; a forecast for plain SGD alone/,
    ],
  ])('gives a verdict where the limit is a forecast: %s', (_, stability, head) => {
    expect(said([entryOf(9, 2, stability)])).toMatch(head);
  });
  it('compares with the past of the run, and has rates only where they are a forecast', () => {
    const places = (forecast: boolean) =>
      said([1, 3, 2, 8].map((ratio, k) => entryOf(100 * k, ratio, { forecast })));
    expect(places(false)).toMatch(/^Steepness at step 300: 8 times .* \(before: 1 to 3\); no forecast/);
    expect(places(false)).not.toContain('stable up to');
    expect(places(true)).toMatch(/^TOO STEEP at step 300: 8 times/);
    expect(places(true)).toContain('stable up to');
  });

  const checkpoint = (path: string, ...more: string[]) =>
    page(
      ...['curvature', '--model', 'fixtures/incident/capture/model.json'],
      ...['--batch', 'fixtures/incident/capture/step-00000380.safetensors'],
      ...['--checkpoint', `fixtures/incident/checkpoints${path}`, ...more],
    );
  it('of checkpoints that nothing is known to compare with has their values, and says what to name', async () => {
    const { out } = await cli(
      [
        ...['curvature', '--model', 'fixtures/incident/capture/model.json'],
        ...['--batch', 'fixtures/incident/capture/step-00000380.safetensors'],
        ...['--checkpoint', 'fixtures/incident/checkpoints'],
      ],
      { env: { COLUMNS: '80' } },
    );
    expect(out).toMatch(/^Steepness at step 200: 28\.3; what the learning rate tolerates is not known\n/);
    expect(out).toContain('--optimizer\n  adagrad:learningRate=0.1');
    expect(out).toMatch(/^380 {3}51\.1$/m);
  });
  it('of a checkpoint of another optimizer says why there is no limit', async () => {
    const lines = await checkpoint('/step-380.pt', '--optimizer', 'adam');
    expect(lines.join(' ').replace(/\s+/g, ' ')).toContain('the checkpoint has no m, v');
  });
  it('names the place to compare with that there is', async () => {
    const of = async (...args: string[]) => (await page(...args)).join(' ').replace(/\s+/g, ' ');
    expect(await of('curvature', 'fixtures/incident/capture')).toContain('with steps before (--at STEP)');
    const one = (await checkpoint('/step-380.pt', '--optimizer', 'adagrad')).join(' ').replace(/\s+/g, ' ');
    expect(one).toContain('with checkpoints before (--checkpoint FOLDER)');
  });

  it('says that a search did not converge, not a number', async () => {
    const { out, code } = await cli(['curvature', 'fixtures/incident/capture', '--max-products', '2']);
    expect(code).toBe(4);
    expect(out).toMatch(/^NOT CONVERGED at step 380: /);
  });

  it('says of which value a note is that is not of all', async () => {
    const { out } = await cli(['curvature', 'fixtures/incident/capture', '--task', 'each', '--top', '2']);
    const notes = out.split('\n').filter((line) => line.startsWith('note: '));
    expect(notes.length).toBeGreaterThan(1);
    for (const note of notes) expect(note).toMatch(/^note: (H|P\^.*?)(, (click|watch|like))?[;:]/);
  });

  it('gives the whole page where more was asked for than one value', async () => {
    const { out } = await cli(['curvature', 'fixtures/incident/capture', '--top', '2']);
    expect(out).toMatch(/eigenvalue +converged/);
  });
});
