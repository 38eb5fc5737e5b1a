/** Bisection of the versions of packages: each trial's list is installed by pip, from wheels that are made here. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { requirementsOf } from '../../src/app/bisect/versions.ts';
import type { Bisect } from '../../src/model/bisect.ts';
import { cli } from '../support/cli.ts';
import { pythonWith } from '../support/python.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('bisect-versions');
const python = pythonWith('pip');

/** A wheel is an archive with the module and three files about it. */
const MAKE_WHEELS = `
import sys, zipfile
for text in sys.argv[2:]:
    name, version, code = text.split("=", 2)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(f"{sys.argv[1]}/{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
`;

/** Descent on a parabola; what a step subtracts comes from one package, what the loss is from the other. */
const TRAIN = `
import json, subprocess, sys, tempfile
wheels, versions = sys.argv[1:]
site = tempfile.mkdtemp(dir=wheels)
subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check",
                "--find-links", wheels, "--target", site, "-r", versions], check=True)
sys.path.insert(0, site)
import toy_losses, toy_steps
x = 3.0
for step in range(60):
    print(json.dumps({"step": step, "loss": toy_losses.loss(x)}))
    x = toy_steps.step(x, step)
`;

it.skipIf(python === undefined)(
  'finds the package whose version did it (skipped where Python has no pip)',
  async () => {
    const world = scratch();
    const at = (path: string): string => join(world, path);
    const noise = '0.1 * math.sin(7 * step)';
    const wheels = [
      'toy_losses=1.0=def loss(x): return x * x + 0.5',
      'toy_losses=1.1=def loss(x): return 0.5 + x ** 2',
      `toy_steps=1.0=import math\ndef step(x, step): return x - 0.1 * (2 * x + ${noise})`,
      `toy_steps=2.0=import math\ndef step(x, step): return x - 1.02 * (2 * x + ${noise})`,
      'toy_unused=3=',
    ];
    execFileSync(python!, ['-c', MAKE_WHEELS, world, ...wheels]);
    writeFileSync(at('good.txt'), '# as of May\nToy.Losses==1.0\ntoy-steps == 1.0  # ours\n');
    writeFileSync(at('bad.txt'), 'toy_losses==1.1\ntoy_steps==2.0\ntoy-unused==3\n');
    writeFileSync(at('train.py'), TRAIN);
    writeFileSync(at('config.json'), '{}');
    const { code, out } = await cli([
      ...['bisect', '--good', at('config.json'), '--versions', `${at('good.txt')},${at('bad.txt')}`],
      ...['--folder', at('trials'), '--json', '--', python!, at('train.py'), world, '{versions}'],
    ]);
    const { bisect } = JSON.parse(out) as { bisect: Bisect };
    expect(bisect.statement, JSON.stringify(bisect)).toContain('toy-steps');
    expect(code).toBe(0);
    expect(bisect.differing).toBe(3);
    expect(bisect.changes).toEqual([
      { kind: 'version', name: 'toy-steps', good: 'toy-steps == 1.0', bad: 'toy_steps==2.0' },
    ]);
  },
);

it('reads lists as pip does', () => {
  const text = [
    '--index-url https://example.org/simple',
    '-e git+https://example.org/a.git@main#egg=My_Net',
    'torch==2.1.0 \\',
    '    --hash=sha256:00',
    'numpy<2; python_version < "3.12"  # old',
    'numpy>=2; python_version >= "3.12"',
    'ranking @ file:///tmp/ranking-1-py3-none-any.whl#sha256=0',
  ].join('\r\n');
  expect([...requirementsOf(text)]).toEqual([
    ['--index-url https://example.org/simple', '--index-url https://example.org/simple'],
    ['my-net', '-e git+https://example.org/a.git@main#egg=My_Net'],
    ['torch', 'torch==2.1.0      --hash=sha256:00'],
    ['numpy', 'numpy<2; python_version < "3.12"\nnumpy>=2; python_version >= "3.12"'],
    ['ranking', 'ranking @ file:///tmp/ranking-1-py3-none-any.whl#sha256=0'],
  ]);
});
