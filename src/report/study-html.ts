/** A study as one HTML file without scripts: a heat map and the loss curves of each model. */
import { formatCount, formatNumber, formatQuality } from '../model/format-number.ts';
import { METRIC_NAMES, type StudyCell, type StudyResult } from '../model/study.ts';
import { contentPolicy } from './content-policy.ts';
import { HTML_PARTS } from './html-parts.ts';
import { badge, type Html, h, type Tone } from './html-template.ts';
import { bestLines, crashLines, pointText, studyLegend, studyTable } from './study-text.ts';

const SHADES = 10;
const STYLE = `${HTML_PARTS.style}
.heat td { text-align: center; min-width: 5.5em; }
.heat td.empty { background: none; }
.heat td.hurt { background: var(--warn-bg); color: var(--warn); }
.heat td.lost, .heat td.crashed { background: var(--bad-bg); color: var(--bad); }
.heat td.frozen { background: var(--grid); color: var(--soft); }
.heat td.best { outline: 2px solid var(--accent); outline-offset: -2px; font-weight: 700; }
.heat small { display: block; opacity: 0.85; }
${Array.from({ length: SHADES }, (_, i) => `.heat td.q${i} { background: color-mix(in srgb, var(--good) ${8 + 4 * i}%, var(--card)); }`).join('\n')}
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }
.curves figure { margin: 0; }
.curves svg { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); }
.curves text { font: 10px system-ui, sans-serif; fill: var(--soft); }
.curves path { fill: none; stroke-width: 1.4; }
.curves line { stroke: var(--grid); }
${Array.from({ length: 8 }, (_, i) => `.s${i} { stroke: var(--c${i}); } .k${i} { color: var(--c${i}); }`).join('\n')}
.key { font-weight: 600; margin-right: 1em; }`;

const POLICY = contentPolicy(STYLE);

/** Shade of a quality between the worst and the best that hold. */
function heatMap(result: StudyResult, model: string): Html {
  const { head, rows, names } = studyTable(result, model);
  const held = rows.flat().flatMap(({ point }) => (point?.verdict === 'holds' ? [point.quality.mean] : []));
  const [low, high] = [Math.min(...held), Math.max(...held)];
  const shadeOf = (quality: number): number => {
    const share = high > low ? (quality - low) / (high - low) : 1;
    return Math.round((SHADES - 1) * (result.study.metric.name === 'auc' ? share : 1 - share));
  };
  return h`<div class="scroll" tabindex="0" role="region" aria-label="Learning rate by rule, ${model}"><table class="data heat">
<thead><tr><th scope="col">rule</th>${head.map((rate) => h`<th scope="col">${rate}</th>`)}</tr></thead>
<tbody>${rows.map(
    (cells, r) =>
      h`<tr><th scope="row">${names[r]!}</th>${cells.map(({ point, best }) => {
        if (point === null) return h`<td class="empty"></td>`;
        const holds = point.verdict === 'holds';
        const kind = holds ? `q${shadeOf(point.quality.mean)}` : point.verdict;
        const main = holds ? formatQuality(point.quality.mean) : pointText(point);
        const under = [
          holds
            ? point.seeds > 1
              ? `± ${formatNumber(point.quality.sd, 'rough')}`
              : ''
            : formatQuality(point.quality.mean),
          point.label === names[r] ? '' : point.label,
        ].filter((part) => part !== '');
        return h`<td class="${kind}${best ? ' best' : ''}">${main}${under.map((part) => h`<small>${part}</small>`)}</td>`;
      })}</tr>\n`,
  )}</tbody></table></div>`;
}

/** In one figure; more are a smear, and megabytes. */
const MOST_CURVES = 200;

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [320, 190, 42, 22, 8] as const;

