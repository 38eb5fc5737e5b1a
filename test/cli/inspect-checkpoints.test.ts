import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixtures = 'fixtures/checkpoints';
const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-inspect-'));
afterAll(() => rmSync(scratch, { recursive: true }));

it('shows a capture, and what is lost of one', async () => {
  const capture = join(projectRoot, 'fixtures/captures/embedding');
  expect((await cli(['inspect', capture])).out).toMatch(/\n {2}1,269,572 bytes read, 0 lost\n/);
  const whole = await cli(['inspect', capture, '--verbose']);
  expect(whole).toMatchObject({ code: 0, err: '' });
  expect(whole.out).toMatch(/: capture, \d+ steps, \d+ to \d+; .*\n {2}bytes .* skipped \+ 0 lost\n/);
});

describe('inspect of checkpoints', () => {
  it('--json follows the contract, non-finite numbers as strings', async () => {
    const { code, out, err } = await cli(['inspect', `${fixtures}/safetensors/dtypes.safetensors`, '--json']);
    expect([code, err]).toEqual([0, '']);
    const [input] = JSON.parse(out).inputs;
    expect(input).toMatchObject({ kind: 'checkpoint', format: 'safetensors', framework: null });
    const tensor = input.tensors.find(({ name }: { name: string }) => name === 'f64');
    expect(tensor).toMatchObject({
      ...{ dtype: 'F64', shape: [6], role: 'parameter', elements: 6, min: 0, max: 1.5 },
      ...{ nan: 1, posInf: 1, negInf: 1, sum: 1.5 + 2 ** -20, flags: ['non-finite'] },
    });
    const empty = input.tensors.find(({ name }: { name: string }) => name === 'empty');
    expect(empty).toMatchObject({ elements: 0, sum: 0, min: null, max: null });
  });

  it('prints a table, and only names with --list', async () => {
    const path = `${fixtures}/pytorch/adagrad-zip.pt`;
    const { code, out } = await cli(['inspect', path]);
    expect(code).toBe(0);
    expect(out).toMatch(/pytorch-zip \(pytorch\), step 1,200, 24 tensors/);
    expect(out).toMatch(/accumulator of model\.head\.bias +F32 +3 .*constant/);
    expect((await cli(['inspect', path, '--list'])).out).not.toContain('norm ');
  });

  it('compares two checkpoints, and says what --diff needs', async () => {
    const [zip, legacy] = ['adagrad-zip.pt', 'adagrad-legacy.pt'].map(
      (name) => `${fixtures}/pytorch/${name}`,
    );
    const { code, out } = await cli(['inspect', zip!, legacy!, '--diff', '--json']);
    expect(code).toBe(0);
    const { diff } = JSON.parse(out);
    expect(diff.before.step).toBe(1200);
    expect(diff.tensors.length).toBeGreaterThan(15);
    expect((await cli(['inspect', zip!, '--diff'])).code).toBe(2);
  });

  it('a cut checkpoint shows what is whole and ends with code 3', async () => {
    const bytes = readFileSync(`${fixtures}/safetensors/model-step-1200.safetensors`);
    const path = join(scratch, 'cut.safetensors');
    writeFileSync(path, bytes.subarray(0, bytes.length - 20));
    const { code, out, err } = await cli(['inspect', path]);
    expect(code).toBe(3);
    expect(out).toContain('conv.weight');
    expect(out).not.toContain('linear.weight');
    expect(err).toContain('error[checkpoint-truncated]');
  });

  it('names a forbidden global and what to do, with code 3', async () => {
    const { code, out, err } = await cli(['inspect', 'fixtures/hostile/pickle-os-system.pt']);
    expect([code, out]).toEqual([3, '']);
    expect(err).toContain('error[pickle-forbidden]: the pickle names "posix.system"');
    expect(err).toContain('try: save a state_dict');
  });

  it('names a file that is no checkpoint and no log, where it can', async () => {
    const pickle = join(scratch, 'model.pkl');
    writeFileSync(pickle, Buffer.from('80049505000000000000007d942e', 'hex'));
    const { code, err } = await cli(['inspect', pickle]);
    expect(code).toBe(3);
    expect(err).toContain('error[format-unsupported]');
    expect(err).toContain('a Python pickle that PyTorch did not write');
  });

  it('says what a state file without weights is', async () => {
    expect((await cli(['inspect', `${fixtures}/pytorch/scheduler.pt`])).out).toContain(
      'no weights: state of a learning-rate scheduler',
    );
  });
});
