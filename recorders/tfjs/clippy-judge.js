/**
 * When losses leave their band: the judge of clippy-diag, as losses come. Apache-2.0.
 *
 * Made from src/incidents by build-judge.js, where every line is explained; docs/detection.md says what the numbers mean.
 */

// src/model/order-statistics.ts
function selectNth(values, k, from = 0, to = values.length) {
  let left = from;
  let right = to - 1;
  while (left < right) {
    const pivot = values[left + right >> 1];
    let i = left;
    let j = right;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const swap = values[i];
        values[i++] = values[j];
        values[j--] = swap;
      }
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return values[k];
}
var medianInPlace = (values, length = values.length) => length === 0 ? Number.NaN : middleInPlace(values, length, length >> 1, length % 2 === 1);
function middleInPlace(values, length, k, odd) {
  const upper = selectNth(values, k, 0, length);
  if (odd) return upper;
  let lower = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < k; i++) if (values[i] > lower) lower = values[i];
  return lower + (upper - lower) / 2;
}

// src/incidents/bands.ts
var MAD_TO_SIGMA = 1.4826;
var MEAN_DEVIATION_TO_SIGMA = 1.2533;
function medianNear(values, length, hint, radius, scratch) {
  let below = 0;
  let inside = 0;
  for (let i = 0; i < length; i++) {
    const value = values[i];
    below += +(hint - value > radius);
    if (Math.abs(value - hint) <= radius) scratch[inside++] = value;
  }
  const k = (length >> 1) - below;
  if (k >= 1 && k < inside) return middleInPlace(scratch, inside, k, length % 2 === 1);
  scratch.set(values.subarray(0, length));
  return medianInPlace(scratch, length);
}
function scaleFrom(median, deviations, length) {
  if (median > 0) return MAD_TO_SIGMA * median;
  let sum = 0;
  for (let i = 0; i < length; i++) sum += deviations[i];
  return length === 0 ? 0 : MEAN_DEVIATION_TO_SIGMA * sum / length;
}
var LOG_SCALE = {
  to: Math.log,
  from: Math.exp,
  above: (center, ratio) => center + Math.log(ratio)
};
var LINEAR_SCALE = {
  to: (value) => value,
  from: (y) => y,
  above: (center, ratio) => center + (ratio - 1) * Math.abs(center)
};
var FALL = 3;
var RECENT = 20;
function rollingBand(capacity, smallSample) {
  const ring = new Float64Array(capacity);
  const ordered = new Float64Array(capacity);
  const deviations = new Float64Array(capacity);
  const scratch = new Float64Array(capacity);
  let size = capacity;
  let held = 0;
  let points = 0;
  let next = 0;
  let age = Number.POSITIVE_INFINITY;
  let center = Number.NaN;
  let deviation = Number.NaN;
  let scale = Number.NaN;
  let falling = false;
  let recent = Number.NaN;
  let recentAge = Number.POSITIVE_INFINITY;
  const renew = () => {
    if (age < points * points / 4e3) return;
    const oldest = (next - points + capacity) % capacity;
    const wrapped = Math.max(0, oldest + points - capacity);
    ordered.set(ring.subarray(oldest, oldest + points - wrapped));
    ordered.set(ring.subarray(0, wrapped), points - wrapped);
    const half = points >> 1;
    const older = medianNear(ordered.subarray(0, half), half, center, deviation / 2, scratch);
    const newer = medianNear(ordered.subarray(points - half, points), half, center, deviation / 2, scratch);
    center = medianNear(ordered, points, center, deviation / 4, scratch);
    const slope = Math.min(0, (newer - older) / (points - half)) || 0;
    const middle = (points - 1) / 2;
    for (let i = 0; i < points; i++) deviations[i] = Math.abs(ordered[i] - center - slope * (i - middle));
    deviation = medianNear(deviations, points, deviation, deviation / 4, scratch);
    scale = scaleFrom(deviation, deviations, points) * (1 + smallSample / points);
    falling = slope * points < -FALL * scale;
    age = 0;
  };
  const recentCenter = () => {
    if (recentAge >= RECENT / 4) {
      const count = Math.min(points, RECENT);
      for (let i = 0; i < count; i++) scratch[i] = ring[(next - 1 - i + capacity) % capacity];
      recent = medianInPlace(scratch, count);
      recentAge = 0;
    }
    return recent;
  };
  return {
    push(value) {
      ring[next] = value;
      next = next + 1 === capacity ? 0 : next + 1;
      if (held < capacity) held++;
      if (points < size) points++;
      age++;
      recentAge++;
    },
    clear() {
      held = 0;
      points = 0;
      next = 0;
      age = Number.POSITIVE_INFINITY;
      recentAge = Number.POSITIVE_INFINITY;
    },
    resize(wanted) {
      if (wanted === size) return;
      size = Math.min(wanted, capacity);
      points = Math.min(held, size);
      age = Number.POSITIVE_INFINITY;
    },
    get points() {
      return points;
    },
    get center() {
      renew();
      return falling ? Math.min(center, recentCenter()) : center;
    },
    get scale() {
      renew();
      return scale;
    }
  };
}
var windowFor = (n, settings) => ({
  size: Math.min(
    Math.max(settings.windowPoints, Math.floor(settings.windowShare * n)),
    settings.windowMaximum
  ),
  start: Math.max(5, Math.min(settings.windowStart, Math.floor(n / 8)))
});

