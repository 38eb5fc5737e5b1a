// Runs in the HTML report: draws the charts with uPlot, sorts tables. Without it the report is whole but for the
// charts. Everything that comes from the report is data here and set as text.
(() => {
  const charts = JSON.parse(document.getElementById('charts').textContent);
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
        tables.push([part.x, usable(part.hi), usable(part.lo)]);
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
    for (const { value, label } of chart.limits) {
      const y = Math.round(u.valToPos(value, 'y', true));
      ctx.strokeStyle = ctx.fillStyle = colour('--bad');
      ctx.lineWidth = 1.5 * scale;
      ctx.setLineDash([7 * scale, 4 * scale]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      // Under the line, or above it where the chart ends.
      const below = y + 17 * scale <= bbox.top + bbox.height;
      ctx.fillText(`${label} ${number(value)}`, bbox.left + 6 * scale, y + (below ? 3 : -14) * scale);
    }
    const taken = [];
    for (const { step, kind, label } of chart.marks) {
      const x = Math.round(u.valToPos(step, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = colour(MARKS[kind]);
      ctx.lineWidth = (kind === 'onset' ? 1.5 : 1) * scale;
      ctx.setLineDash(kind === 'onset' ? [] : [3 * scale, 3 * scale]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const width = ctx.measureText(label).width;
      const left = x + 4 * scale + width > bbox.left + bbox.width ? x - 4 * scale - width : x + 4 * scale;
      let row = 0;
      while (
        taken.some((t) => t.row === row && left < t.right + 4 * scale && left + width > t.left - 4 * scale)
      )
        row++;
      taken.push({ row, left, right: left + width });
      if (row < 5) ctx.fillText(label, left, bbox.top + (3 + row * 13) * scale);
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
      if (log) return [from / 1.15, to * 1.15];
      const pad = (to - from || Math.abs(to) || 1) * 0.06;
      return [from - pad, to + pad];
    };
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
    const axis = { stroke: () => colour('--soft'), font: '12px system-ui, sans-serif' };
    const lines = {
      grid: { stroke: () => colour('--grid'), width: 1 },
      ticks: { stroke: () => colour('--line') },
    };
    const plot = new uPlot(
      {
        width: Math.max(200, host.clientWidth),
        height: host.closest('figure').matches(':first-child') ? 300 : 230,
        series,
        bands,
        legend: { live: true },
        cursor: { drag: { x: true, y: false }, sync: { key: chart.run }, focus: { prox: -1 } },
        scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: yRange(chart, log) } },
        axes: [
          { ...axis, ...lines, size: 32, values: (_u, ticks) => ticks.map((t) => t.toLocaleString('en-US')) },
          {
            ...axis,
            ...lines,
            size: 68,
            values: (_u, ticks) => ticks.map((t) => (t === null ? '' : number(t))),
          },
        ],
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
    const smallest = (full.max - full.min) / 1e6 || 1e-9;
    if (max - min < smallest) return;
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
  // The others when there is nothing else to do, one at a time, so that a picture of the whole page has all of them.
  const idle = globalThis.requestIdleCallback ?? ((callback) => setTimeout(callback, 50));
  const drawNext = () => {
    const index = [...charts.keys()].find((k) => !plots.has(k));
    if (index === undefined) return;
    draw(index);
    idle(drawNext);
  };
  idle(drawNext);
  addEventListener('beforeprint', () => {
    for (const index of charts.keys()) draw(index);
  });
  for (const query of ['(prefers-color-scheme: dark)', 'print'])
    matchMedia(query).addEventListener('change', () => {
      for (const index of plots.keys()) draw(index);
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
    const keyOf = (row) => {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    // What is not a number (missing, NaN) comes last in either order.
    const compare = (a, b) =>
      typeof a === 'number' && typeof b === 'number'
        ? Number.isNaN(a) || Number.isNaN(b)
          ? Number(Number.isNaN(a)) - Number(Number.isNaN(b))
          : sign * (a - b)
        : sign * String(a).localeCompare(String(b), 'en');
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row) }));
    rows.sort((a, b) => compare(a.key, b.key));
    table.tBodies[0].append(...rows.map(({ row }) => row));
    table.querySelectorAll('th').forEach((other) => {
      other.removeAttribute('aria-sort');
    });
    th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  }
  document.querySelectorAll('table.sort th').forEach((th) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener('click', () => sortBy(th));
  });
})();
