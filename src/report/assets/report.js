// Runs in the HTML report: draws the charts with uPlot, sorts tables. Without it the report lacks only the charts. Everything
// from the report is data here and is set as text.
const NICE = [1, 2, 5, 10];

/** The ends of an axis and its ticks, all round: multiples of 1, 2 or 5 times a power of ten. */
function roundAxis(low, high, most) {
  const raw = (high - low) / most || Math.abs(high) / most || 1;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const unit = NICE.map((n) => n * magnitude).find((u) => u >= raw * (1 - 1e-9)) ?? 10 * magnitude;
  const first = Math.floor(low / unit + 1e-9);
  const last = Math.max(Math.ceil(high / unit - 1e-9), first + 1);
  // A fraction is divided by: 3 * 0.1 is not 0.3, and 3 / 10 is.
  const at = (k) => (unit < 1 ? k / Math.round(1 / unit) : k * unit);
  return {
    ends: [at(first), at(last)],
    ticks: Array.from({ length: last - first + 1 }, (_, k) => at(first + k)),
  };
}

const { charts, overlay } = JSON.parse(document.getElementById('charts').textContent);
const plots = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const MARKS = { onset: '--bad', back: '--good', restart: '--soft', rewind: '--accent' };

// As formatNumber (src/model/format-number.ts) at a glance; a test compares the two.
const number = (value) => {
  if (value === null || value === undefined) return '–';
  const rounded = Number(value.toPrecision(4));
  const size = Math.abs(rounded);
  return size === 0 || (size < 1e6 && size >= 1e-3)
    ? String(rounded)
    : value.toExponential(2).replace(/\.?0*e\+?/, 'e');
};

/** The same for a logarithmic axis: whole decades, or 1, 2 and 5 of one where the range is short. */
function roundLogAxis(low, high, most) {
  const decade = (value) => Math.log10(value);
  const steps = decade(high) - decade(low) > 1.5 ? [1] : [1, 2, 5];
  const all = [];
  for (let k = Math.floor(decade(low)) - 1; k <= Math.ceil(decade(high)) + 1; k++)
    for (const n of steps) all.push(Number(`${n}e${k}`));
  const first = all.findLastIndex((value) => value <= low * (1 + 1e-9));
  const last = all.findIndex((value) => value >= high * (1 - 1e-9));
  const ticks = all.slice(first, Math.max(last, first + 1) + 1);
  const every = Math.ceil((ticks.length - 1) / most);
  return {
    ends: [ticks[0], ticks.at(-1)],
    // The last has a number; one shortly before it would lie on that.
    ticks: ticks.filter(
      (_, i) => i === ticks.length - 1 || (i % every === 0 && ticks.length - 1 - i >= every / 2),
    ),
  };
}

const logTicks = (low, high) => roundLogAxis(low, high, 6).ticks;

/** The axes of a chart: round ends, a number at both. */
function axesOf(log, width) {
  const across = Math.max(2, Math.floor(width / 90));
  const common = {
    stroke: () => colour('--soft'),
    font: '12px system-ui, sans-serif',
    grid: { stroke: () => colour('--grid'), width: 1 },
    ticks: { stroke: () => colour('--line') },
    filter: (_u, ticks) => ticks,
    // The ticks are ours: by its own measure of room uPlot draws none on an axis of many decades.
    space: () => 0,
  };
  return {
    // Round ends of the whole range; what was zoomed to is exact, else a second key would start from a rounded range.
    xRange: (u, low, high) =>
      low > u.data[0][0] || high < u.data[0].at(-1)
        ? [low, high]
        : roundAxis(low ?? 0, high ?? 1, across).ends,
    axes: [
      {
        ...common,
        size: 32,
        splits: (_u, _axis, low, high) =>
          roundAxis(low, high, across).ticks.filter((tick) => tick >= low && tick <= high),
        values: (_u, ticks) => ticks.map((t) => t.toLocaleString('en-US')),
      },
      {
        ...common,
        size: (_u, ticks) => Math.max(44, 18 + 7 * Math.max(0, ...(ticks ?? []).map((t) => t.length))),
        splits: (_u, _axis, low, high) => (log ? logTicks(low, high) : roundAxis(low, high, 5).ticks),
        values: (_u, ticks) => ticks.map(number),
      },
    ],
  };
}

