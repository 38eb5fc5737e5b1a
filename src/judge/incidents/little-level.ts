/**
 * Losses whose level says little of how training goes, by their names: those of players that work against each other, and
 * terms that hold back what is learnt.
 */
import type { Run, TimeSeries } from '../../model/run.ts';
import { DISCRIMINATOR, GENERATOR, REGULARIZER, wordsOf } from '../../model/words.ts';
import type { SeriesIncident } from './judge.ts';

type Named = Pick<TimeSeries, 'name' | 'role' | 'lossLike'>;

const isLossOf = ({ name, role, lossLike }: Named, player: RegExp): boolean =>
  (role === 'loss' || role === 'task_loss' || lossLike !== undefined) &&
  wordsOf(name).some((word) => player.test(word));

/**
 * Whether a series is the loss of a player of a GAN: of a generator beside a discriminator, or the other way round. As one learns
 * the other's loss rises, so that it goes up and down, and up to a new level, in runs that go well. Their sum does so, too; who is
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

/** What a sum may be off by, as a share, where its terms are printed with few digits: our number. */
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

/** Share of the points of a loss below zero from which it is no loss that zero bounds: our number. */
const BELOW_ZERO = 0.1;

/**
 * Whether the players of a GAN are told scores without a zero: the loss of a critic (Wasserstein) is below it, that of a
 * discriminator that tells true from made never. How high the other's loss stands says nothing then.
 */
export const isScored = (run: { readonly series: readonly TimeSeries[] }): boolean =>
  run.series.some((one) => {
    if (!isLossOf(one, DISCRIMINATOR)) return false;
    let below = 0;
    for (const value of one.value) if (value < 0) below++;
    return below > BELOW_ZERO * one.value.length;
  });

/** Of a player's file alone the penalty of its gradients tells that it has another. */
const GRADIENT_PENALTY = /^(?:gp|r1|penalty)$/;

/**
 * Whether one of several losses is a term that holds back what is learnt: the divergence from a prior begins at nearly zero and
 * grows with what a model encodes, a penalty with the gradients that it is of. The others tell whether it grew too far.
 */
export function isRegularizer({ name, role }: Named): boolean {
  const words = wordsOf(name);
  const ofPlayer = words.some((word) => GENERATOR.test(word) || DISCRIMINATOR.test(word));
  return role === 'task_loss' && words.some((word) => REGULARIZER.test(word) || (ofPlayer && word === 'reg'));
}
