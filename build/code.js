// What V8 makes of the program as commands on a small log run: they start without compiling then. It fits the very Node that
// made it, so dist/ has it where the program was built, and no package has it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CODE, exportsOf, scriptOf, setUpNode } from '../bin/program.js';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-build-'));
const log = join(folder, 'log.jsonl');
const lines = Array.from({ length: 600 }, (_, step) => ({
  step,
  loss: step < 400 ? 1 + 2 / (1 + step) + (step % 7) / 100 : step / 100,
  grad_norm: 1 + (step % 5) / 10,
  learning_rate: 1e-3,
}));
writeFileSync(log, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

const sink = {
  write(_text, done) {
    done?.();
    return true;
  },
};
const io = {
  stdout: sink,
  stderr: sink,
  stdin: (async function* () {})(),
  env: {},
  now: Date.now,
  sleep: async () => {},
  onEnd: () => () => {},
};
setUpNode();
const script = scriptOf();
const { run } = exportsOf(script);
const COMMANDS = [
  ['--version'],
  ['explain', 'clippy'],
  ['inspect', log],
  ['analyze', log],
  ['gate', log, '--settle', '0'],
  ['no-such-file'],
];
try {
  for (const argv of COMMANDS) await run(argv, io);
  writeFileSync(CODE, script.createCachedData());
} finally {
  rmSync(folder, { recursive: true });
}