/** A line is drawn as two: its largest values, and its smallest with the band between them. */
function dataOf(chart, log) {
  const usable = (values) => (log ? values.map((v) => (v > 0 ? v : null)) : values);
  const tables = [];
  const series = [{}];
  const bands = [];
  chart.lines.forEach((line, index) => {
    line.parts.forEach((part, k) => {
      const stroke = () => colour(`--c${index % 8}`);
      const label = line.parts.length > 1 ? `${line.name} (part ${k + 1})` : line.name;
      const common = {
        stroke,
        width: 1.5,
        points: { show: part.x.length < 40, size: 5, fill: stroke },
        dash: index >= 8 || (k > 0 && chart.lines.length === 1) ? [6, 3] : undefined,
      };
      tables.push([part.x, usable(part.hi), usable(part.lo ?? part.hi)]);
      bands.push({
        series: [series.length, series.length + 1],
        fill: () => `color-mix(in srgb, ${stroke()} 28%, transparent)`,
      });
      series.push({
        ...common,
        label,
        value: (u, _v, s, i) => {
          if (i === null || i === undefined) return '–';
          const [hi, lo] = [u.data[s][i], u.data[s + 1][i]];
          return hi === lo ? number(hi) : `${number(lo)} to ${number(hi)}`;
        },
      });
      // The lower edge of the band: one entry in the legend is enough for both.
      series.push({ ...common, label: `${label}, minimum`, class: 'hidden' });
    });
  });
  return { data: uPlot.join(tables), series, bands };
}

