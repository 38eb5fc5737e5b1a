/** Spans of time as people read them. */
import { formatNumber } from './format-number.ts';

/** A span at a glance: 3 s, 12 min, 2.5 h, 3 d. */
export function durationText(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 100 * 60) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${formatNumber(Math.floor(seconds / 360) / 10)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
