/** Writes a small ledger, for tests of what reads one. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from '../../src/read/bytes/crc32.ts';
import { LEDGER_ROLES, type LedgerRole } from '../../src/read/ledger/format.ts';
import { checksum, sketch } from '../../src/step/tensor/sketch.ts';

export interface WrittenStep {
  readonly step: number;
  /** Number of its process. */
  readonly session: number;
  readonly batch: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Values of all tensors by role; all zero: there is none. */
  readonly roles: Partial<Record<LedgerRole, readonly Float32Array[]>>;
}

export function writeLedger(
  folder: string,
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
  steps: readonly WrittenStep[],
): void {
  mkdirSync(join(folder, 'tensors'), { recursive: true });
  const lines: object[] = [];
  const records: Buffer[] = [];
  let session = -1;
  for (const one of steps) {
    if (one.session !== session) {
      session = one.session;
      const named = tensors.map(({ name, shape }) => [name, shape, 'float32']);
      lines.push({ ledger: 1, session: idOf(session), every: 1, options: {}, tensors: named });
    }
    lines.push({ step: one.step, loss: '3ff0000000000000', batch: one.batch, options: one.options });
    records.push(recordOf(one, tensors));
  }
  writeFileSync(join(folder, 'steps.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  writeFileSync(join(folder, 'tensors', '000001.bin'), Buffer.concat(records));
}

const idOf = (session: number): string => (session + 1).toString(16).padStart(8, '0');

function recordOf({ step, session, roles }: WrittenStep, tensors: readonly { name: string }[]): Buffer {
  let kind = 0;
  const parts: Buffer[] = [];
  for (const [bit, role] of LEDGER_ROLES.entries())
    for (const [k, values] of (roles[role] ?? []).entries()) {
      kind |= 1 << bit;
      const entry = Buffer.alloc(8 * 65);
      if (values.some((value) => value !== 0)) {
        for (const [i, sum] of sketch(values, tensors[k]!.name).entries()) entry.writeDoubleLE(sum, 8 * i);
        entry.writeBigUInt64LE(checksum(values), 8 * 64);
      }
      parts.push(entry);
    }
  const payload = Buffer.concat(parts);
  const head = Buffer.alloc(28);
  head.write('CDL1', 'latin1');
  head.writeUInt32LE(Number.parseInt(idOf(session), 16), 8);
  head.writeBigInt64LE(BigInt(step), 12);
  head.writeUInt32LE(payload.length, 20);
  head.writeUInt32LE(kind, 24);
  const record = Buffer.concat([head, payload]);
  record.writeUInt32LE(crc32(record.subarray(8)), 4);
  return record;
}
