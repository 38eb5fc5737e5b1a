/**
 * Losses whose level says little of how training goes, by their names: those of players that work against each other, and
 * regularising terms.
 */
import type { Run, TimeSeries } from '../../model/run.ts';
import { DISCRIMINATOR, GENERATOR, REGULARIZER, wordsOf } from '../../model/words.ts';
import type { SeriesIncident } from './judge.ts';

type Named = Pick<TimeSeries, 'name' | 'role' | 'lossLike'>;

const isLossOf = ({ name, role, lossLike }: Named, player: RegExp): boolean =>
  (role === 'loss' || role === 'task_loss' || lossLike !== undefined) &&
  wordsOf(name).some((word) => player.test(word));

/**
 * Whether a series is the loss of a player of a GAN: of a generator with a discriminator, or the reverse. As one learns, the
 * other's loss rises, so it goes up and down, or up to a new level, in runs that go well. So does their sum; the term that is
 * added to a generator in it is the other player, whatever its name.
 */
export function isPlayer(run: Pick<Run, 'series'>, series: TimeSeries): boolean {
  const has = (player: RegExp): boolean => run.series.some((one) => isLossOf(one, player));
  return (
    (isLossOf(series, GENERATOR) && has(DISCRIMINATOR)) ||
    (isLossOf(series, DISCRIMINATOR) && (has(GENERATOR) || has(GRADIENT_PENALTY))) ||
    gameOf(run).includes(series)
  );
}

/** The relative error of a sum whose terms are printed with few digits: our number. */
const PRINTED = 0.001;

/** A total that is the sum of a generator's loss and of one other, with both; empty without one. */
function gameOf({ series }: Pick<Run, 'series'>): readonly TimeSeries[] {
  const generator = series.find((one) => one.role === 'task_loss' && isLossOf(one, GENERATOR));
  const total = series.find(({ role }) => role === 'loss');
  if (generator === undefined || total === undefined) return [];
  const judge = series.find(
    (one) =>
      one !== generator &&
      one.role === 'task_loss' &&
      [total, generator].every(({ value }) => value.length === one.value.length) &&
      one.value.every((value, i) => {
        const sum = value + generator.value.at(i)!;
        return !(Math.abs(sum - total.value.at(i)!) > PRINTED * Math.abs(sum));
      }),
  );
  return judge === undefined ? [] : [total, generator, judge];
}

/** A player's loss that ends at so many times its level is lost: of 0.7 (a draw) it is what one in a thousand fools. Our number. */
const PLAYER_LOST = 10;

/** Whether an incident in the loss of a player counts. */
export const isPlayerLost = ({ class: found, before, after }: SeriesIncident): boolean =>
  found === 'non-finite' || (before > 0 && after > PLAYER_LOST * before);

/** Share of negative points from which a loss is not bounded by zero: our number. */
const BELOW_ZERO = 0.1;

/**
 * Whether the players of a GAN get scores without a zero: the loss of a critic (Wasserstein) can be negative, that of a
 * discriminator (real or generated) cannot. The level of the other's loss then says nothing.
 */
export const isScored = (run: { readonly series: readonly TimeSeries[] }): boolean =>
  run.series.some((one) => {
    if (!isLossOf(one, DISCRIMINATOR)) return false;
    let below = 0;
    for (const value of one.value) if (value < 0) below++;
    return below > BELOW_ZERO * one.value.length;
  });

/** In the file of one player alone, its gradient penalty shows that there is another. */
const GRADIENT_PENALTY = /^(?:gp|r1|penalty)$/;

/**
 * Whether one of several losses is a regularising term: the divergence from a prior begins near zero and grows with what a
 * model encodes, a gradient penalty grows with the gradients. The others show whether it grew too far.
 */
export function isRegularizer({ name, role }: Named): boolean {
  const words = wordsOf(name);
  const ofPlayer = words.some((word) => GENERATOR.test(word) || DISCRIMINATOR.test(word));
  return role === 'task_loss' && words.some((word) => REGULARIZER.test(word) || (ofPlayer && word === 'reg'));
}