/** Losses of the rules of a row's table cells, a line for each rate and seed, on one logarithmic axis for the model. */
function curves(result: StudyResult, model: string): Html {
  const own = result.cells.filter((cell) => cell.model === model);
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const { curve } of own)
    for (const x of curve)
      if (Number.isFinite(x) && x > 0) [least, most] = [Math.min(least, x), Math.max(most, x)];
  if (most === 0) return h`<p>No loss was finite.</p>`;
  const low = Math.log10(least);
  // What explodes leaves the picture: three decades above the lowest show all that learns.
  const high = Math.min(Math.log10(most), low + 3);
  const y = (value: number): number => {
    const share = (Math.min(Math.log10(Math.max(value, 1e-300)), high) - low) / (high - low || 1);
    return HEIGHT - BOTTOM - Math.max(share, 0) * (HEIGHT - BOTTOM - TOP);
  };
  const path = ({ curve }: StudyCell): string => {
    let pen = 'M';
    return curve
      .map((value, i) => {
        if (!Number.isFinite(value)) {
          pen = 'M';
          return '';
        }
        const x = LEFT + (i / Math.max(curve.length - 1, 1)) * (WIDTH - LEFT - 6);
        const part = `${pen}${x.toFixed(1)} ${y(value).toFixed(1)}`;
        pen = 'L';
        return part;
      })
      .join('');
  };
  const ticks = Array.from({ length: 3 }, (_, i) => 10 ** (low + ((high - low) * i) / 2));
  const rates = result.study.learningRates;
  const drawn = Math.max(1, Math.floor(MOST_CURVES / rates.length));
  const figures = result.summary
    .filter((row) => row.model === model)
    .map((row) => {
      const lines = row.points.flatMap(({ label, learningRate }) =>
        own
          .filter(
            (cell) => cell.rule === row.rule && cell.label === label && cell.learningRate === learningRate,
          )
          .slice(0, drawn)
          .map((cell) => h`<path class="s${rates.indexOf(learningRate) % 8}" d="${path(cell)}"></path>`),
      );
      return h`<figure><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Losses under ${row.rule}">
${ticks.map((tick) => h`<line x1="${LEFT}" x2="${WIDTH}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}"></line><text x="2" y="${(y(tick) + 3).toFixed(1)}">${formatNumber(tick, 'rough')}</text>`)}
<text x="${LEFT}" y="${HEIGHT - 6}">step 0</text><text x="${WIDTH - 60}" y="${HEIGHT - 6}">${formatCount(result.study.steps)}</text>
${lines}</svg><figcaption>${row.rule}</figcaption></figure>`;
    });
  return h`<p>Learning rates: ${rates.map((rate, i) => h`<span class="key k${i % 8}">${formatNumber(rate)}</span>`)}${drawn < result.study.seeds && `The first ${formatCount(drawn)} seeds of each are drawn.`}</p><div class="curves">${figures}</div>`;
}

/** Pure: same study, same bytes. */
export function renderStudyHtml(result: StudyResult): string {
  const { study } = result;
  const sections = study.models.map(
    (model, i) => h`<section class="card" aria-labelledby="model-${i}">
<h2 id="model-${i}">${model}</h2>
${heatMap(result, model)}
<h3>Best of each rule</h3>
<table class="data"><thead><tr><th scope="col">rule</th><th scope="col">best that holds</th><th scope="col">largest stable rate</th></tr></thead>
<tbody>${bestLines(result, model).map((cells) => h`<tr>${cells.map((cell) => h`<td>${cell}</td>`)}</tr>`)}</tbody></table>
<h3>Training loss</h3>
${curves(result, model)}
</section>`,
  );
  const remarks = [...crashLines(result), ...result.notes];
  const tone: Tone = result.missing > 0 ? 'warn' : 'good';
  const inner = (text: string): Html => ({ html: text });
  return `${
    h`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Stability study: ${METRIC_NAMES[study.metric.name]} of ${study.metric.task}</title>
<style>${inner(STYLE)}</style>
</head>
<body>
<header><div class="top"><div class="brand">clippy-diag matrix · ${study.file}</div>
<h1>${badge(result.missing > 0 ? 'not whole' : `${formatCount(result.cells.length)} cells`, tone)} Stability study</h1>
<p>${result.conclusion}</p></div></header>
<main id="main">
<p>${formatCount(study.steps)} steps of ${formatCount(study.batch)} rows in each cell. ${studyLegend(result)}</p>
${remarks.length > 0 && h`<ul>${remarks.map((remark) => h`<li>${remark}</li>`)}</ul>`}
${sections}
</main>
</body>
</html>`.html
  }\n`;
}
