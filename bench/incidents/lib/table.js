/** The scores as text. */

const percent = (value) => `${(100 * value).toFixed(1)} %`;

const NAMES = {
  detection: 'incidents detected',
  falseAlarm: 'false alarms on healthy runs',
  abstained: 'no answer whether it is well',
  class: 'class right',
  onsetNear: 'onset within 10 steps',
  link: 'broken link right',
  trigger: 'trigger right',
  tensor: 'tensor right',
  factor: 'factor within 1 %',
  remedy: 'first remedy holds by rerun',
  honoured: '"cannot tell" honoured',
  failed: 'no answer at all',
};

/** `72.0 % (18 of 25; 52 to 86)`, or `none` where no case measures it. */
export function shareText({ hits, n, share, low, high }) {
  return n === 0
    ? 'none'
    : `${percent(share)} (${hits} of ${n}; ${Math.round(100 * low)} to ${Math.round(100 * high)})`;
}

/**
 * The scores of a tool as lines.
 * @param {object} scored what `score` gave
 * @param {number} worst how many of the worst families to list
 */
export function scoreText(scored, worst = 8) {
  const { measures } = scored;
  const lines = [`evidence: ${scored.evidence}   runs: ${scored.n}   (95 % intervals)`];
  for (const [name, title] of Object.entries(NAMES))
    lines.push(`${title.padEnd(30)} ${shareText(measures[name])}`);
  const { onsetError, seconds } = measures;
  const number = (value) => (value === null ? '-' : Number(value.toPrecision(3)));
  lines.push(
    `${'median onset error, steps'.padEnd(30)} ${number(onsetError.median)} (n ${onsetError.n}; ${number(onsetError.low)} to ${number(onsetError.high)})`,
  );
  lines.push(
    `${'median seconds'.padEnd(30)} ${number(seconds.median)} (n ${seconds.n}; ${number(seconds.low)} to ${number(seconds.high)})`,
  );
  if (scored.worst.length > 0) lines.push('worst families:');
  for (const row of scored.worst.slice(0, worst))
    lines.push(
      `  ${row.fault}: ${row.missed} of ${row.of} missed, ${row.falseAlarms} false alarms of ${row.healthy} healthy runs`,
    );
  return lines.join('\n');
}
