/** Finds a Python that has what a test needs; a test without one skips and says so. */
import { spawnSync } from 'node:child_process';

const found = new Map<string, string | undefined>();

/**
 * Path of a Python interpreter that can import all the modules, or undefined.
 *
 * `CLIPPY_DIAG_PYTHON` (colon-separated interpreters) is tried first, then the system's own, then the one on PATH, and
 * last `CLIPPY_DIAG_FRAMEWORKS`: those of .ci, one a framework.
 */
export function pythonWith(...modules: readonly string[]): string | undefined {
  const key = modules.join(' ');
  if (!found.has(key)) {
    const candidates = [
      ...(process.env.CLIPPY_DIAG_PYTHON ?? '').split(':'),
      '/usr/bin/python3',
      'python3',
      ...(process.env.CLIPPY_DIAG_FRAMEWORKS ?? '').split(':'),
    ].filter((path) => path !== '');
    const program = `import importlib.util, sys; sys.exit(any(importlib.util.find_spec(m) is None for m in ${JSON.stringify(modules)}))`;
    found.set(
      key,
      candidates.find((path) => spawnSync(path, ['-c', program], { stdio: 'ignore' }).status === 0),
    );
  }
  return found.get(key);
}
