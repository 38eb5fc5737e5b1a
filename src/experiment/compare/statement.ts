/** A comparison in words: one plain sentence, and what would show more. */
import type { RunComparison, RunDifference } from '../../model/comparison.ts';
import { counted, formatCount, formatNumber } from '../../model/format-number.ts';
import { largest } from '../../model/order-statistics.ts';
import type { Judged } from './judged.ts';
import type { Side } from './side.ts';

const NAMES = {
  batch: 'the batch',
  rng: 'the random state',
  options: 'the options',
  weights: 'the weights',
  loss: 'the loss',
  gradient: 'the gradient',
  clip: 'the clipped gradient',
  state: 'the optimizer state',
  update: 'the update',
} as const;

const brief = (value: number): string => formatNumber(value, 'brief');

/** A relative size: a factor from 10 on, per cent from 0.001 on, else in scientific notation. */
function share(size: number): string {
  if (!Number.isFinite(size)) return 'one of them is not finite';
  if (size >= 10) return `${brief(size)} times its size`;
  return size >= 1e-3 ? `${brief(100 * size)} %` : `${size.toExponential(0)} of its size`;
}

/** "first in the gradient of layers.3.attn.q". */
function place({ link, tensor }: RunDifference): string {
  if (tensor === null) return `first in ${NAMES[link]}`;
  return link === 'options' || link === 'loss'
    ? `first in ${NAMES[link]} (${tensor})`
    : `first in ${NAMES[link]} of ${tensor}`;
}

/** How large the first difference is relative to its floor. */
function size({ size: own }: RunDifference, floor: number): string {
  if (own === null) return '';
  const times = own / floor;
  const beside =
    floor > 0 && Number.isFinite(times) && times > 2 ? `, ${brief(times)} × what its arithmetic makes` : '';
  return ` by ${share(own)}${beside}`;
}

/** "11 % higher at the end". */
function ending({ end }: Judged): string {
  if (end === null) return '';
  if (end.relative === 0) return '; the losses end alike';
  if (!Number.isFinite(end.relative)) return `; the losses end at ${brief(end.a)} and ${brief(end.b)}`;
  const higher = end.relative > 0 ? 'higher' : 'lower';
  return `; the second loss ends ${share(Math.abs(end.relative))} ${higher} (${brief(end.a)} and ${brief(end.b)})`;
}

const equal = ({ exact }: Judged): string =>
  exact ? 'the same to the bit' : 'the same in every digit that was logged';

/** "The runs are the same to the bit for 237 steps and differ from step 237 on". */
function before(judged: Judged, step: number): string {
  if (judged.stepUnit === 'checkpoint') return 'The checkpoints differ';
  const from = `${judged.stepUnit} ${formatCount(step)} on`;
  if (judged.equalSteps === 0) return `The runs differ from ${from}`;
  return `The runs are ${equal(judged)} for ${counted(judged.equalSteps, judged.stepUnit)} and differ from ${from}`;
}

export function statementOf(judged: Judged, a: Side, b: Side): Pick<RunComparison, 'statement' | 'more'> {
  return { statement: sentence(judged), more: moreOf(judged, a, b) };
}

function sentence(judged: Judged): string {
  const { compared, paired, found, stepUnit } = judged;
  if (compared.steps === 0)
    return `The runs cannot be compared: they have no ${stepUnit} in common of which both tell the same quantity.`;
  if (judged.seeds !== undefined) return ofSeveral(judged, judged.seeds);
  if (found.consequence === null) return ofEqual(judged);
  return paired ? ofPaired(judged, found.consequence) : ofSeeds(judged);
}

function ofEqual(judged: Judged): string {
  const { compared, found, stepUnit } = judged;
  if (stepUnit === 'checkpoint')
    return 'The checkpoints are the same to the bit in every tensor that both have.';
  const what = compared.links.map((link) => NAMES[link].replace(/^the /, '')).join(', ');
  const given =
    found.first === null
      ? ''
      : `; ${NAMES[found.first.link]}${found.first.tensor === null ? '' : ` (${found.first.tensor})`} differ from ${stepUnit} ${formatCount(found.first.step)} on, and nothing that was compared follows from it`;
  const count = counted(compared.steps, stepUnit);
  return `The runs are ${equal(judged)}: ${count} with ${what}${given}.`;
}

