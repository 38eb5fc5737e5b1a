// Builds where npm installs from git, as pre-commit does, and after `npm ci` in a checkout. A build that is there stays.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (!existsSync('dist/run.js')) {
  // `npm install --global git+…` prepares the package with its own settings, among them `global`: then npm has put what
  // the build needs elsewhere or nowhere.
  if (!existsSync('node_modules/esbuild')) {
    const settings = Object.entries(process.env).filter(
      ([name]) => !/^npm_config_(global|location)$/i.test(name),
    );
    execFileSync('npm', ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], {
      stdio: ['ignore', process.stderr, 'inherit'],
      env: Object.fromEntries(settings),
      shell: process.platform === 'win32',
    });
  }
  await import('./build.js');
}
