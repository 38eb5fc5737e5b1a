/**
 * Holds audits against what `trainings.py` did: `tsx bench/audit/score.ts FOLDER [--json]`. A fault is named where the leading broken
 * link has its cause and its link, and where it has a factor, that to one per cent.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { auditCapture } from '../../src/experiment/audit/audit.ts';
import { type AuditLink, brokenLinks } from '../../src/model/audit.ts';
import { openCapture } from '../../src/read/captures/read.ts';

interface Truth {
  readonly seed: number;
  readonly cause: string | null;
  readonly link: string | null;
  readonly factor: number | null;
  readonly optimizer: string;
}

/** Links that checksums of a capture of version 3 tell apart, and one of version 2 does not. */
const SAME_LINK: Readonly<Record<string, string>> = { between: 'weights' };
const linkOf = (link: string): string => SAME_LINK[link] ?? link;

function isNamed({ cause, link, factor }: Truth, [first]: readonly AuditLink[]): boolean {
  if (first === undefined || first.cause !== cause || linkOf(first.link) !== linkOf(link!)) return false;
  if (factor === null) return true;
  return first.factor !== null && Math.abs(first.factor - factor) <= 0.01 * factor + 1e-6;
}

const [folder = '', ...flags] = process.argv.slice(2);
const rows: object[] = [];
const counts = { faults: 0, named: 0, pointed: 0, passed: 0, healthy: 0, alarmed: 0, cpu: 0 };
for (const name of readdirSync(folder).sort((a, b) => Number(a) - Number(b))) {
  const path = join(folder, name);
  if (!existsSync(join(path, 'truth.json'))) continue;
  const truth = JSON.parse(readFileSync(join(path, 'truth.json'), 'utf8')) as Truth;
  const begun = process.cpuUsage();
  const broken = existsSync(join(path, 'capture', 'capture.json'))
    ? brokenLinks(await auditCapture(await openCapture(join(path, 'capture'))))
    : [];
  const { user, system } = process.cpuUsage(begun);
  counts.cpu += (user + system) / 1e6;
  const said = broken.map(
    ({ link, cause, factor, confidence }) =>
      `${link}:${cause}${factor === null ? '' : ` ${factor.toPrecision(5)}`} ${confidence}`,
  );
  if (truth.cause === null) {
    counts.healthy++;
    if (broken.length > 0) counts.alarmed++;
  } else {
    counts.faults++;
    if (isNamed(truth, broken)) counts.named++;
    else if (broken.length > 0) counts.pointed++;
    else counts.passed++;
  }
  const right = truth.cause === null ? broken.length === 0 : isNamed(truth, broken);
  rows.push({ ...truth, said, right });
  if (!right && !flags.includes('--json'))
    process.stdout.write(
      `${name} ${truth.optimizer} ${truth.cause ?? 'healthy'} ${truth.factor ?? ''}: ${said.join('; ') || 'nothing'}\n`,
    );
}
process.stdout.write(`${JSON.stringify(flags.includes('--json') ? { counts, rows } : counts, null, 1)}\n`);