/** Limits, marks of incidents and restarts, and a tick for every bucket that has values that are not finite. */
function drawMarks(chart, u) {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  // The axes leave their own alignment behind.
  ctx.textAlign = 'left';
  ctx.textBaseline = 'top';
  for (const { value } of chart.limits) {
    const y = Math.round(u.valToPos(value, 'y', true));
    ctx.strokeStyle = colour('--bad');
    ctx.lineWidth = 1.5 * scale;
    ctx.setLineDash([7 * scale, 4 * scale]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  for (const { step, kind } of chart.marks) {
    const x = Math.round(u.valToPos(step, 'x', true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colour(MARKS[kind]);
    ctx.lineWidth = (kind === 'onset' ? 1.5 : 1) * scale;
    ctx.setLineDash(kind === 'onset' ? [] : [3 * scale, 3 * scale]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.strokeStyle = colour('--odd');
  ctx.lineWidth = scale;
  for (const { parts } of chart.lines)
    for (const { odd } of parts)
      for (const step of odd) {
        const x = Math.round(u.valToPos(step, 'x', true));
        ctx.beginPath();
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x, bbox.top + bbox.height - 9 * scale);
        ctx.stroke();
      }
  ctx.restore();
  drawLabels(chart, u);
}

const LABEL_ROWS = 3;
const rowsOf = (chart) => Math.min(LABEL_ROWS, chart.marks.length);

/** What the marks are called, above the plot, where no line is: in the first row that has room, else not at all. */
function drawLabels(chart, u) {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'bottom';
  const taken = [];
  for (const { step, kind, label } of chart.marks) {
    const x = Math.round(u.valToPos(step, 'x', true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const width = ctx.measureText(label).width;
    const left = Math.max(bbox.left, Math.min(x - width / 2, bbox.left + bbox.width - width));
    const free = (row) =>
      !taken.some((t) => t.row === row && left < t.right + 6 * scale && left + width > t.left - 6 * scale);
    const row = Array.from({ length: rowsOf(chart) }, (_, k) => k).find(free);
    if (row === undefined) continue;
    taken.push({ row, left, right: left + width });
    ctx.fillStyle = colour(MARKS[kind]);
    ctx.fillText(label, left, bbox.top - (2 + row * 13) * scale);
  }
  ctx.restore();
}

/** The y range shows the limits too, but a limit far away must not flatten the lines. */
function yRange(chart, log) {
  return (_u, low, high) => {
    if (low === null || high === null) return log ? [0.1, 10] : [0, 1];
    let [from, to] = [low, high];
    for (const { value } of chart.limits) {
      if (value > to && value <= (log ? to * 100 : to + 2 * (to - from || Math.abs(to) || 1))) to = value;
      if (value < from && value >= (log ? from / 100 : from - 2 * (to - from))) from = value;
    }
    return (log ? roundLogAxis(from, to, 6) : roundAxis(from, to, 5)).ends;
  };
}

/** The chart of the answer uses the height that the screen leaves; the others are lower. */
function heightOf(host) {
  if (host.closest('.answer') === null && host.closest('.overlay') === null) return 230;
  return innerWidth <= 600 ? 190 : 300;
}

function draw(index) {
  const chart = charts[index];
  const host = document.getElementById(`plot-${index}`);
  const old = plots.get(index);
  const log = old === undefined ? chart.log : old.log;
  const zoom = old?.zoom;
  old?.plot.destroy();
  host.replaceChildren();
  const { data, series, bands } = dataOf(chart, log);
  const width = Math.max(200, host.clientWidth);
  const { xRange, axes } = axesOf(log, width);
  const plot = new uPlot(
    {
      width,
      height: heightOf(host),
      padding: [6 + 13 * rowsOf(chart), 16, 0, 0],
      series,
      bands,
      legend: { live: true },
      cursor: { drag: { x: true, y: false }, sync: { key: chart.run }, focus: { prox: -1 } },
      scales: { x: { time: false, range: xRange }, y: { distr: log ? 3 : 1, range: yRange(chart, log) } },
      axes,
      hooks: {
        draw: [(u) => drawMarks(chart, u)],
        setScale: [
          (u, key) => {
            const state = plots.get(index);
            if (key === 'x' && state) state.zoom = { min: u.scales.x.min, max: u.scales.x.max };
          },
        ],
      },
    },
    data,
    host,
  );
  host.querySelector('.u-series th')?.replaceChildren('step');
  plots.set(index, { plot, log, full: { min: plot.data[0][0], max: plot.data[0].at(-1) } });
  if (zoom) plot.setScale('x', zoom);
  const button = document.querySelector(`[data-log="${index}"]`);
  button.textContent = log ? 'linear axis' : 'log axis';
  button.disabled = !log && !chart.lines.some(({ parts }) => parts.some(({ hi }) => hi.some((v) => v > 0)));
}

function zoomTo(index, min, max) {
  const { plot, full } = plots.get(index);
  // Nearer than three points there is nothing to see.
  if (max - min < ((full.max - full.min) / plot.data[0].length) * 2) return;
  plot.setScale('x', { min: Math.max(full.min, min), max: Math.min(full.max, max) });
}

const reset = (index) => plots.get(index).plot.setScale('x', { ...plots.get(index).full });

function toggleLog(index) {
  plots.get(index).log = !plots.get(index).log;
  draw(index);
}

/** The keys of a chart that has the focus. */
function onKey(index, event) {
  const { plot } = plots.get(index);
  const { min, max } = plot.scales.x;
  const [middle, half] = [(min + max) / 2, (max - min) / 2];
  const keys = {
    '+': () => zoomTo(index, middle - half / 1.6, middle + half / 1.6),
    '=': () => zoomTo(index, middle - half / 1.6, middle + half / 1.6),
    '-': () => zoomTo(index, middle - half * 1.6, middle + half * 1.6),
    ArrowLeft: () => zoomTo(index, min - half / 4, max - half / 4),
    ArrowRight: () => zoomTo(index, min + half / 4, max + half / 4),
    0: () => reset(index),
    Escape: () => reset(index),
    l: () => toggleLog(index),
  };
  const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

charts.forEach((_chart, index) => {
  const host = document.getElementById(`plot-${index}`);
  host.addEventListener('keydown', (event) => onKey(index, event));
  document.querySelector(`[data-log="${index}"]`).addEventListener('click', () => toggleLog(index));
  document.querySelector(`[data-reset="${index}"]`).addEventListener('click', () => reset(index));
});
document.querySelectorAll('.tools').forEach((tools) => {
  tools.hidden = false;
});

// A chart is drawn at once when it comes near the screen: a report of forty runs opens as fast as one of one.
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const index = Number(target.dataset.plot);
      if (isIntersecting && !plots.has(index)) draw(index);
    }
  },
  { rootMargin: '600px' },
);
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const state = plots.get(Number(target.dataset.plot));
    const width = Math.max(200, target.clientWidth);
    if (state && state.plot.width !== width) state.plot.setSize({ width, height: state.plot.height });
  }
});
document.querySelectorAll('[data-plot]').forEach((host) => {
  near.observe(host);
  sizes.observe(host);
});
// The others when there is nothing else to do, one at a time, so that a picture of the whole page has all of them. What
// is closed is drawn when it is opened.
const isOpen = (index) => document.getElementById(`plot-${index}`).closest('details:not([open])') === null;
const idle = globalThis.requestIdleCallback ?? ((callback) => setTimeout(callback, 50));
const drawNext = () => {
  const index = [...charts.keys()].find((k) => !plots.has(k) && isOpen(k));
  if (index === undefined) return;
  draw(index);
  idle(drawNext);
};
idle(drawNext);
const redraw = (indices) => {
  for (const index of indices) if (isOpen(index)) draw(index);
  drawOverlay();
};
addEventListener('beforeprint', () => {
  // What was tried belongs to the answer; all else is printed as the reader left it, open or closed.
  for (const details of document.querySelectorAll('details.tried'))
    if (details.closest('details.run:not([open])') === null) details.open = true;
  redraw(charts.keys());
});
for (const query of ['(prefers-color-scheme: dark)', 'print'])
  matchMedia(query).addEventListener('change', () => redraw([...plots.keys()]));

document.querySelectorAll('.copy').forEach((button) => {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'copied';
    } catch {
      // The text is selected: a key copies it.
      button.textContent = 'selected';
    }
  });
});

