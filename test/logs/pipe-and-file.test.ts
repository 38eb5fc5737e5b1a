/** The same bytes by standard input and as a file: the same account, the same series, the same verdict. */
import '../support/seed.ts';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../support/cli.ts';
import { damaged } from '../support/damaged-logs.ts';
import { LOG_CONTROLS, LOG_FAULTS, type LogFile } from '../support/log-faults.ts';
import { scratchFolders } from '../support/scratch.ts';
import { healthyRows, TRAINING_LOGS } from '../support/training-logs.ts';

const scratch = scratchFolders('pipe-and-file');
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;
const MUTANTS = LONG ? Math.min(1000, Number(process.env.CLIPPY_DIAG_FUZZ) / 5) : 60;
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);
const PLACE = { at: 0.5, size: 0.5 };

/** An answer without the names of its input; what was told is compared, not when it was written. */
function nameless(text: string, path: string): unknown {
  const names = [path, path.split('/').at(-1)!, '<stdin>'];
  return JSON.parse(text, (key, value: unknown) => {
    if (key === 'createdAt') return undefined;
    return typeof value === 'string'
      ? names.reduce(
          (said, name) => said.replaceAll(name, 'the log'),
          // Standard input is no checkpoint, which needs to be read at any place.
          value.replace(/; tried the \d+ formats .*/, ''),
        )
      : value;
  });
}

async function agree(log: LogFile, place: string): Promise<void> {
  const path = join(scratch(), log.name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, log.bytes);
  for (const command of [['inspect'], ['gate', '--settle', '0'], ['analyze']]) {
    const [file, pipe] = [
      await cli([...command, path, '--json']),
      await cli([...command, '-', '--json'], { input: log.bytes }),
    ];
    expect([place, command[0], pipe.code]).toEqual([place, command[0], file.code]);
    expect([place, nameless(pipe.out, path)]).toEqual([place, nameless(file.out, path)]);
  }
}

/** A fault or control that is one file. */
const single = (files: readonly LogFile[] | undefined): LogFile | undefined =>
  files?.length === 1 ? files[0] : undefined;

describe.each(Object.entries(TRAINING_LOGS))('%s', (name, format) => {
  const all = [
    ...Object.entries(LOG_FAULTS).map(([fault, { make }]) => [fault, make] as const),
    ...Object.entries(LOG_CONTROLS),
  ];
  // One in seven in the short run: each fault in one format or another.
  const formats = Object.keys(TRAINING_LOGS).indexOf(name);
  test.each(all.filter((_, k) => LONG || k % 7 === formats % 7))('%s', async (fault, make) => {
    const log = single(make(format, PLACE));
    if (log !== undefined) await agree(log, `${fault}, ${name}`);
  });
});

test('damage anywhere', async () => {
  const formats = Object.values(TRAINING_LOGS);
  for (let index = 0; index < MUTANTS; index++) {
    const { file, write } = formats[index % formats.length]!;
    const { bytes, edits } = damaged({ name: file, bytes: write(healthyRows(40)) }, SEED, index);
    await agree({ name: file, bytes }, `mutant ${index} of seed ${SEED} (${edits.join(', ')})`);
  }
});
