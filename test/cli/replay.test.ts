import { cpSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';

const capture = 'fixtures/incident/capture';
const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-replay-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('replay', () => {
  it('prints a matrix, charts and the conclusion', async () => {
    const { code, out, err } = await cli(['replay', capture, '--verbose']);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('rule            verdict');
    expect(out).toContain('The loss leaves its band at step 400; clippy:paper first acts at step 380');
    expect(out).not.toContain('\u001b');
  });

  it('a gradient that is not finite has no factor and frees at no threshold', async () => {
    const { out } = await cli(['replay', 'fixtures/captures/nan', '--verbose']);
    const text = out.replace(/\s+/g, ' ');
    expect(text).toContain(
      'at step 450 gradient or state are not finite, which no factor cures; cannot tell',
    );
    expect(text).toContain('at 1 step, free at no absoluteThreshold');
    expect(text).not.toMatch(/its factor is \?|Threshold Inf/);
  });

  it('--json: one entry for each rule, in their order', async () => {
    const { code, out } = await cli([
      'replay',
      '--verbose',
      capture,
      '--json',
      '--mode',
      'open-loop',
      '--rule',
      'clippy',
      '--rule',
      'agc:{0.1,0.01}',
      '--rule',
      'none',
    ]);
    const document = JSON.parse(out);
    expect(code).toBe(0);
    expect(document.replay.map(({ rule, mode }: { rule: string; mode: string }) => [rule, mode])).toEqual(
      ['clippy', 'agc', 'agc', 'none'].map((rule) => [rule, 'open-loop']),
    );
    for (const entry of document.replay)
      for (const name of ['minClipFactor', 'updateNorm'])
        expect(entry[name]).toHaveLength(entry.steps.length);
  });

  it('a closed loop says the verdict of each task, and what another learning rate does', async () => {
    const { code, out } = await cli([
      'replay',
      '--verbose',
      capture,
      ...['--mode', 'closed-loop', '--rule', 'none', '--learning-rate-multiplier', '0.1,0.5,10'],
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(/none lr x0\.1 +prevented/);
    expect(out).toMatch(/none lr x10 +not-prevented/);
    expect(out).toContain('  tasks: click, like prevented; watch not-prevented');
    expect(out.replace(/\s+/g, ' ')).toMatch(/held by none lr x0\.1;.* not held by .*none lr x10/);
    // Its own last losses are in the band; on batches from before the incident it ends at twice what was usual.
    expect(out).not.toMatch(/none lr x0\.5 +prevented/);
  });

  it.each([
    ['--steps belongs to the closed loop', ['--steps', '3']],
    ['--model, --resume belong to the closed loop', ['--model', 'm.json', '--resume', 'x']],
    ['takes its steps in float32', ['--mode', 'closed-loop', '--precision', 'float64']],
  ])('usage: %s', async (problem, args) => {
    const { code, out, err } = await cli(['replay', capture, ...args]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(problem);
  });

  it('non-finite numbers are strings in JSON', async () => {
    const { out } = await cli(['replay', 'fixtures/captures/nan', '--json', '--rule', 'clippy']);
    expect(JSON.parse(out).replay[0].minClipFactor).toContain('NaN');
  });

  it.each([
    [['--rule', 'clipy'], 2, 'did you mean clippy?'],
    [['--rule', 'agc:{}'], 2, 'rule-grid-empty'],
    [['--rule', 'spam'], 2, 'rule-undefined'],
    [['--learning-rate-multiplier', '1,x'], 2, '"x" is no positive number'],
    [['--mode', 'sideways'], 2, 'sideways'],
  ])('%j: exit code %d', async (flags, code, text) => {
    const result = await cli(['replay', capture, ...flags]);
    expect(result.code).toBe(code);
    expect(result.err).toContain(text);
    expect(result.out).toBe('');
  });

  it('a capture that was cut is used as far as it goes, with code 3', async () => {
    const folder = join(scratch, 'cut');
    cpSync(capture, folder, { recursive: true });
    unlinkSync(join(folder, 'step-00000430.safetensors'));
    const { code, out, err } = await cli(['replay', folder, '--rule', 'clippy']);
    expect(code).toBe(3);
    expect(out).toContain('clippy:paper');
    expect(err).toContain('6 steps from step 430 on are lost');
  });

  it('shows what the user’s framework computed as recorded', async () => {
    const folder = join(scratch, 'recorded');
    cpSync(capture, folder, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(folder, 'capture.json'), 'utf8'));
    const steps = manifest.steps.map(({ step }: { step: number }) => step);
    manifest.replay = [
      {
        mode: 'closed-loop',
        rule: 'agc',
        label: 'agc:0.5',
        steps,
        loss: steps.map(() => 'NaN'),
        minClipFactor: steps.map(() => 0.5),
        updateNorm: steps.map(() => 1),
        verdict: 'prevented',
        confidence: 'exact',
        why: 'it came back',
      },
      { nonsense: true },
    ];
    writeFileSync(join(folder, 'capture.json'), JSON.stringify(manifest));
    const { out } = await cli(['replay', folder, '--rule', 'none', '--verbose']);
    expect(out).toContain('agc:0.5 (recorded)');
    expect(out).toContain('note: entry 1 of "replay" in capture.json is no replay');
    const { replay } = JSON.parse((await cli(['replay', folder, '--rule', 'none', '--json'])).out);
    expect(replay.map(({ source }: { source: string }) => source)).toEqual(['computed', 'recorded']);
  });
});