// src/incidents/judge.ts
var SHORT_RUN = 100;
var share = (n, points, part) => Math.max(points, Math.floor(part * n));
function lengthsFor(n, settings) {
  return {
    grace: share(n, Math.floor(Math.min(settings.gracePoints, n / 6)), settings.graceShare),
    window: windowFor(n, settings),
    recovery: Math.max(1, Math.min(settings.recoveryPoints, Math.floor(settings.recoveryShare * n))),
    decision: share(n, settings.decisionPoints, settings.decisionShare)
  };
}
var bandLimit = (center, spread, scale, settings) => Math.max(center + settings.bandScales * spread, scale.above(center, settings.bandRatio));
function followPoints(at, scale, settings, capacity, reach = Number.POSITIVE_INFINITY) {
  const band = rollingBand(capacity, settings.smallSample);
  const incidents = [];
  const spikes = [];
  let nonFinite = 0;
  let outSince = -1;
  let outCenter = Number.NaN;
  let open = null;
  let settledAt = -1;
  const levelBefore = (end, count) => {
    const from = Math.max(0, end - count);
    const last = new Float64Array(end - from);
    for (let i = from; i < end; i++)
      last[i - from] = Number.isFinite(at(i)) ? at(i) : Number.POSITIVE_INFINITY;
    const level = medianInPlace(last);
    return Number.isNaN(level) ? Number.POSITIVE_INFINITY : level;
  };
  const close = (incident, found, next, { recovery }) => {
    const { onset, peak, center, limit } = incident;
    incidents.push({
      ...found,
      form: "jump",
      onset,
      lastGood: onset > 0 ? onset - 1 : null,
      end: found.recovered ?? next,
      peak,
      before: scale.from(center),
      high: scale.from(limit),
      after: levelBefore(found.recovered ?? next, Math.max(3, recovery))
    });
  };
  const accept = (from, to) => {
    for (let k = from; k < to; k++) {
      const y = scale.to(at(k));
      if (Number.isFinite(y)) band.push(y);
    }
  };
  const advance = (incident, i, lengths) => {
    const { recovery, decision } = lengths;
    const { center, limit, levelLimit } = incident;
    const value = at(i);
    const y = scale.to(value);
    if (Number.isFinite(y)) incident.lastFinite = i;
    else nonFinite++;
    if (Number.isFinite(incident.peakValue) && (!Number.isFinite(value) || value > incident.peakValue)) {
      incident.peak = i;
      incident.peakValue = value;
    }
    incident.inBand = Number.isFinite(y) && !(y > limit) ? incident.inBand + 1 : 0;
    const { inBand } = incident;
    if (inBand > 0 && inBand % recovery === 0 && !(scale.to(levelBefore(i + 1, recovery)) > levelLimit)) {
      const recovered = i + 1 - recovery;
      close(
        incident,
        { class: incident.lost ? "full-divergence" : "micro-divergence", recovered },
        i + 1,
        lengths
      );
      accept(recovered, i + 1);
      open = null;
      return;
    }
    const deadline = incident.trigger + decision - 1;
    if (incident.lost || i < deadline || inBand > 0 && i < deadline + recovery) return;
    const level = scale.to(levelBefore(i + 1, recovery));
    if (!(level <= scale.above(center, settings.fullRatio))) {
      incident.lost = true;
      return;
    }
    const partial = level > scale.above(center, settings.driftRatio) ? "drift" : "micro-divergence";
    close(incident, { class: partial, recovered: null }, i + 1, lengths);
    settledAt = i + 1;
    band.clear();
    accept(Math.max(incident.onset, i + 1 - Math.min(decision, reach)), i + 1);
    open = null;
  };
  return {
    incidents,
    spikes,
    get nonFinite() {
      return nonFinite;
    },
    /** The incident that the last point belongs to; null where there is none. */
    get open() {
      return open;
    },
    /** Median of the band as it is now, and its upper edge, in units of the series; NaN where there are too few points. */
    band({ window }) {
      if (band.points < window.start) return { median: Number.NaN, high: Number.NaN };
      const limit = bandLimit(band.center, band.scale, scale, settings);
      return { median: scale.from(band.center), high: scale.from(limit) };
    },
    /** Takes the next point. */
    step(i, lengths) {
      if (open !== null) {
        advance(open, i, lengths);
        return;
      }
      band.resize(lengths.window.size);
      const y = scale.to(at(i));
      const finite = Number.isFinite(y);
      const judged = band.points >= lengths.window.start;
      const center = judged ? band.center : Number.NaN;
      const spread = judged ? band.scale : Number.NaN;
      const inBand = finite && !(y > bandLimit(center, spread, scale, settings));
      if (inBand) outSince = -1;
      else if (outSince < 0) {
        outSince = i;
        outCenter = center;
      }
      const jump = !inBand && y - center > settings.incidentScales * spread && y > scale.above(center, settings.incidentRatio);
      if (!finite || jump && i >= lengths.grace) {
        while (spikes.length > 0 && spikes.at(-1).index >= outSince) spikes.pop();
        let peak = Math.max(outSince, i + 1 - reach);
        for (let k = peak; k < i; k++) if (at(k) > at(peak)) peak = k;
        open = {
          onset: outSince,
          trigger: i,
          center: outCenter,
          limit: bandLimit(outCenter, spread, scale, settings),
          // Where the noise is large the band alone is no proof: the level of the points that are back in it must be back too.
          levelLimit: Math.max(
            scale.above(outCenter, settings.incidentRatio),
            outCenter + settings.bandScales * spread / Math.sqrt(lengths.recovery)
          ),
          peak,
          peakValue: at(peak),
          lastFinite: i - 1,
          inBand: 0,
          lost: false
        };
        advance(open, i, lengths);
        outSince = -1;
        return;
      }
      const spikeLimit = spread > 0 ? settings.spikeScales * spread : scale.above(center, settings.bandRatio) - center;
      if (y - center > spikeLimit && i >= lengths.grace)
        spikes.push({ index: i, scales: (y - center) / spread, before: scale.from(center) });
      band.push(y);
    },
    /** Ends the series after n points: what becomes of an incident that is open. */
    end(n, lengths) {
      if (open === null) {
        if (settledAt === n && !Number.isFinite(scale.to(at(n - 1))))
          incidents.push({ ...incidents.pop(), class: "non-finite" });
        return;
      }
      const { inBand, lastFinite, lost, center, levelLimit } = open;
      const { recovery } = lengths;
      const fewer = Math.max(Math.min(recovery, 3), Math.ceil(recovery / 4));
      const back = inBand >= fewer && !(scale.to(levelBefore(n, inBand)) > levelLimit);
      const recovered = back ? n - inBand : null;
      const atEnd = scale.above(center, n < SHORT_RUN ? settings.fullRatioShort : settings.fullRatioAtEnd);
      const gone = scale.to(levelBefore(n, Math.max(3, recovery))) > atEnd;
      close(
        open,
        {
          class: lastFinite < n - 1 ? "non-finite" : lost ? "full-divergence" : back ? "micro-divergence" : gone ? "full-divergence" : "inconclusive",
          recovered
        },
        n,
        lengths
      );
      if (recovered !== null) accept(recovered, n);
      open = null;
    }
  };
}

