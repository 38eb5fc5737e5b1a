/** The report in a real terminal: tmux draws it, and what its screen holds is compared with what was looked at. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

const hasTmux = spawnSync('tmux', ['-V']).status === 0;
const bin = join(projectRoot, 'bin/run.js');

let servers = 0;
/** Of a server of its own: one that was told to end may still take the next session, and takes it along. */
const nextSocket = (): string => `clippy-diag-${process.pid}-${servers++}`;

/** What stands on the screen of a terminal of that width after the command has ended. */
function screen(width: number, command: string, height = 200): string {
  const socket = nextSocket();
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
      `${command}; tmux -L ${socket} wait-for -S done; sleep 3600`,
    );
    tmux('wait-for', 'done');
    return tmux('capture-pane', '-p').trimEnd();
  } finally {
    spawnSync('tmux', ['-L', socket, 'kill-server']);
  }
}

/** A terminal of so many columns and rows with a shell in a folder of its own; `work` types into it and looks at it. */
async function inShell(
  [width, height]: readonly [number, number],
  work: (terminal: {
    /** Types text, and keys by their names (`Enter`, `Down`, `NPage`, `C-c`). */
    type(...keys: string[]): void;
    /** Waits until the screen fits, and returns its rows. */
    until(fits: RegExp | ((screen: string) => boolean)): Promise<string[]>;
    resize(width: number, height: number): void;
    folder: string;
  }) => Promise<void>,
): Promise<void> {
  const socket = nextSocket();
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-terminal-'));
  const tmux = (...args: string[]): string =>
    spawnSync('tmux', ['-L', socket, '-f', '/dev/null', ...args], {
      encoding: 'utf8',
      cwd: folder,
      env: { ...process.env, LC_ALL: 'C.UTF-8', NO_COLOR: undefined, CLI: `${process.execPath} ${bin}` },
    }).stdout;
  try {
    const size = ['-x', String(width), '-y', String(height)];
    tmux('-u', 'new-session', '-d', ...size, 'bash --norc --noprofile');
    const until = async (fits: RegExp | ((screen: string) => boolean)): Promise<string[]> => {
      let text = '';
      // More than five minutes: what ends here hangs, however busy the machine is.
      for (let tries = 0; tries < 3000; tries++) {
        text = tmux('capture-pane', '-p');
        if (typeof fits === 'function' ? fits(text) : fits.test(text)) return text.trimEnd().split('\n');
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`never seen: ${fits}\n${text}`);
    };
    // What is typed before the shell asks for it may be lost.
    await until(/[$#]\s*$/);
    await work({
      folder,
      type: (...keys) => tmux('send-keys', ...keys),
      resize: (x, y) => tmux('resize-window', '-x', String(x), '-y', String(y)),
      until,
    });
  } finally {
    spawnSync('tmux', ['-L', socket, 'kill-server']);
    rmSync(folder, { recursive: true, force: true });
  }
}

const runs = join(projectRoot, 'fixtures/logs/full-divergence-tb');

describe.skipIf(!hasTmux)('watch in a terminal (needs tmux)', () => {
  it.each([
    [60, 12],
    [80, 24],
    [132, 43],
  ])('%d × %d: state, answer, chart and keys fit; it scrolls, q gives the terminal back', async (...size) => {
    await inShell(size, async ({ type, until }) => {
      type(`clear; $CLI watch ${runs} --stall 1h; echo "code $?"; stty -a | grep -o ' -\\?icanon'`, 'Enter');
      const rows = await until(/q quit ·/);
      expect(rows).toHaveLength(size[1]);
      expect(rows[0]).toMatch(/^step 599 .* last record .* ago$/);
      expect(rows.find((row) => row.startsWith('✗'))).toMatch(/DIVERGED at step 400/);
      // The axis of the chart.
      expect(rows.filter((row) => /^ +└.*┴/.test(row))).toHaveLength(1);
      type('NPage');
      const scrolled = await until(/lines (?!1 )\d/);
      expect(scrolled).toHaveLength(size[1]);
      expect(scrolled.filter((row) => /^ +└.*┴/.test(row))).toHaveLength(1);
      type('q');
      const after = await until(/code \d+\n icanon/);
      expect(after.join('\n')).toContain('code 0');
      expect(after.join('\n')).not.toContain('q quit');
    });
  });

  it('is drawn anew for another size', async () => {
    await inShell([80, 24], async ({ type, until, resize }) => {
      type(`clear; $CLI watch ${runs}`, 'Enter');
      await until(/q quit ·/);
      resize(100, 30);
      const rows = await until((text) => /q quit ·/.test(text.trimEnd().split('\n')[29] ?? ''));
      expect(Math.max(...rows.map((row) => [...row].length))).toBeGreaterThan(80);
    });
  });

  it.each([
    ['TERM', 143],
    ['INT', 130],
    ['HUP', 143],
    ['QUIT', 143],
  ])('SIG%s gives the terminal back', async (signal, code) => {
    await inShell([80, 24], async ({ type, until, folder }) => {
      type(
        `clear; sh -c 'echo $$ >pid; exec $CLI watch ${runs}'; echo "code $?"; stty -a | grep -o ' -\\?icanon'`,
        'Enter',
      );
      await until(/q quit ·/);
      process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), `SIG${signal}`);
      const after = await until(/code \d+\n icanon/);
      expect(after.join('\n')).toContain(`code ${code}`);
      expect(after.join('\n')).not.toContain('q quit');
    });
  });

  it('Ctrl-Z stops it with the terminal as it was, fg goes on, Ctrl-C ends it', async () => {
    await inShell([80, 24], async ({ type, until }) => {
      type(`clear; $CLI watch ${runs}`, 'Enter');
      await until(/q quit ·/);
      type('C-z');
      await until(/Stopped/);
      type('stty -a | grep -o " -\\?icanon"; fg', 'Enter');
      await until(/q quit ·/);
      type('C-c');
      await until((text) => !/q quit/.test(text) && /DIVERGED/.test(text));
      type('echo "code $?"; stty -a | grep -o " -\\?icanon"', 'Enter');
      expect((await until(/code \d+\n icanon/)).join('\n')).toMatch(/code 130\n icanon/);
    });
  });

  it('shows what is written to a folder meanwhile', async () => {
    await inShell([80, 24], async ({ type, until, folder }) => {
      type('clear; mkdir runs; $CLI watch runs --interval 1 --stall 2', 'Enter');
      await until(/waiting for records in runs/);
      await until(/STALLED: no record yet/);
      const records = (from: number, to: number): string =>
        Array.from(
          { length: to - from },
          (_, i) => `{"step":${from + i},"loss":${3 / (from + i + 1)}}\n`,
        ).join('');
      writeFileSync(join(folder, 'runs/log.jsonl'), records(0, 100));
      await until(/^step 99 .*last record/);
      writeFileSync(join(folder, 'runs/log.jsonl'), records(0, 160));
      await until(/^step 159 .*step(s)?\/(s|min)/);
      await until(/STALLED: no new record for/);
    });
  });
});

describe.skipIf(!hasTmux)('in a terminal (needs tmux)', () => {
  it.each([60, 80, 200])('%d columns wide', (width) => {
    const text = screen(width, `'${process.execPath}' '${bin}' analyze fixtures/incident/log.jsonl`);
    for (const line of text.split('\n')) expect([...line].length).toBeLessThanOrEqual(width);
    expect(text).toMatchSnapshot();
  });

  it('shows all of a page on 24 rows of 80 columns, filled in in place', () => {
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