// "Show in chart": zooms the first chart of the run to the steps of a finding.
document.querySelectorAll('[data-show]').forEach((button) => {
  button.hidden = false;
  button.addEventListener('click', () => {
    const [index, first, last] = button.dataset.show.split(' ').map(Number);
    if (!plots.has(index)) draw(index);
    const { full } = plots.get(index);
    const margin = Math.max((last - first) * 0.5, (full.max - full.min) / 40);
    zoomTo(index, first - margin, last + margin);
    const host = document.getElementById(`plot-${index}`);
    host.closest('figure').scrollIntoView({ block: 'nearest' });
    host.focus({ preventScroll: true });
  });
});

/** Sorts by the numbers of `data-value` where cells have them, else by text; once more turns the order around. */
function sortBy(th) {
  const table = th.closest('table');
  const column = [...th.parentNode.children].indexOf(th);
  const down = th.getAttribute('aria-sort') === 'ascending';
  const sign = down ? -1 : 1;
  const sortKey = ({ cells }) => {
    const { value } = cells[column].dataset;
    return value === undefined ? cells[column].textContent : Number(value);
  };
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: sortKey(row) }));
  rows.sort((a, b) => compareKeys(a.key, b.key, sign));
  table.tBodies[0].append(...rows.map(({ row }) => row));
  table.querySelectorAll('th').forEach((other) => {
    other.removeAttribute('aria-sort');
  });
  th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
}
function sortable(th, sort) {
  const button = document.createElement('button');
  button.type = 'button';
  button.append(...th.childNodes);
  th.append(button);
  button.addEventListener('click', () => sort(th));
}
document.querySelectorAll('table.sort th').forEach((th) => {
  sortable(th, sortBy);
});

// Many runs: the table is filtered, sorted and grouped, the curves are those of its rows.

