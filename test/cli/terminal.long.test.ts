/** The report in a real terminal: tmux draws it, and what its screen holds is compared with what was looked at. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

const hasTmux = spawnSync('tmux', ['-V']).status === 0;
const bin = join(projectRoot, 'bin/run.js');

/** What stands on the screen of a terminal of that width after the command has ended. */
function screen(width: number, command: string, height = 200): string {
  const socket = `clippy-diag-${process.pid}-${width}`;
  const tmux = (...args: string[]): string => {
    const { stdout, stderr, status } = spawnSync('tmux', ['-L', socket, '-f', '/dev/null', ...args], {
      encoding: 'utf8',
      cwd: projectRoot,
      env: { ...process.env, LC_ALL: 'C.UTF-8', NO_COLOR: undefined },
    });
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };
  try {
    // `wait-for` returns when the command has printed all; the pane stays until it is read.
    tmux(
      '-u',
      'new-session',
      '-d',
      '-x',
      String(width),
      '-y',
      String(height),
      `${command}; tmux -L ${socket} wait-for -S done; sleep 30`,
    );
    tmux('wait-for', 'done');
    return tmux('capture-pane', '-p').trimEnd();
  } finally {
    spawnSync('tmux', ['-L', socket, 'kill-server']);
  }
}

describe.skipIf(!hasTmux)('in a terminal (needs tmux)', () => {
  it.each([60, 80, 200])('%d columns wide', (width) => {
    const text = screen(width, `'${process.execPath}' '${bin}' analyze fixtures/incident/log.jsonl`);
    for (const line of text.split('\n')) expect([...line].length).toBeLessThanOrEqual(width);
    expect(text).toMatchSnapshot();
  });

  it('shows all of a page on 24 rows of 80 columns, filled in in place', { timeout: 120_000 }, () => {
    const text = screen(80, `'${process.execPath}' '${bin}' analyze fixtures/incident`, 24);
    const rows = text.split('\n');
    expect(rows[0]).toMatch(/^✗ DIVERGED at step 400/);
    expect(rows.length).toBeLessThan(24);
    expect(rows.at(-1)).toContain('More: --verbose');
    expect(text.match(/DIVERGED/g)).toHaveLength(1);
  });

  it('uses colour there', () => {
    expect(
      screen(90, `'${process.execPath}' '${bin}' chart fixtures/incident/log.jsonl | cat -v; true`),
    ).not.toContain('^[');
    expect(
      screen(
        91,
        `script -qec "'${process.execPath}' '${bin}' chart fixtures/incident/log.jsonl" /dev/null | cat -v`,
      ),
    ).toContain('^[[');
  });
});
