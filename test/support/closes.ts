/** What is true of every account, whatever the input is. */
import { type Account, LOSS_REASONS, unaccounted } from '../../src/model/log.ts';

/** Why an account does not hold; undefined where it does. */
export function accountFault(account: Account): string | undefined {
  const { bytes, records, overhead, passedOver, lost } = account;
  const sizes = [bytes, records, overhead, passedOver, ...lost.map((one) => one.bytes)];
  if (!sizes.every((size) => Number.isSafeInteger(size) && size >= 0)) return 'a size is no count of bytes';
  if (unaccounted(account) !== 0) return `${unaccounted(account)} of ${bytes} bytes are not told`;
  for (const [k, { reason, at, bytes: size, records: count }] of lost.entries()) {
    if (!LOSS_REASONS.includes(reason)) return `the reason ${reason} is in no list`;
    if (!(Number.isSafeInteger(at) && at >= 0 && at + size <= bytes))
      return `${reason} at ${at} lies outside`;
    if (at < (lost[k - 1]?.at ?? 0)) return `${reason} at ${at} is out of order`;
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= 0)) return `${reason} has no count`;
  }
  return undefined;
}