function ofPaired(judged: Judged, consequence: RunDifference): string {
  const { verdict, floor, found, repeats, stepUnit } = judged;
  const first = found.first ?? consequence;
  // Of a difference that is within its floor no factor above it is said.
  const above = floor.kind === 'rounding' && verdict === 'apart' ? (floor.relative ?? 0) : 0;
  const computed =
    first === consequence
      ? ''
      : `; ${NAMES[consequence.link]} differ${consequence.link === 'weights' ? '' : 's'} from ${stepUnit} ${formatCount(consequence.step)}${size(consequence, above)}`;
  const head = `${before(judged, first.step)}, ${place(first)}${size(first, above)}${computed}`;
  const tail = ending(judged);
  if (verdict === 'apart') {
    const beyond =
      floor.kind === 'measured' && judged.partsAt !== null
        ? `; beyond what ${repeats} repeats differ from ${stepUnit} ${formatCount(judged.partsAt.step)} on`
        : '';
    return `${head}${beyond}${tail}.`;
  }
  if (verdict === 'same')
    return floor.kind === 'measured'
      ? `The runs are the same within what ${repeats} repeats of the first differ: ${head.charAt(0).toLowerCase()}${head.slice(1)}${tail}.`
      : `The runs are the same but for rounding: ${head.charAt(0).toLowerCase()}${head.slice(1)}, and ${mostOf(judged)}${tail}.`;
  return `Whether the runs are the same is not known: ${head.charAt(0).toLowerCase()}${head.slice(1)}, no more than rounding makes, and what grows from it says nothing${tail}.`;
}

function mostOf({ pair }: Judged): string {
  const most = largest(pair.distance);
  return most === 0 ? 'no loss differs' : `no loss differs by more than ${share(Math.expm1(most))}`;
}

function ofSeeds(judged: Judged): string {
  const { verdict, partsAt, forGoodFrom, end, floor, stepUnit, pair } = judged;
  if (pair.steps.length < 5) {
    const first = judged.found.first!;
    return `${before(judged, first.step)}, ${place(first)}${size(first, 0)}${ending(judged)}.`;
  }
  const start = 'The runs have different starts';
  if (verdict === 'apart')
    return `${start}; their losses are apart from ${stepUnit} ${formatCount(partsAt!.step)} on by ${share(partsAt!.size!)}${forGoodFrom === null ? '' : `, to the end from ${formatCount(forGoodFrom)}`}${ending(judged)}.`;
  const error = end?.standardError ?? null;
  const spread = error === null ? '' : ` with a standard error of ${share(error)}`;
  if (verdict === 'same')
    return `${start}, and no difference is seen between their losses${ending(judged)}${spread}.`;
  return `${start}, and one run a side does not show a difference of less than ${share(floor.relative ?? Number.NaN)}${ending(judged)}${spread}.`;
}

function ofSeveral(judged: Judged, seeds: NonNullable<RunComparison['seeds']>): string {
  const higher = seeds.difference > 0 ? 'higher' : 'lower';
  const found = `the second side's losses end ${share(Math.abs(seeds.difference))} ${higher} in the mean of ${seeds.pairs} pairs of seeds, standard error ${share(seeds.standardError)}`;
  if (judged.verdict === 'apart') return `The two sides are apart: ${found}.`;
  const need = `the smallest difference that would be seen is ${share(seeds.smallestTold)}`;
  return judged.verdict === 'same'
    ? `No difference is seen between the two sides: ${found}; ${need}.`
    : `Whether the two sides differ is not known: ${found}; ${need}, and ${formatCount(seeds.seedsToTell.seeds)} seeds a side would show this one.`;
}

function moreOf(judged: Judged, a: Side, b: Side): string[] {
  const { verdict, paired, floor } = judged;
  const more: string[] = [];
  if (!a.has.ledger || !b.has.ledger)
    more.push(
      'A ledger of both runs (Recorder(…, ledger=True)) names the first link and tensor that differ.',
    );
  if (verdict === 'cannot-tell' && paired && floor.kind === 'rounding')
    more.push(
      'Three repeats of the first run (--floor A2,A3,A4) measure how far identical code drifts apart.',
    );
  if (verdict === 'cannot-tell' && floor.kind === 'measured' && judged.repeats < 3)
    more.push(`${judged.repeats} of 3 repeats: with fewer the floor is uncertain by a factor of 60.`);
  if (verdict === 'cannot-tell' && !paired && judged.seeds === undefined)
    more.push('Several seeds a side (--a A1,A2,A3 --b B1,B2,B3) show smaller differences.');
  return more;
}
