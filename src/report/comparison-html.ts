/** A comparison of two runs as one HTML file without scripts: both losses, their difference, tensors by steps. */
import type {
  ComparedLink,
  ComparisonPicture,
  RunComparison,
  RunDifference,
  TensorPicture,
} from '../model/comparison.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import { LOG_RATIO } from './charts.ts';
import { comparedWords, differenceWords } from './comparison-text.ts';
import { contentPolicy } from './content-policy.ts';
import { heatMap, shadesLegend } from './heat-map.ts';
import { HTML_PARTS } from './html-parts.ts';
import { badge, type Column, type Html, h, table } from './html-template.ts';
import { cellText } from './runs-page.ts';

const TONES = { same: 'good', apart: 'bad', 'cannot-tell': 'warn' } as const;

// ---- charts

interface Line {
  readonly name: string;
  /** Colour of the page's palette. */
  readonly colour: number;
  readonly values: readonly (number | null)[];
  readonly dashed?: true;
}

interface Mark {
  readonly step: number;
  readonly text: string;
}

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 224, 66, 24, 22] as const;
/** Grid lines of a chart. */
const TICKS = 4;
/** Decades of a logarithmic axis, at most: what lies below is drawn at its foot. */
const DECADES = 12;

interface Scale {
  readonly y: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Null where no value can be drawn. */
function scaleOf(lines: readonly Line[], logarithmic: boolean | null): Scale | null {
  let [low, high, least] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (const { values } of lines)
    for (const value of values) {
      if (value === null || !Number.isFinite(value)) continue;
      [low, high] = [Math.min(low, value), Math.max(high, value)];
      if (value > 0) least = Math.min(least, value);
    }
  if (low > high) return null;
  const log = logarithmic ?? (low > 0 && high / low > LOG_RATIO);
  const to = (value: number): number => (log ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value);
  const top = log && high <= 0 ? 0 : to(high);
  const bottom = log ? Math.max(high <= 0 ? -1 : to(least), top - DECADES) : low;
  const range = top - bottom || 1;
  const from = (share: number): number => (log ? 10 ** (bottom + range * share) : bottom + range * share);
  return {
    y: (value) => {
      const share = (to(value) - bottom) / range;
      return HEIGHT - BOTTOM - Math.min(1, Math.max(0, share)) * (HEIGHT - BOTTOM - TOP);
    },
    ticks: Array.from({ length: TICKS }, (_, k) => from(k / (TICKS - 1))),
  };
}

/** The lines of one chart; a step without a finite value interrupts its line. */
function chart(
  title: string,
  steps: readonly number[],
  lines: readonly Line[],
  marks: readonly Mark[],
  logarithmic: boolean | null,
): Html | false {
  const scale = scaleOf(lines, logarithmic);
  if (scale === null || steps.length === 0) return false;
  const [from, to] = [steps[0]!, steps.at(-1)!];
  const x = (step: number): number => LEFT + ((step - from) / (to - from || 1)) * (WIDTH - LEFT - 8);
  const path = (values: readonly (number | null)[]): string => {
    let pen = 'M';
    return steps
      .map((step, k) => {
        const value = values[k] ?? null;
        if (value === null || !Number.isFinite(value)) {
          pen = 'M';
          return '';
        }
        const part = `${pen}${x(step).toFixed(1)} ${scale.y(value).toFixed(1)}`;
        pen = 'L';
        return part;
      })
      .join('');
  };
  const shown = marks.filter(({ step }) => step >= from && step <= to);
  const label = `${title}, steps ${formatCount(from)} to ${formatCount(to)}: ${lines.map(({ name }) => name).join('; ')}`;
  return h`<figure><figcaption>${title}</figcaption>
<svg class="lines" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">
${scale.ticks.map((tick) => h`<line x1="${LEFT}" x2="${WIDTH}" y1="${scale.y(tick).toFixed(1)}" y2="${scale.y(tick).toFixed(1)}"></line><text x="${LEFT - 6}" y="${(scale.y(tick) + 3.5).toFixed(1)}" class="end">${formatNumber(tick, 'rough')}</text>`)}
<text x="${LEFT}" y="${HEIGHT - 6}">step ${formatCount(from)}</text><text x="${WIDTH - 4}" y="${HEIGHT - 6}" class="end">${formatCount(to)}</text>
${shown.map(({ step, text }, k) => h`<line class="mark" x1="${x(step).toFixed(1)}" x2="${x(step).toFixed(1)}" y1="${TOP - 8}" y2="${HEIGHT - BOTTOM}"><title>${text}</title></line><text class="${x(step) > WIDTH / 2 ? 'end' : ''}" x="${(x(step) + (x(step) > WIDTH / 2 ? -4 : 4)).toFixed(1)}" y="${TOP - 6}" dy="${k}em">${text}</text>`)}
${lines.map(({ colour, values, dashed }) => h`<path class="s${colour}${dashed === true ? ' dashed' : ''}" d="${path(values)}"></path>`)}
</svg>
<ul class="keys">${lines.map(({ name, colour, dashed }) => h`<li><b class="k${colour}">${dashed === true ? '┄' : '━'} ${name}</b></li>`)}</ul></figure>`;
}

function marksOf({ differsAt, partsAt, forGoodFrom }: RunComparison): Mark[] {
  const marks = [
    { at: differsAt?.step, text: 'differs' },
    { at: partsAt?.step, text: 'apart' },
    { at: forGoodFrom ?? undefined, text: 'to the end' },
  ];
  const byStep = new Map<number, string[]>();
  for (const { at, text } of marks) if (at !== undefined) byStep.set(at, [...(byStep.get(at) ?? []), text]);
  return [...byStep].map(([step, texts]) => ({ step, text: `${texts.join(', ')}: ${formatCount(step)}` }));
}

function charts(comparison: RunComparison, { losses }: ComparisonPicture): readonly (Html | false)[] {
  const { steps, a, b, difference, floor } = losses;
  const marks = marksOf(comparison);
  const finiteFloor = floor.some((limit) => limit !== null);
  return [
    chart(
      'Losses',
      steps,
      [
        { name: `first: ${comparison.runs.a[0] ?? ''}`, colour: 0, values: a },
        { name: `second: ${comparison.runs.b[0] ?? ''}`, colour: 1, values: b, dashed: true },
      ],
      marks,
      null,
    ),
    chart(
      'Relative difference of the losses',
      steps,
      [
        // Equal losses have no place on a logarithmic axis.
        { name: 'difference', colour: 6, values: difference.map((size) => (size > 0 ? size : null)) },
        ...(finiteFloor ? [{ name: 'floor', colour: 7, values: floor, dashed: true as const }] : []),
      ],
      marks,
      true,
    ),
  ];
}

// ---- tensors by steps

/** Upper ends of the shades: below each a difference has that shade. */
const SHADE_ENDS = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, Number.POSITIVE_INFINITY] as const;