/** Text of a cell of the table of runs; empty where it is missing. */
function textOf(row, c) {
  const cell = row.cells[c];
  const { value } = cell.dataset;
  if (value !== undefined && value !== 'NaN') return value;
  return cell.textContent === '–' ? '' : cell.textContent;
}

/** The same as a number where it is one; NaN where it is missing. */
function keyOf(row, c) {
  const text = textOf(row, c);
  return text === '' ? Number.NaN : Number.isNaN(Number(text)) ? text : Number(text);
}

const missing = (key) => typeof key === 'number' && Number.isNaN(key);

/** What is missing comes last in either order. */
function compareKeys(a, b, sign = 1) {
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  return (
    sign * (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en'))
  );
}

// As holds (src/model/runs-table.ts), which --where uses; a test compares the two.
function fits(cell, operator, value) {
  const numberIn = (text) => (text.trim() === '' ? Number.NaN : Number(text));
  const [a, b] = [numberIn(cell), numberIn(value)];
  const byNumber = !Number.isNaN(a) && !Number.isNaN(b);
  const same = byNumber ? a === b : cell === value;
  return {
    '=': same,
    '!=': !same,
    '<': byNumber && a < b,
    '<=': byNumber && a <= b,
    '>': byNumber && a > b,
    '>=': byNumber && a >= b,
  }[operator];
}

/** What the table of runs and its curves share; null on the page of one run. */
const many = manyOf(document.getElementById('runs-table'));

function manyOf(table) {
  if (table === null) return null;
  const [body] = table.tBodies;
  const heads = [...table.tHead.rows[0].cells];
  return {
    table,
    body,
    heads,
    names: heads.map((th) => th.textContent),
    rows: [...body.rows].filter((row) => !row.classList.contains('group')),
    filter: document.getElementById('filter'),
    group: document.getElementById('group'),
    /** Column and direction. */
    sort: undefined,
    /** Sets of rows, as indices into the legend; none where nothing is grouped. */
    groups: [],
    /** Steps and values that a curve has to pass through, as a reader dragged them. */
    brush: undefined,
    isBrushing: false,
    log: overlay?.log,
    plot: undefined,
    /** Runs of the curves, in the order of their series. */
    drawn: [],
  };
}

function conditions() {
  return many.filter.value
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const [, key, operator, value] = /^(.+?)(!=|>=|<=|=|<|>)(.*)$/.exec(word) ?? [];
      const column = many.names.indexOf(key);
      return column < 0 ? { text: word.toLowerCase() } : { column, operator, value };
    });
}

/** Whether a row meets each condition: a word is looked for in the name of the run. */
const meets = (row, wanted) =>
  wanted.every(({ text, column, operator, value }) =>
    text === undefined
      ? fits(textOf(row, column), operator, value)
      : row.cells[0].textContent.toLowerCase().includes(text),
  );

/** Whether the curve of a row passes through what was dragged; a narrow drag takes the column of steps next to it. */
function passes(row) {
  const { brush } = many;
  if (brush === undefined) return true;
  const values = overlay.curves[row.dataset.run] ?? [];
  const { x } = overlay;
  const within = [...x.keys()].filter((k) => x[k] >= brush.from && x[k] <= brush.to);
  const middle = (brush.from + brush.to) / 2;
  const nearest = () =>
    [...x.keys()].reduce((a, b) => (Math.abs(x[b] - middle) < Math.abs(x[a] - middle) ? b : a));
  return (within.length > 0 ? within : [nearest()]).some(
    (k) => values[k] != null && values[k] >= brush.low && values[k] <= brush.high,
  );
}

/** Rows in sets of the same values of columns, in the order of these values. */
function groupedBy(shown, columns) {
  const sets = new Map();
  for (const row of shown) {
    const key = columns.map((c) => textOf(row, c)).join('\n');
    sets.set(key, [...(sets.get(key) ?? []), row]);
  }
  return [...sets.values()].sort(([a], [b]) =>
    columns.reduce((order, c) => order || compareKeys(keyOf(a, c), keyOf(b, c)), 0),
  );
}

