/**
 * What `replay` and `curvature` say first, in plain words: the answer, one row for each rule or checkpoint, how sure that is.
 * Everything else is on the full pages ({@link renderReplay}, {@link curvatureText}).
 */
import { Ansis } from 'ansis';
import type { CurvatureEntry } from '../model/curvature.ts';
import type { Finding } from '../model/finding.ts';
import { countedPlain, formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { medianOf, smallest } from '../model/order-statistics.ts';
import { NO_RULE, type ReplayEntry, type ReplayVerdict } from '../model/replay.ts';
import { toAscii } from './ascii.ts';
import { drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';
import { brief } from './page-words.ts';
import { ratioChart } from './ratio-chart.ts';
import { forecastOf, isForecast, MEASURED } from './ratio-text.ts';
import { replayLabel } from './replay-label.ts';
import { symbolOf } from './run-events.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

/** What a rule does about the incident, the best first, failures last. */
const WORDS: Readonly<Record<ReplayVerdict, string>> = {
  prevented: 'holds',
  'not-needed': 'not needed',
  delayed: 'delays it',
  'cannot-tell': 'cannot tell',
  'not-prevented': 'does not hold',
  harmful: 'makes it worse',
};
const ORDER = Object.keys(WORDS) as ReplayVerdict[];

const SURE: Readonly<Record<ReplayEntry['mode'], string>> = {
  'as-recorded': 'An estimate: each rule is tried on the recorded steps, and nothing is trained.',
  'open-loop': 'An estimate: once a rule changes a step, the recorded gradients no longer fit.',
  'closed-loop': 'Trained again under each rule, with the gradients of its own parameters.',
};
const RECORDED =
  'What has a loss at the end was trained again in your own framework, from the batches of the capture.';
const TRAINS_AGAIN = '`--mode closed-loop` trains again.';
const TRAINS_AGAIN_THERE =
  '`closed_loop` of the recorder trains again in your own framework (docs/recorders.md).';

/** Whether a rule was judged; the run without one is what it is. */
const isJudged = ({ rule, verdict }: ReplayEntry): boolean => rule !== NO_RULE && verdict !== 'cannot-tell';

const isRecorded = ({ source }: ReplayEntry): boolean => source === 'recorded';
/** A rule as it is named here; what changes one thing besides has the name of that. */
function nameOf(entry: ReplayEntry): string {
  const label = replayLabel({ ...entry, source: 'computed' });
  return entry.arm !== undefined && label.startsWith(`${NO_RULE}, `)
    ? label.slice(NO_RULE.length + 2)
    : label;
}

/** Each rule once: a training in the user's own framework decides what was tried on the recorded steps as well. */
function eachOnce(entries: readonly ReplayEntry[]): readonly ReplayEntry[] {
  const trained = new Set(entries.filter(isRecorded).map(nameOf));
  return entries.filter((entry) => isRecorded(entry) || !trained.has(nameOf(entry)));
}

/** "3 of 5 rules hold, 1 not judged". */
function countHeld(entries: readonly ReplayEntry[], what: string): string {
  const held = entries.filter(({ verdict }) => verdict === 'prevented');
  const unjudged = entries.filter(({ verdict }) => verdict === 'cannot-tell').length;
  const rest = unjudged === 0 ? '' : `, ${unjudged} not judged`;
  return `${held.length === 0 ? 'None' : held.length} of ${entries.length} ${what} hold${held.length === 1 ? 's' : ''}${rest}.`;
}

/** Losses at the end of a replay whose median is its level. */
const LAST = 10;

function replayTitle(entries: readonly ReplayEntry[]): string {
  const [first] = entries;
  const rules = entries.filter(({ rule, arm }) => rule !== NO_RULE && arm === undefined);
  const arms = entries.filter(({ arm }) => arm !== undefined);
  // In a closed loop every rule has losses, and an onset, of its own.
  const closed = entries.length > 0 && entries.every((one) => one.mode === 'closed-loop' && !isRecorded(one));
  const onset = entries.find(({ onsetStep }) => onsetStep != null)?.onsetStep ?? null;
  if (arms.length === 0 && rules.length > 0 && rules.every(({ verdict }) => verdict === 'cannot-tell'))
    return onset === null
      ? 'No rule can be judged.'
      : `The incident begins at step ${formatCount(onset)}. No rule can be judged.`;
  const what = closed
    ? `Trained again from step ${formatCount(first!.steps[0]!)}.`
    : onset === null
      ? 'The losses show no incident.'
      : `The incident begins at step ${formatCount(onset)}.`;
  if (rules.length + arms.length === 0) return what;
  if (closed && rules.every(({ verdict }) => verdict === 'not-needed')) return `${what} No rule is needed.`;
  const holds = [...rules, ...arms].filter(({ verdict }) => verdict === 'prevented');
  if (!closed && onset === null && holds.length === 0) return what;
  const ofRules =
    rules.length === 1
      ? [holds.some(({ arm }) => arm === undefined) ? 'The rule holds.' : 'The rule does not hold.']
      : rules.length === 0
        ? []
        : [countHeld(rules, 'rules')];
  return [what, ...ofRules, ...(arms.length === 0 ? [] : [countHeld(arms, 'other changes')])].join(' ');
}

/** One row of the table: rule, result, loss at the end, where it first acts, share of the steps that it changed, smallest factor. */
function cellsOf(entry: ReplayEntry): string[] {
  const unknown = Number.isNaN(entry.engagedFraction);
  const least = smallest(entry.minClipFactor);
  // A bad batch that is left out has a bad loss, and does no harm: what is judged are the reference batches.
  const losses = entry.mode === 'closed-loop' ? (entry.referenceLoss ?? entry.loss) : null;
  const end = losses?.slice(-LAST) ?? [];
  const estimated = entry.confidence === 'estimate' && entry.verdict !== 'cannot-tell';
  const never = unknown ? '?' : 'never';
  return [
    inertName(nameOf(entry)),
    `${WORDS[entry.verdict]}${estimated ? ' (estimate)' : ''}`,
    end.length === 0 ? '' : end.some((loss) => !Number.isFinite(loss)) ? 'NaN' : brief(medianOf(end)),
    entry.firstEngagedStep === null ? never : `step ${formatCount(entry.firstEngagedStep)}`,
    unknown ? '?' : `${Math.round(100 * entry.engagedFraction)} %`,
    Number.isNaN(least) ? '?' : brief(least),
  ];
}

/** The replays of one capture on a screen. Pure. */
export function briefReplay(
  all: readonly ReplayEntry[],
  more: {
    readonly findings: readonly Finding[];
    readonly notes: readonly string[];
    /** Whether the capture has what `--mode closed-loop` needs. */
    readonly trains: boolean;
  },
  options: RenderOptions,
): string {
  const entries = eachOnce(all);
  const paint = new Ansis(options.colour ? 1 : 0);
  const fit = (text: string): string => wrap(inertName(text), options.width, '  ').join('\n');
  const rows = [...entries].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
  const cells = rows.map(cellsOf);
  const head = ['rule', 'result', 'loss at the end', 'first acts', 'steps changed', 'smallest factor'];
  const used = head.map((_, c) => c).filter((c) => cells.some((row) => row[c] !== ''));
  const colours = { prevented: paint.green, 'not-prevented': paint.red, harmful: paint.red };
  const table = textTable({
    head: used.map((c) => head[c]!),
    rows: cells.map((row) => used.map((c) => row[c]!)),
    left: 2,
    width: options.width,
    paintHead: paint.bold,
    paintCell: (text, r, c) =>
      c === 1 ? (colours[rows[r]!.verdict as keyof typeof colours] ?? paint.yellow)(text) : text,
  });
  const [first] = all;
  const onset = first?.onsetStep ?? null;
  const chart =
    first?.gradientNorm === undefined
      ? ''
      : drawChart('gradient norm', [lineOfValues('gradient norm', first.steps, first.gradientNorm)], {
          ...options,
          height: 4,
          titleBeside: true,
          markers:
            onset === null
              ? []
              : [
                  {
                    step: onset,
                    symbol: symbolOf('onset', options.ascii),
                    label: `step ${formatCount(onset)}`,
                  },
                ],
        });
  const open = new Map<string, string[]>();
  for (const entry of entries.filter(({ verdict }) => verdict === 'cannot-tell'))
    open.set(entry.why, [...(open.get(entry.why) ?? []), nameOf(entry)]);
  const judged = rows.filter((entry) => isJudged(entry) || entry.arm !== undefined);
  const modes = [...new Set(judged.filter((entry) => !isRecorded(entry)).map(({ mode }) => mode))];
  const trained = judged.some(isRecorded);
  const sure = [
    ...modes.map((mode) => SURE[mode]),
    ...(trained ? [RECORDED] : []),
    ...(modes.every((mode) => mode === 'closed-loop') || (trained && !more.trains)
      ? []
      : [more.trains ? TRAINS_AGAIN : TRAINS_AGAIN_THERE]),
  ].join(' ');
  const blocks = [
    paint.bold(wrap(replayTitle(entries), options.width, '').join('\n')),
    table.join('\n'),
    chart,
    [
      // How sure it is, of what is known at all.
      ...(sure === '' ? [] : [fit(sure)]),
      ...(entries.some(({ mode, referenceLoss }) => mode === 'closed-loop' && referenceLoss !== undefined)
        ? [
            fit(
              'The loss at the end is that on reference batches: from before the incident, and clean ones after it.',
            ),
          ]
        : []),
      // Of one reason the table says whose it is.
      ...[...open].map(([why, names]) =>
        fit(`Cannot tell${open.size === 1 ? '' : ` for ${names.join(', ')}`}: ${why}`),
      ),
      ...more.findings.map(({ severity, message }) => fit(`${severity}: ${message}`)),
      ...more.notes.map((note) => fit(`Note: ${note}`)),
    ].join('\n'),
    paint.dim(
      `  More: --verbose${first?.mode === 'closed-loop' || !more.trains ? '' : ' · --mode closed-loop'} · explain ${rows.find(({ rule }) => rule !== NO_RULE)?.rule.split('+')[0] ?? NO_RULE}`,
    ),
  ];
  const text = `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
  return options.ascii ? toAscii(text) : text;
}

/** Of an entry what the learning rate tolerates it with, in words; a verdict only where the limit is a forecast. */
function steepness(entry: CurvatureEntry, before: readonly CurvatureEntry[]): string {
  const { ratio, learningRate } = entry.stability;
  const where = entry.step === null ? '' : ` at step ${formatCount(entry.step)}`;
  const top = entry.eigenvalues[0];
  if (top === undefined || !top.converged)
    return `NOT CONVERGED${where}: the search for the steepest direction ended too early; raise --max-products`;
  if (ratio === null || learningRate === null)
    return `Steepness${where}: ${brief(top.value)}; what the learning rate tolerates is not known`;
  if (!isForecast(entry)) {
    const past = before.flatMap(({ stability }) => stability.ratio ?? []);
    const range =
      past.length === 0
        ? ''
        : past.length === 1
          ? ` (before: ${brief(past[0]!)})`
          : ` (before: ${brief(Math.min(...past))} to ${brief(Math.max(...past))})`;
    return `Steepness${where}: ${brief(ratio)} times the limit at learning rate ${brief(learningRate)}${range}; ${forecastOf(entry)}`;
  }
  const times = `${brief(ratio)} times what learning rate ${brief(learningRate)} tolerates`;
  return ratio > 1 ? `TOO STEEP${where}: ${times}` : `Stable${where}: ${times}`;
}

/** How many times the limit, and up to which learning rate it would be stable. */
const limitCells = ({ ratio, learningRate }: CurvatureEntry['stability']): string[] => [
  ratio === null ? '-' : brief(ratio),
  ratio === null || learningRate === null ? '-' : ratio > 0 ? brief(learningRate / ratio) : 'any',
];

/** Where the steps are that one place is to be compared with. */
function placeBefore(places: number, ofCapture: boolean): string {
  if (places > 1) return 'the steps';
  return ofCapture ? 'with steps before (--at STEP)' : 'with checkpoints before (--checkpoint FOLDER)';
}

/** What the headline means, and what to do next; empty where it says all. */
function below(worst: CurvatureEntry, where: string, doubtful: boolean): string {
  const { ratio, learningRate } = worst.stability;
  if (worst.eigenvalues[0]?.converged !== true) return '';
  if (ratio === null)
    return learningRate === null && !doubtful
      ? 'Alone it says nothing of the run. Name what took the steps: --optimizer adagrad:learningRate=0.1 (the options of a checkpoint of PyTorch or Keras are read from it).'
      : 'Alone it says nothing of the run.';
  if (learningRate === null) return '';
  const jump = `What counts is a jump: compare ${where}.`;
  if (!isForecast(worst)) return `${MEASURED} ${jump}`;
  return ratio > 1
    ? `Along the steepest direction a step overshoots. It would be stable up to a learning rate of ${brief(learningRate / ratio)}. ` +
        `This is a risk, not a verdict: many runs train well above 1. ${jump}`
    : '';
}

/**
 * The curvature at one place or over checkpoints, on a screen. Pure.
 *
 * @param ofCapture whether the place is a step of a capture, which has others
 * @param doubtful whether the notes say why it may be wrong: they are shown then
 * @returns undefined where more was asked for than one value a place: the full page answers that
 */
export function briefCurvature(
  entries: readonly CurvatureEntry[],
  ofCapture: boolean,
  doubtful: boolean,
  options: RenderOptions,
  divergence?: number,
): string | undefined {
  if (
    entries.some(
      ({ task, block, eigenvalues }) => task !== 'all' || block !== 'all' || eigenvalues.length > 1,
    )
  )
    return undefined;
  const paint = new Ansis(options.colour ? 1 : 0);
  const places = [...new Set(entries.map(({ checkpoint }) => checkpoint))];
  // What the optimizer makes of it decides; where that has no limit, the plain value does.
  const chosen = places.map((place) => {
    const here = entries.filter(({ checkpoint }) => checkpoint === place);
    return here.find(({ stability }) => stability.ratio !== null) ?? here[0]!;
  });
  const worst = chosen.reduce((a, b) => ((b.stability.ratio ?? -1) > (a.stability.ratio ?? -1) ? b : a));
  const { ratio, learningRate } = worst.stability;
  const known = ratio !== null && learningRate !== null && worst.eigenvalues[0]!.converged;
  const forecast = isForecast(worst);
  const text = below(worst, placeBefore(places.length, ofCapture), doubtful);
  const fit = (text: string): string => wrap(text, options.width, '  ').join('\n');
  const notes = [...new Set(entries.flatMap((entry) => entry.notes ?? []))];
  // Where nothing is known to compare with, some say why; how well a value is known is no matter then.
  const shown = doubtful
    ? notes
    : ratio === null
      ? notes.filter((note) => !note.startsWith('an eigenvalue is certified'))
      : [];
  const against = chosen.filter(({ stability }) => stability.ratio !== null);
  const forecasts = against.every(isForecast);
  const earlier = chosen.slice(0, chosen.indexOf(worst));
  const blocks = [
    (known && forecast && ratio > 1 ? paint.bold.yellow : paint.bold)(
      wrap(steepness(worst, earlier), options.width, '').join('\n'),
    ),
    text === '' ? '' : fit(text),
    places.length > 1
      ? textTable({
          head:
            against.length === 0
              ? ['step', 'steepness']
              : ['step', 'times the limit', ...(forecasts ? ['stable up to'] : [])],
          rows: chosen.map(({ step, stability, eigenvalues: [top] }) => [
            step === null ? '-' : formatCount(step),
            ...(against.length > 0
              ? limitCells(stability).slice(0, forecasts ? 2 : 1)
              : [top?.converged ? brief(top.value) : '-']),
          ]),
          paintHead: paint.bold,
        }).join('\n')
      : '',
    places.length > 1 && against.length > 1
      ? ratioChart(
          against,
          options,
          divergence === undefined
            ? []
            : [{ step: divergence, symbol: symbolOf('onset', options.ascii), label: 'divergence' }],
        )
      : '',
    shown.map((note) => fit(`Note: ${inertName(note)}`)).join('\n'),
    paint.dim(
      `  More: --verbose${notes.length > shown.length ? ` (${countedPlain(notes.length - shown.length, shown.length > 0 ? 'more note' : 'note')})` : ''} · explain curvature`,
    ),
  ];
  const page = blocks.filter((block) => block !== '').join('\n\n');
  return options.ascii ? toAscii(page) : page;
}