const shadeOf = (size: number): string =>
  size === 0 ? 'equal' : `h${SHADE_ENDS.findIndex((end) => size < end || end === Number.POSITIVE_INFINITY)}`;

const sizeText = (size: number): string =>
  size === 0 ? 'equal' : Number.isFinite(size) ? size.toExponential(1) : 'not finite';

const LINK_TITLES: Partial<Record<ComparedLink, string>> = {
  weights: 'Weights before each step',
  gradient: 'Gradients',
  state: 'Optimizer state before each step',
  update: 'Weights after each step',
};

const TENSOR_COLUMNS = (steps: readonly number[]): readonly Column<TensorPicture['tensors'][number]>[] => {
  const first = (sizes: readonly (number | null)[]): number | null =>
    steps[sizes.findIndex((size) => size !== null && size !== 0)] ?? null;
  const most = (sizes: readonly (number | null)[]): number =>
    sizes.reduce<number>((found, size) => Math.max(found, size ?? 0), 0);
  return [
    { title: 'tensor', cell: ({ name }) => h`<code>${name}</code>` },
    {
      title: 'differs from step',
      cell: ({ sizes }) => (first(sizes) === null ? '–' : formatCount(first(sizes)!)),
      value: ({ sizes }) => first(sizes),
    },
    {
      title: 'largest difference',
      cell: ({ sizes }) => sizeText(most(sizes)),
      value: ({ sizes }) => most(sizes),
    },
  ];
};

const LEGEND = shadesLegend([
  { shade: 'equal', text: 'equal to the bit' },
  ...SHADE_ENDS.map((end, k) => ({
    shade: `h${k}`,
    text: k === 0 ? `below ${end.toExponential()}` : `from ${SHADE_ENDS[k - 1]!.toExponential()}`,
  })),
  { text: 'Relative to the size of the tensor.' },
]);

