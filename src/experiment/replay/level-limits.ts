/** Times the level before, up to which an arm holds, and up to which it is hurt and not lost. */
export const HOLDS = 1.25;
export const HURT = 1.45;
/** A level times a factor of at least 1; a level below zero, as of a log-likelihood, moves up by the same share of its size. */
export const timesLevel = (times: number, level: number): number => level + (times - 1) * Math.abs(level);
