/**
 * Ledgers by structure: lines whose values are of another kind, records that are sealed again after a change, files that
 * are cut. Whatever is done, a ledger opens or says why not, and compare and who give an answer.
 *
 * `CLIPPY_DIAG_FUZZ` draws so many mutants, from `CLIPPY_DIAG_FUZZ_SEED`.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { comparePaths } from '../../src/app/engine/compare-inputs.ts';
import { batchOfStep } from '../../src/experiment/compare/step-batch.ts';
import { DiagError } from '../../src/model/errors.ts';
import { crc32 } from '../../src/read/bytes/crc32.ts';
import { openLedger } from '../../src/read/ledger/read.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('ledger-fuzz');
const MUTANTS = Math.min(Number(process.env.CLIPPY_DIAG_FUZZ ?? 100), 100_000);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_130);
const base = join(projectRoot, 'fixtures/ledgers/base/ledger');

type Random = () => number;
const pick = <T>(from: readonly T[], next: Random): T => from[Math.floor(next() * from.length)]!;

/** Nested so deep that a reader that calls itself runs out of stack. */
const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
/** Values of every kind, as JSON. */
const VALUES = [
  ...['null', 'true', '""', '"x"', '0', '-1', '1e308', '1e999', '9007199254740993', '"NaN"', '[]', '[[]]'],
  ...[
    '{}',
    '{"toString":1,"valueOf":2}',
    '{"__proto__":{"a":1}}',
    '[[{"toString":1}]]',
    '[[null,[1e99],[]]]',
  ],
  ...['"ffffffffffffffff"', '"7ff8000000000000"', '[1,2,3]', deep(3), deep(60), deep(5_000)],
];

/** A line with one of its members replaced, left out or added. */
function line(text: string, next: Random): string {
  if (text === '') return text;
  const members = Object.entries(JSON.parse(text) as Record<string, unknown>).map(
    ([key, value]) => [JSON.stringify(key), JSON.stringify(value)] as [string, string],
  );
  const at = Math.floor(next() * members.length);
  const way = next();
  if (way < 0.6) members[at]![1] = pick(VALUES, next);
  else if (way < 0.75) members.splice(at, 1);
  else
    members.push([
      pick(['"loss"', '"options"', '"__proto__"', '"step"', '"ledger"'], next),
      pick(VALUES, next),
    ]);
  return `{${members.map((member) => member.join(':')).join(',')}}`;
}

/** A byte, a cut, or a field of the head of a record, sealed again so that its checksum holds. */
function records(bytes: Buffer, next: Random): Buffer {
  const out = Buffer.from(bytes);
  const starts: number[] = [];
  for (let at = 0; at + 28 <= out.length; at += 28 + out.readUInt32LE(at + 20)) starts.push(at);
  const at = pick(starts, next);
  const end = at + 28 + out.readUInt32LE(at + 20);
  const way = next();
  if (way < 0.15) return out.subarray(0, Math.floor(next() * out.length));
  if (way < 0.3) out[Math.floor(next() * out.length)] = Math.floor(256 * next());
  else if (way < 0.5) out.writeUInt32LE(pick([0, 1, 2, 3, 127, 0xff, 0xffffffff], next), at + 24);
  else if (way < 0.65) out.writeUInt32LE(pick([0, 1, 7, 0xffffffff, 0x7fffffff], next), at + 20);
  else if (way < 0.8) out.writeBigInt64LE(pick([-1n, 0n, 3n, 1n << 62n], next), at + 12);
  else for (let k = at + 28; k < Math.min(end, at + 44); k++) out[k] = Math.floor(256 * next());
  if (next() < 0.8) out.writeUInt32LE(crc32(out.subarray(at + 8, end)) >>> 0, at + 4);
  return out;
}

it(`${MUTANTS} mutants: none crashes, each has an answer`, async () => {
  const next = random(SEED);
  const folder = scratch();
  const path = join(folder, 'ledger');
  const counts = { opened: 0, refused: 0 };
  const wrong: string[] = [];
  for (let k = 0; k < MUTANTS; k++) {
    rmSync(path, { recursive: true, force: true });
    cpSync(base, path, { recursive: true });
    const what = pick(['line', 'line', 'line', 'tensors', 'ids', 'cut'], next);
    const lines = readFileSync(join(base, 'steps.jsonl'), 'utf8').split('\n');
    if (what === 'line') {
      const at = Math.floor(next() * (lines.length - 1));
      lines[at] = line(lines[at]!, next);
      writeFileSync(join(path, 'steps.jsonl'), lines.join('\n'));
    } else if (what === 'cut') {
      const text = lines.join('\n');
      writeFileSync(join(path, 'steps.jsonl'), text.slice(0, Math.floor(next() * text.length)));
    } else {
      const file = join(what, '000001.bin');
      writeFileSync(join(path, file), records(readFileSync(join(base, file)), next));
    }
    try {
      const opened = await openLedger(path);
      for (const step of [...opened.taken, ...opened.identified]) {
        await opened.tensors(step);
        await batchOfStep(opened, step);
      }
      const { verdict } = await comparePaths({ a: [base], b: [path], picture: true }, {});
      if (!['same', 'apart', 'cannot-tell'].includes(verdict)) wrong.push(`#${k} ${what}: ${verdict}`);
      counts.opened++;
    } catch (error) {
      if (!(error instanceof DiagError)) wrong.push(`#${k} ${what}: ${(error as Error).stack}`);
      counts.refused++;
    }
  }
  expect({ SEED, wrong: wrong.slice(0, 5), of: wrong.length }).toEqual({ SEED, wrong: [], of: 0 });
  expect(counts.opened).toBeGreaterThan(counts.refused);
});