function differencesOf({ link, steps, tensors, left }: TensorPicture): Html | false {
  if (steps.length === 0 || tensors.length === 0) return false;
  const title = LINK_TITLES[link] ?? link;
  const differing = tensors.filter(({ sizes }) => sizes.some((size) => size !== null && size !== 0));
  if (differing.length === 0)
    return h`<p>${title}: all ${formatCount(tensors.length)} tensors are equal to the bit at ${formatCount(steps.length)} ${steps.length === 1 ? 'step' : 'steps'}.</p>`;
  return h`<figure><figcaption>${title}: size of the difference by tensor and step</figcaption>
${heatMap({
  label: `${title}: ${formatCount(differing.length)} of ${formatCount(tensors.length)} tensors differ. The table below has the numbers.`,
  steps,
  rows: tensors.map(({ name, sizes }) => ({ name, values: sizes })),
  shadeOf,
  textOf: sizeText,
})}
${left > 0 && h`<p class="meta">${formatCount(left)} more tensors, with smaller differences, are not drawn.</p>`}
<details><summary>Table</summary>${table(title, TENSOR_COLUMNS(steps), tensors)}</details></figure>`;
}

/** The charts of a comparison, for a page of its own or that of a report. */
export function comparisonFigures(comparison: RunComparison): Html | false {
  const { picture } = comparison;
  return (
    picture !== undefined &&
    h`<div class="comparison">${charts(comparison, picture)}${picture.tensors.map(differencesOf)}${picture.tensors.length > 0 && LEGEND}</div>`
  );
}

// ---- the page

type Setting = RunComparison['settings'][number];
const SETTING_COLUMNS: readonly Column<Setting>[] = [
  { title: 'setting', cell: ({ key }) => h`<code>${key}</code>` },
  { title: 'first', cell: ({ a }) => cellText(a, '–'), wide: true },
  { title: 'second', cell: ({ b }) => cellText(b, '–'), wide: true },
];

function facts(comparison: RunComparison): Html {
  const { runs, differsAt, partsAt, forGoodFrom, floor } = comparison;
  const place = (at: RunDifference | null): string | null => (at === null ? null : differenceWords(at));
  const rows: readonly (readonly [string, string | null])[] = [
    ['first', runs.a.join(', ')],
    ['second', runs.b.join(', ')],
    ['compared', comparedWords(comparison)],
    ['differs', place(differsAt)],
    ['apart', place(partsAt)],
    ['to the end', forGoodFrom === null ? null : `from step ${formatCount(forGoodFrom)} on`],
    ['floor', floor.relative === null ? floor.kind : `${floor.kind}, ${floor.relative.toExponential(1)}`],
  ];
  return h`<dl class="parts facts">${rows.map(([label, text]) => text !== null && h`<div class="part"><dt>${label}</dt><dd>${text}</dd></div>`)}</dl>`;
}

const POLICY = contentPolicy(HTML_PARTS.style);

/** Pure: same comparison, same bytes. Names are untrusted text. */
export function renderComparisonHtml(comparison: RunComparison): string {
  const { verdict, statement, settings, more } = comparison;
  const inner = (text: string): Html => ({ html: text });
  return h`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Two runs: ${verdict} · clippy-diag</title>
<style>${inner(HTML_PARTS.style)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the comparison</a>
<header><div class="top brand">clippy-diag compare</div></header>
<main id="main">
<section class="card" aria-labelledby="title">
<h1 id="title">${badge(verdict, TONES[verdict])} Two runs</h1>
<p><b>${statement}</b></p>
${facts(comparison)}
${more.length > 0 && h`<ul>${more.map((line) => h`<li>${line}</li>`)}</ul>`}
</section>
${settings.length > 0 && h`<section class="card" aria-labelledby="settings"><h2 id="settings">Settings that differ</h2>${table('Settings that differ', SETTING_COLUMNS, settings)}</section>`}
${comparison.picture !== undefined && h`<section class="card" aria-labelledby="pictures"><h2 id="pictures">Where they differ</h2>${comparisonFigures(comparison)}</section>`}
</main>
</body>
</html>
`.html;
}