function show() {
  const { rows, sort, group, body } = many;
  const wanted = conditions();
  const shown = rows.filter((row) => meets(row, wanted) && passes(row));
  if (sort !== undefined)
    shown.sort((a, b) => compareKeys(keyOf(a, sort.column), keyOf(b, sort.column), sort.down ? -1 : 1));
  const columns = group.value === '' ? [] : group.value.split(',').map(Number);
  const sets = columns.length === 0 ? [shown] : groupedBy(shown, columns);
  many.groups = columns.length === 0 ? [] : sets;
  body.replaceChildren(
    ...sets.flatMap((set) => [...(columns.length === 0 ? [] : [headOf(set, columns)]), ...set]),
  );
  document.getElementById('shown').textContent =
    `${shown.length} of ${rows.length} runs${many.brush === undefined ? '' : `, through ${brushText(many.brush)}`}`;
  drawOverlay();
}

const brushText = ({ from, to, low, high }) =>
  `${number(low)} to ${number(high)} at steps ${Math.round(from)} to ${Math.round(to)}`;

const labelOf = (row, columns) => columns.map((c) => `${many.names[c]} ${textOf(row, c) || '–'}`).join(', ');

/** The head of a group: its values, how many runs of each class, and their best loss. */
function headOf(set, columns) {
  const { names } = many;
  const counts = new Map();
  for (const { cells } of set) {
    const name = cells[names.indexOf('class')].textContent;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const best = set.map((row) => keyOf(row, names.indexOf('best'))).filter((value) => !missing(value));
  const row = document.createElement('tr');
  row.className = 'group';
  const th = document.createElement('th');
  th.colSpan = names.length;
  th.scope = 'rowgroup';
  th.textContent =
    `${labelOf(set[0], columns)} · ${set.length} run${set.length === 1 ? '' : 's'}: ` +
    [...counts].map(([one, count]) => `${count} ${one}`).join(', ') +
    (best.length > 0 ? ` · best ${number(Math.min(...best))}` : '');
  row.append(th);
  return row;
}

/** A link to a run opens it: the browser has not scrolled to what it could not see yet. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.closest('details.run');
  if (details == null) return;
  details.open = true;
  target.scrollIntoView({ block: 'start', behavior: 'instant' });
}

const TONES = { healthy: '--good', inconclusive: '--warn', 'micro-divergence': '--warn' };

/** The colour of a run's curve: that of its group, else that of its class. */
function strokeOf(row) {
  const at = many.groups.findIndex((set) => set.includes(row));
  const name = row.cells[many.names.indexOf('class')].textContent;
  return at < 0 ? (TONES[name] ?? '--bad') : `--c${at % 8}`;
}

/** What was dragged over the curves, as steps and values. */
function takeBrush(u) {
  const { left, top, width, height } = u.select;
  if (!many.isBrushing || width === 0 || height === 0) return;
  const [from, to] = [left, left + width].map((at) => u.posToVal(at, 'x'));
  const [high, low] = [top, top + height].map((at) => u.posToVal(at, 'y'));
  many.brush = { from, to, low, high };
  setBrushing(false);
  show();
}

function setBrushing(isBrushing) {
  many.isBrushing = isBrushing;
  document.getElementById('overlay-brush').setAttribute('aria-pressed', String(isBrushing));
}

/** The name of the curve or row that is pointed at. */
function nameCurve(index) {
  const place = document.getElementById('overlay-name');
  place.dataset.hint ??= place.textContent;
  const row = index === null ? undefined : many.drawn[index - 1];
  place.textContent = row === undefined ? place.dataset.hint : `${row.cells[0].textContent}: ${row.title}`;
}

function overlayOptions(width) {
  const { xRange, axes } = axesOf(many.log, width);
  const { isBrushing } = many;
  return {
    width,
    height: innerWidth <= 600 ? 190 : 260,
    padding: [8, 16, 0, 0],
    series: [
      {},
      ...many.drawn.map((row) => {
        const stroke = strokeOf(row);
        const label = row.cells[0].textContent;
        return { label, stroke: () => colour(stroke), width: 1.2, spanGaps: true, points: { show: false } };
      }),
    ],
    legend: { show: false },
    focus: { alpha: 0.15 },
    cursor: {
      drag: { x: true, y: isBrushing, setScale: !isBrushing },
      focus: { prox: 24 },
      points: { show: false },
    },
    scales: {
      x: { time: false, range: xRange },
      y: { distr: many.log ? 3 : 1, range: yRange({ limits: [] }, many.log) },
    },
    axes,
    hooks: { setSeries: [(_u, index) => nameCurve(index)], setSelect: [takeBrush] },
  };
}

/** The curves of the rows that are shown. */
function drawOverlay() {
  if (many === null || overlay === undefined) return;
  const host = document.getElementById('overlay-plot');
  many.plot?.destroy();
  host.replaceChildren();
  const shown = [...many.body.rows].filter((row) => row.dataset.run !== undefined && row.dataset.run !== '');
  // Worst last: they lie on top.
  many.drawn = shown.filter((row) => overlay.curves[row.dataset.run].length > 0).reverse();
  const usable = (values) => (many.log ? values.map((v) => (v > 0 ? v : null)) : values);
  const curves = many.drawn.map((row) => usable(overlay.curves[row.dataset.run]));
  many.plot = new uPlot(overlayOptions(Math.max(200, host.clientWidth)), [overlay.x, ...curves], host);
  document.getElementById('overlay-log').textContent = many.log ? 'linear axis' : 'log axis';
  document.getElementById('overlay-all').hidden = many.brush === undefined;
  document.getElementById('overlay-keys').replaceChildren(
    ...many.groups.map((set, k) => {
      const item = document.createElement('li');
      item.className = `k${k % 8}`;
      item.textContent = `— ${labelOf(set[0], many.group.value.split(',').map(Number))}`;
      return item;
    }),
  );
}

function listenToOverlay() {
  const { body } = many;
  document.getElementById('overlay-log').addEventListener('click', () => {
    many.log = !many.log;
    drawOverlay();
  });
  document.getElementById('overlay-brush').addEventListener('click', () => {
    setBrushing(!many.isBrushing);
    drawOverlay();
  });
  document.getElementById('overlay-all').addEventListener('click', () => {
    many.brush = undefined;
    show();
    document.getElementById('overlay-brush').focus();
  });
  const focusOn = (row) => {
    const index = many.drawn.indexOf(row) + 1;
    many.plot?.setSeries(index > 0 ? index : null, { focus: true });
  };
  body.addEventListener('mouseover', (event) => focusOn(event.target.closest('tr')));
  body.addEventListener('focusin', (event) => focusOn(event.target.closest('tr')));
  body.addEventListener('mouseleave', () => focusOn(null));
  const host = document.getElementById('overlay-plot');
  new ResizeObserver(() => {
    const width = Math.max(200, host.clientWidth);
    if (many.plot !== undefined && many.plot.width !== width)
      many.plot.setSize({ width, height: many.plot.height });
  }).observe(host);
}

function listenToTable() {
  const { heads, table, filter, group } = many;
  heads.forEach((th, column) => {
    sortable(th, () => {
      many.sort = { column, down: th.getAttribute('aria-sort') === 'ascending' };
      for (const other of heads) other.removeAttribute('aria-sort');
      th.setAttribute('aria-sort', many.sort.down ? 'descending' : 'ascending');
      show();
    });
  });
  document.querySelector('.controls').hidden = false;
  filter.addEventListener('input', show);
  group.addEventListener('change', show);
  addEventListener('hashchange', openTarget);
  table.addEventListener('click', (event) => {
    if (event.target.closest('a') !== null && event.target.closest('a').hash === location.hash) openTarget();
  });
  document.querySelectorAll('details.run').forEach((details) => {
    details.addEventListener('toggle', () => {
      if (!details.open) return;
      for (const host of details.querySelectorAll('[data-plot]')) {
        const index = Number(host.dataset.plot);
        if (!plots.has(index)) draw(index);
      }
    });
  });
}

if (many !== null) {
  listenToTable();
  if (overlay !== undefined) listenToOverlay();
  show();
  openTarget();
}
