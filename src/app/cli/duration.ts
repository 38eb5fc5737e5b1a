/** Spans of time as people write and read them. */
import * as Flags from '@oclif/core/flags';
import { diagError } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';

const UNITS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 } as const;

/** Seconds of `90`, `90s`, `10m`, `1.5h` or `2d`; NaN for anything else. */
export function parseDuration(text: string): number {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?$/.exec(text.trim()) ?? [];
  return Number(number ?? Number.NaN) * UNITS[unit as keyof typeof UNITS];
}

/** A flag whose value is a span of time, in seconds or with a unit; its value is in seconds. */
export const durationFlag = Flags.custom<number, { readonly min?: number }>({
  helpValue: 'TIME',
  parse: async (text, _, { min = 0, name }) => {
    const seconds = parseDuration(text);
    if (seconds >= min) return seconds;
    throw diagError('usage', {
      problem: `--${name} ${text} is ${Number.isNaN(seconds) ? 'no time' : `below ${min} s`}`,
      hint: `write it as ${Math.max(min, 90)}, ${Math.max(min, 90)}s, 10m or 2h`,
    });
  },
});

/** How fast something goes, in the unit of time in which it is a number at a glance. */
export function rateText(perSecond: number, unit: string): string {
  const [many, time] = perSecond >= 1 ? [1, 's'] : perSecond * 60 >= 1 ? [60, 'min'] : [3600, 'h'];
  return `${formatNumber(perSecond * many, 'brief')} ${unit}s/${time}`;
}