// src/model/finding.ts
var COUNT = { min: 1, max: Number.POSITIVE_INFINITY, integer: true };
var SHARE = { min: 0, max: 1 };
var RATIO = { min: 1, max: Number.POSITIVE_INFINITY };
var POSITIVE = {
  min: 0,
  above: true,
  max: Number.POSITIVE_INFINITY
};
var NOT_NEGATIVE = { min: 0, max: Number.POSITIVE_INFINITY };

// src/incidents/settings.ts
var VERDICT_SETTINGS = {
  minimumPoints: {
    value: 8,
    unit: "points",
    range: COUNT,
    origin: "fewer give no median worth the name; a run this short without an incident is inconclusive"
  },
  gracePoints: {
    value: 20,
    unit: "points",
    range: { min: 0, max: Number.POSITIVE_INFINITY, integer: true },
    origin: "the first steps of a training move by orders of magnitude; at most one sixth of the run"
  },
  graceShare: {
    value: 0.02,
    unit: "share of the run",
    range: SHARE,
    origin: "warm-up of long runs; the larger of the two counts"
  },
  windowPoints: {
    value: 50,
    unit: "points",
    range: COUNT,
    origin: "the scale of 50 points is off by about 16 %, which 6 scales survive"
  },
  windowShare: {
    value: 0.05,
    unit: "share of the run",
    range: SHARE,
    origin: "short enough to follow the falling loss of a healthy run"
  },
  windowMaximum: { value: 1e3, unit: "points", range: COUNT, origin: "more add cost and no accuracy" },
  windowStart: {
    value: 20,
    unit: "points",
    range: COUNT,
    origin: "from here on points are judged; one eighth of the run, but five points at least, where that is less"
  },
  smallSample: {
    value: 4,
    unit: "points",
    range: NOT_NEGATIVE,
    origin: "scales are widened by 1 + 4/points: the MAD of few points is often far too small by chance (bench/detection)"
  },
  bandScales: {
    value: 6,
    unit: "scales",
    range: POSITIVE,
    origin: "six healthy public runs peaked at 4.5 scales of log-loss; co-spike rules found in the wild use 6"
  },
  bandRatio: {
    value: 1.05,
    unit: "ratio to the median",
    range: RATIO,
    origin: "a loss that moves by less is fine however quiet it was before"
  },
  incidentScales: {
    value: 8,
    unit: "scales",
    range: POSITIVE,
    origin: "a calibrated rule found in the wild: MAD z of log-loss above 8 over the trailing 100 points"
  },
  incidentRatio: {
    value: 1.25,
    unit: "ratio to the median",
    range: RATIO,
    origin: "on real logs smaller jumps of very quiet losses are nothing that a user would act on"
  },
  recoveryPoints: {
    value: 20,
    unit: "points",
    range: COUNT,
    origin: "this many in a row in the band are a recovery: one point alone may be back by chance; a quarter of them at the end of the log"
  },
  recoveryShare: {
    value: 0.05,
    unit: "share of the run",
    range: SHARE,
    origin: "the smaller of the two counts"
  },
  decisionPoints: {
    value: 100,
    unit: "points",
    range: COUNT,
    origin: "time that an incident has to come back before it counts as full divergence"
  },
  decisionShare: {
    value: 0.1,
    unit: "share of the run",
    range: SHARE,
    origin: "the larger of the two counts"
  },
  fullRatio: {
    value: 2,
    unit: "ratio to the median before",
    range: RATIO,
    origin: "level at the end of the decision window above which the run is lost"
  },
  fullRatioAtEnd: {
    value: 10,
    unit: "ratio to the median before",
    range: RATIO,
    origin: "level of the last points above which a log that ends inside the decision window is lost"
  },
  fullRatioShort: {
    value: 1.5,
    unit: "ratio to the median before",
    range: RATIO,
    origin: "the same in runs of under 100 points, whose points are epochs more often than steps"
  },
  driftRatio: {
    value: 1.5,
    unit: "ratio to the own minimum",
    range: RATIO,
    origin: "two public Keras sweeps that diverge by a slow climb end at 1.58 and 2.1; healthy ones stay below 1.2"
  },
  driftScales: {
    value: 8,
    unit: "scales of the smoothed loss",
    range: POSITIVE,
    origin: "the minimum and the end of pure noise differ by 4 to 5"
  },
  driftPointScales: {
    value: 20,
    unit: "scales of the loss",
    range: POSITIVE,
    origin: "a best level of one point, in runs of under 100: at 8, 51 of 1,000 clean runs of 55 points with Student tails climbed from one low point; at 20, 2 (bench/detection/short.ts)"
  },
  driftFullRatio: {
    value: 10,
    unit: "ratio to the own minimum",
    range: RATIO,
    origin: "a climb that ends this high is a full divergence, as fullRatioAtEnd"
  },
  spikeScales: {
    value: 7.5,
    unit: "scales",
    range: POSITIVE,
    origin: "bench/detection: 6 gave 2.4 false spikes in 100,000 clean points, all of them in noise with Student tails; 7.5 gives 0.5"
  },
  zeros: {
    value: 10,
    unit: "points",
    range: COUNT,
    origin: "with a NaN gradient norm one zero is enough; without a norm ten in a row to the end are asked for"
  },
  abruptShare: {
    value: 0.05,
    unit: "share of the first level",
    range: SHARE,
    origin: "a loss that is learnt down to a printed 0.0000 passes through small values before"
  },
  missingPoints: {
    value: 5,
    unit: "points",
    range: COUNT,
    origin: "a summary row or a torn last line leaves one or two"
  },
  together: {
    value: 0.9,
    unit: "share of the steps of either",
    range: SHARE,
    origin: "only a column that is logged with the loss tells that the loss is missing: evals have other steps"
  },
  chance: {
    value: 0.02,
    unit: "AUC",
    range: { min: 0, max: 0.5 },
    origin: "an AUC over 1,000 pairs of random scores is within 0.02 of 0.5"
  },
  chancePoints: { value: 3, unit: "points", range: COUNT, origin: "one bad evaluation is none" },
  learnt: {
    value: 0.6,
    unit: "AUC",
    range: { min: 0.5, max: 1 },
    origin: "a model that never ranked better has not lost anything"
  }
};
var DEFAULT_VERDICT_SETTINGS = Object.fromEntries(
  Object.entries(VERDICT_SETTINGS).map(([name, { value }]) => [name, value])
);

// src/incidents/stream.ts
var KEPT = 4096;
function lossStream() {
  const settings = DEFAULT_VERDICT_SETTINGS;
  const kept = new Float64Array(KEPT);
  const at = (index) => kept[index % KEPT];
  const start = (scale2) => followPoints(at, scale2, settings, settings.windowMaximum, KEPT);
  let scale = LOG_SCALE;
  let follower = start(scale);
  let count = 0;
  return {
    /** Takes the newest loss, of any value; the incident that it starts or continues, null where there is none. */
    add(loss) {
      kept[count % KEPT] = loss;
      count++;
      if (scale === LOG_SCALE && loss <= 0 && loss > Number.NEGATIVE_INFINITY) {
        scale = LINEAR_SCALE;
        follower = start(scale);
        for (let i = Math.max(0, count - KEPT); i < count - 1; i++)
          follower.step(i, lengthsFor(i + 1, settings));
      }
      follower.step(count - 1, lengthsFor(count, settings));
      follower.incidents.length = 0;
      const { open } = follower;
      return open === null ? null : { begins: open.trigger === count - 1, onset: open.onset, before: scale.from(open.center) };
    }
  };
}
export {
  lossStream
};
