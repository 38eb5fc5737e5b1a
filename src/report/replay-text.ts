/** Replays for a terminal: a matrix rule × what matters, the factors over the steps, and the conclusion in words. */
import { Ansis } from 'ansis';
import type { Finding } from '../model/finding.ts';
import { countedPlain, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { medianOf, smallest } from '../model/order-statistics.ts';
import { NO_OPTIMIZER, NO_RULE, type ReplayEntry, type ReplayVerdict } from '../model/replay.ts';
import type { StepUnit } from '../model/run.ts';
import { type ChartLine, drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';
import { placeText, replayLabel } from './replay-label.ts';
import { symbolOf } from './run-events.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

/** What a mode of replay can tell. */
export const MODES: Readonly<Record<ReplayEntry['mode'], string>> = {
  'as-recorded':
    'as recorded: factors at the recorded states are exact; what the run would have become is an estimate',
  'open-loop':
    'open loop: exact until the first step that a rule changes, an approximation along the recorded gradients after it',
  'closed-loop': 'closed loop: gradients computed again at the replayed parameters',
};

export const FROM_LOG =
  'from the log alone: what a rule on the gradient norm would have scaled; no counterfactual';

const COLOURS: Readonly<Record<ReplayVerdict, 'green' | 'red' | 'yellow' | 'dim'>> = {
  prevented: 'green',
  delayed: 'yellow',
  'not-prevented': 'red',
  'cannot-tell': 'yellow',
  'not-needed': 'dim',
  harmful: 'red',
};

/** What is not known is a question mark, not a number. */
const factorText = (factor: number): string =>
  Number.isNaN(factor) ? '?' : factor === 1 ? '1' : formatNumber(factor);
const percent = (share: number): string => (Number.isNaN(share) ? '?' : `${Math.round(100 * share)} %`);
/** Entries made of a log alone: it names no optimizer. */
export const fromLog = (entry: ReplayEntry): boolean => entry.optimizer === NO_OPTIMIZER;

/** Whether a closed loop under the same rule, shown below, says what an estimate cannot. */
type IsDecided = (entry: ReplayEntry) => boolean;

/** Rule by rule what matters; in a narrow terminal the last columns go. */
function matrix(
  entries: readonly ReplayEntry[],
  paint: Ansis,
  width: number,
  isDecided: IsDecided = () => false,
): string[] {
  const head = ['rule', 'verdict', 'from', 'steps', 'at onset', 'smallest', 'kept'];
  const rows = entries.map((entry) => {
    const onset = entry.onsetStep == null ? -1 : entry.steps.indexOf(entry.onsetStep);
    const at = (values: readonly number[] | undefined): string =>
      onset < 0 || values === undefined ? '-' : factorText(values[onset]!);
    return [
      inertName(replayLabel(entry)),
      isDecided(entry)
        ? 'see closed loop'
        : `${entry.verdict}${entry.confidence === 'estimate' ? ' (est.)' : ''}`,
      entry.firstEngagedStep !== null
        ? String(entry.firstEngagedStep)
        : Number.isNaN(entry.engagedFraction)
          ? '?'
          : 'never',
      percent(entry.engagedFraction),
      at(entry.minClipFactor),
      factorText(smallest(entry.minClipFactor)),
      at(entry.keptUpdate),
    ];
  });
  const used = head.map((_, c) => c).filter((c) => c === 0 || rows.some((row) => row[c] !== '-'));
  return textTable({
    head: used.map((c) => head[c]!),
    rows: rows.map((row) => used.map((c) => row[c]!)),
    width,
    paintHead: paint.bold,
    paintCell: (text, r, c) =>
      c === 1 ? paint[isDecided(entries[r]!) ? 'dim' : COLOURS[entries[r]!.verdict]](text) : text,
  });
}

/** What the recorded run did at the onset, whatever the rule: the paper's figure 4 without the factors. */
function recordedRun(entry: ReplayEntry | undefined, paint: Ansis, width: number): string[] {
  const { gradientNorm, directionMax, steps } = entry ?? {};
  if (!entry || !gradientNorm || !directionMax || !steps) return [];
  const onset = entry.onsetStep == null ? -1 : steps.indexOf(entry.onsetStep);
  if (onset < 0) return [];
  const row = (name: string, values: readonly number[]): string[] => {
    const usual = medianOf(values.slice(0, onset));
    const times = values[onset]! / usual;
    return [name, ...[usual, values[onset]!, times].map((x) => (Number.isNaN(x) ? '?' : formatNumber(x)))];
  };
  return textTable({
    head: ['without a rule', 'usual', `step ${steps[onset]}`, 'times'],
    rows: [
      ...(entry.loss === null ? [] : [row('loss', entry.loss)]),
      row('gradient norm', gradientNorm),
      row('largest |r|', directionMax),
    ],
    width,
    paintHead: paint.bold,
  });
}

/** Tensors that are listed. */
const LISTED = 24;

/** Factors at the onset, tensor by tensor in the model's order: the paper's figure 6. The bar is long where the lead rule clips most. */
function factorsByTensor(entries: readonly ReplayEntry[], paint: Ansis, options: RenderOptions): string[] {
  const shown = entries.filter(
    ({ tensors }) => tensors !== undefined && new Set(tensors.map(({ atIncident }) => atIncident)).size > 1,
  );
  const lead = shown.find((entry) => entry.lead) ?? shown[0];
  if (lead === undefined) return [];
  const factorOf = (entry: ReplayEntry, name: string): number =>
    entry.tensors!.find(({ tensor }) => tensor === name)?.atIncident ?? Number.NaN;
  const names = lead.tensors!.map(({ tensor }) => tensor);
  const listed = new Set([...names].sort((a, b) => factorOf(lead, a) - factorOf(lead, b)).slice(0, LISTED));
  const deepest = Math.max(...names.map((name) => -Math.log10(factorOf(lead, name))).filter(Number.isFinite));
  const bar = (factor: number): string =>
    (options.ascii ? '#' : '█').repeat(
      factor < 1 && deepest > 0 ? Math.max(1, Math.round((-8 * Math.log10(factor)) / deepest)) : 0,
    );
  const others = shown.filter((entry) => entry !== lead);
  const rows = textTable({
    head: [
      `factors at step ${lead.onsetStep}`,
      inertName(replayLabel(lead)),
      '',
      ...others.map((entry) => inertName(replayLabel(entry))),
    ],
    rows: names
      .filter((name) => listed.has(name))
      .map((name) => [
        inertName(name),
        factorText(factorOf(lead, name)),
        bar(factorOf(lead, name)),
        ...others.map((entry) => factorText(factorOf(entry, name))),
      ]),
    width: options.width,
    paintHead: paint.bold,
  });
  return names.length > LISTED
    ? [...rows, `and ${names.length - LISTED} tensors that are clipped less`]
    : rows;
}

/** Factors over the steps: one chart with a colour for each rule, or one for each rule where there are no colours. */
function charts(entries: readonly ReplayEntry[], options: RenderOptions): string[] {
  const acting = entries.filter((entry) => entry.minClipFactor.some((factor) => factor !== 1));
  const lines = acting.map((entry) => lineOfValues(replayLabel(entry), entry.steps, entry.minClipFactor));
  const onset = entries[0]?.onsetStep ?? null;
  const markers =
    onset === null ? [] : [{ step: onset, symbol: symbolOf('onset', options.ascii), label: 'onset' }];
  const draw = (title: string, series: readonly ChartLine[], height: number): string =>
    drawChart(title, series, { ...options, height, markers });
  const { steps, gradientNorm, directionMax } = entries[0] ?? {};
  const recorded =
    steps && gradientNorm && directionMax
      ? [
          draw('gradient norm without a rule', [lineOfValues('gradient norm', steps, gradientNorm)], 4),
          draw('largest |r| without a rule', [lineOfValues('largest |r|', steps, directionMax)], 4),
        ]
      : [];
  if (lines.length === 0) return recorded;
  return options.colour || lines.length === 1
    ? [...recorded, draw('smallest factor of each step', lines, 10)]
    : [...recorded, ...lines.map((line) => draw(`smallest factor of each step: ${line.name}`, [line], 4))];
}

/** When and how hard a rule acts, in words. */
function story(entry: ReplayEntry, unit: StepUnit): string {
  const name = replayLabel(entry);
  if (entry.firstEngagedStep === null && Number.isNaN(entry.engagedFraction)) return `${name}: ${entry.why}`;
  if (entry.firstEngagedStep === null) return `${name} never acts`;
  const onset = entry.onsetStep ?? null;
  if (onset === null)
    return `${name} first acts at ${unit} ${entry.firstEngagedStep}, with a smallest factor of ${factorText(smallest(entry.minClipFactor))}`;
  const before = entry.steps.filter((step) => step >= entry.firstEngagedStep! && step < onset).length;
  const when =
    entry.firstEngagedStep === onset
      ? 'as the loss leaves its band'
      : entry.firstEngagedStep < onset
        ? `${countedPlain(before, unit)} before the loss leaves its band`
        : `after the loss has left its band at ${unit} ${onset}`;
  const index = entry.steps.indexOf(onset);
  const factor = entry.minClipFactor[index];
  const [tightest] = [...(entry.tensors ?? [])]
    .filter(({ atIncident }) => atIncident === factor)
    .map(({ tensor }) => tensor);
  const kept = entry.keptUpdate?.[index];
  return (
    `${name} first acts at ${unit} ${entry.firstEngagedStep}, ${when}` +
    (factor === undefined
      ? ''
      : Number.isNaN(factor)
        ? `; at ${unit} ${onset} gradient or state are not finite, which no factor cures`
        : `; at ${unit} ${onset} its factor is ${factorText(factor)}${tightest === undefined ? '' : ` on ${tightest}`}` +
          (kept === undefined ? '' : `, which keeps ${percent(kept)} of the update`))
  );
}

/** One line: what happened, and what the rules that matter do about it. */
export function replayConclusion(
  entries: readonly ReplayEntry[],
  unit: StepUnit = 'step',
  isDecided: IsDecided = () => false,
): string {
  // In a closed loop every rule has losses, and an onset, of its own; so has another learning rate.
  const closed = entries.every((entry) => entry.mode === 'closed-loop');
  const judged = entries.filter((entry) =>
    (entry.learningRateMultiplier ?? 1) === 1 ? entry.rule !== NO_RULE : closed,
  );
  const onset = entries[0]?.onsetStep ?? null;
  const first = judged.find((entry) => entry.lead) ?? judged[0];
  const by = (verdict: ReplayVerdict, words: string): string[] => {
    const names = judged.filter((one) => one.verdict === verdict && !isDecided(one)).map(replayLabel);
    return names.length === 0 ? [] : [`${words} ${names.join(', ')}`];
  };
  const what = closed
    ? `Trained on from ${unit} ${entries[0]?.steps[0]}`
    : onset === null
      ? 'The losses show no incident'
      : `The loss leaves its band at ${unit} ${onset}`;
  const parts = [
    what,
    ...(first === undefined || closed ? [] : [story(first, unit)]),
    ...by('prevented', 'held by'),
    ...by('delayed', 'delayed by'),
    ...by('not-prevented', 'not held by'),
    ...by('harmful', 'made worse by'),
    ...by('not-needed', 'no need of'),
    ...by('cannot-tell', 'cannot tell for'),
  ];
  return `${parts.join('; ')}.`;
}

/** The options of a rule, without those that leave nothing out; of a rule among several with its name. */
function optionLine(
  one: Pick<ReplayEntry, 'rule' | 'options'>,
  _: number,
  all: readonly unknown[],
): string[] {
  const said = Object.entries(one.options).filter(
    ([name, value]) => name !== 'preset' && (name !== 'embeddings' || value === false),
  );
  if (said.length === 0) return [];
  const text = said.map(([name, value]) => `${name}=${value}`).join(', ');
  return [all.length > 1 ? `  ${one.rule}: ${text}` : `  ${text}`];
}

/** What is particular to Clippy, thresholds that would do, and the tensors that are clipped most. */
const CHARACTERS: Readonly<Record<NonNullable<ReplayEntry['character']>, string>> = {
  idle: '',
  'safety-net': ' (a safety net)',
  'step-limiter': ' (a step limiter)',
};

function remarks(entry: ReplayEntry): string[] {
  const lines = [`${replayLabel(entry)}${CHARACTERS[entry.character ?? 'idle']}: ${entry.why}`];
  const verdicts = new Map<ReplayVerdict, string[]>();
  for (const { name, verdict } of entry.tasks ?? [])
    verdicts.set(verdict, [...(verdicts.get(verdict) ?? []), name]);
  if (verdicts.size > 0)
    lines.push(
      `  tasks: ${[...verdicts].map(([verdict, names]) => `${names.join(', ')} ${verdict}`).join('; ')}`,
    );
  lines.push(...(entry.rules ?? [entry]).flatMap(optionLine));
  if (entry.bottleneck !== null && entry.rule !== NO_RULE)
    lines.push(
      `  smallest factor ${factorText(entry.bottleneck.factor)}: ${placeText(entry.bottleneck)}` +
        (entry.clippy?.dominatedBy
          ? `, set by ${entry.clippy.dominatedBy} (w ${formatNumber(entry.clippy.parameter!)}, update ${formatNumber(entry.clippy.update!)})`
          : ''),
    );
  const clipped = [...(entry.tensors ?? [])]
    .filter(({ atIncident }) => atIncident < 1)
    .sort((a, b) => a.atIncident - b.atIncident);
  if (clipped.length > 1 && new Set(clipped.map(({ atIncident }) => atIncident)).size > 1)
    lines.push(
      `  clipped most at the onset: ${clipped
        .slice(0, 4)
        .map(({ tensor, atIncident }) => `${tensor} ${factorText(atIncident)}`)
        .join(', ')}${clipped.length > 4 ? `, ${clipped.length - 4} more` : ''}`,
    );
  const frozen = entry.clippy?.frozen ?? [];
  if (frozen.length > 0) {
    const worst = [...frozen].sort((a, b) => b.steps - a.steps).slice(0, 3);
    lines.push(
      `  frozen (factor below 0.001): ${worst
        .map(
          ({ tensor, steps: count, absoluteThreshold }) =>
            `${tensor} at ${countedPlain(count, 'step')}, free ${Number.isFinite(absoluteThreshold) ? `from absoluteThreshold ${formatNumber(absoluteThreshold)}` : 'at no absoluteThreshold'}`,
        )
        .join('; ')}${frozen.length > 3 ? `; ${frozen.length - 3} more` : ''}`,
    );
  }
  if (entry.sweep !== undefined)
    lines.push(
      entry.sweep.largest === null
        ? `  no ${entry.sweep.option} from ${formatNumber(entry.sweep.values[0]!)} up holds the update at the incident`
        : `  holds the update at the incident up to ${entry.sweep.option} ${formatNumber(entry.sweep.largest)}`,
    );
  return lines;
}

/** The optimizer that the steps were taken with; where a rule's own options replace some, which rules have which. */
function optimizersOf(entries: readonly ReplayEntry[]): string[] {
  const users = new Map<string, string[]>();
  for (const entry of entries) {
    if (typeof entry.optimizer === 'string' || entry.source === 'recorded') continue;
    const { name, ...options } = entry.optimizer;
    const text = [name, ...Object.entries(options).map(([key, value]) => `${key}=${value}`)].join(', ');
    users.set(text, [...(users.get(text) ?? []), replayLabel(entry)]);
  }
  return [...users].map(
    ([text, labels]) => `optimizer${users.size > 1 ? ` of ${labels.join(', ')}` : ''}: ${text}`,
  );
}

/** The replays of one capture as text. Pure; entries may come from a saved report. */
export function renderReplay(
  entries: readonly ReplayEntry[],
  more: { readonly findings?: readonly Finding[]; readonly notes?: readonly string[] },
  options: RenderOptions,
): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const fit = (text: string): string =>
    wrap(inertName(text), options.width, /^ */.exec(text)![0], '  ').join('\n');
  const modes = [...new Set(entries.map((entry) => entry.mode))];
  const blocks = [
    [...modes.map((mode) => MODES[mode]), ...optimizersOf(entries)].map(fit).join('\n'),
    matrix(entries, paint, options.width).join('\n'),
    recordedRun(entries[0], paint, options.width).join('\n'),
    ...charts(entries, options),
    factorsByTensor(entries, paint, options).join('\n'),
    entries.flatMap(remarks).map(fit).join('\n'),
    (more.findings ?? [])
      .map(({ severity, id, message }) => fit(`${severity}[${id}]: ${message}`))
      .join('\n'),
    (more.notes ?? []).map((note) => fit(`note: ${note}`)).join('\n'),
    paint.bold(fit(replayConclusion(entries))),
  ];
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
}

/** The matrix of one mode and its conclusion, for a report that has more to say. */
export function replaySummary(
  entries: readonly ReplayEntry[],
  options: RenderOptions & { readonly stepUnit: StepUnit },
): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const looped = new Set(entries.filter(({ mode }) => mode === 'closed-loop').map(replayLabel));
  const isDecided: IsDecided = (entry) =>
    entry.mode !== 'closed-loop' && entry.verdict === 'cannot-tell' && looped.has(replayLabel(entry));
  return [...new Set(entries.map((entry) => entry.mode))].flatMap((mode, index) => {
    const same = entries.filter((entry) => entry.mode === mode);
    return [
      ...(index === 0 ? [] : ['']),
      ...wrap(same.every(fromLog) ? FROM_LOG : MODES[mode], options.width, '  ', '  '),
      ...matrix(same, paint, options.width - 2, isDecided).map((line) => `  ${line}`),
      // A capture counts steps, whatever its log counts.
      ...wrap(
        inertName(replayConclusion(same, same.every(fromLog) ? options.stepUnit : 'step', isDecided)),
        options.width,
        '  ',
        '  ',
      ),
    ];
  });
}
