/** Keeps the account of an input while it is read: every byte is entered once, as one of four things. */
import type { Account, LossReason, Lost } from '../../model/log.ts';

/** Stretches that are listed one by one. What more there is of a reason is summed up in one entry. */
const MAX_LISTED = 100;

export interface Ledger {
  /** Bytes of records that were read. */
  record(bytes: number): void;
  /** Header, framing, separators, line ends, blank lines. */
  overhead(bytes: number): void;
  /** Bytes that are no record of the format and need not be. */
  passOver(bytes: number): void;
  /**
   * A stretch that gave no record. It is joined with the one before if that has the same reason and no record lies
   * between them.
   *
   * @param at offset of its first byte in the decoded stream
   * @param records how many records it held; undefined where that is unknown
   */
  lose(reason: LossReason, bytes: number, at: number, records?: number): void;
  /** The account so far; its `bytes` are the sum of what was entered. */
  account(): Account;
  /** Another one that has entered the same: what is entered there is not entered here. */
  copy(): Ledger;
}

type OpenLoss = { -readonly [K in keyof Lost]: Lost[K] };

interface Entered {
  readonly records: number;
  readonly overhead: number;
  readonly passedOver: number;
  readonly lost: OpenLoss[];
  readonly folded: Map<LossReason, OpenLoss>;
  /** The stretch that the next one may go on. */
  readonly last: OpenLoss | undefined;
}

export const openLedger = (): Ledger =>
  ledgerAfter({ records: 0, overhead: 0, passedOver: 0, lost: [], folded: new Map(), last: undefined });

function ledgerAfter({ lost, folded, ...entered }: Entered): Ledger {
  let { records, overhead, passedOver, last } = entered;

  const join = (into: OpenLoss, bytes: number, count: number | undefined): void => {
    into.bytes += bytes;
    if (into.records !== undefined || count !== undefined)
      into.records = (into.records ?? into.pieces ?? 1) + (count ?? 1);
  };

  return {
    record(bytes) {
      records += bytes;
      last = undefined;
    },
    overhead(bytes) {
      overhead += bytes;
    },
    passOver(bytes) {
      passedOver += bytes;
    },
    lose(reason, bytes, at, count) {
      if (last?.reason === reason) {
        // Lines that waited for what becomes of them come late.
        last.at = Math.min(last.at, at);
        join(last, bytes, count);
        return;
      }
      const fold = folded.get(reason);
      if (fold !== undefined) {
        fold.at = Math.min(fold.at, at);
        join(fold, bytes, count);
        fold.pieces = (fold.pieces ?? 1) + 1;
        last = fold;
        return;
      }
      last = { reason, bytes, at, ...(count === undefined ? {} : { records: count }) };
      lost.push(last);
      if (lost.length > MAX_LISTED) folded.set(reason, last);
    },
    account: () => ({
      bytes: records + overhead + passedOver + lost.reduce((sum, one) => sum + one.bytes, 0),
      records,
      overhead,
      passedOver,
      // What waited for the end of the input was entered late.
      lost: lost.map((one) => ({ ...one })).sort((a, b) => a.at - b.at),
    }),
    copy() {
      const copies = new Map(lost.map((one) => [one, { ...one }]));
      return ledgerAfter({
        records,
        overhead,
        passedOver,
        lost: [...copies.values()],
        folded: new Map([...folded].map(([reason, one]) => [reason, copies.get(one)!])),
        last: last && copies.get(last),
      });
    },
  };
}

/** The account of several inputs as one: sums, and the stretches of all, each with its offset in its own file. */
export function joinAccounts(accounts: readonly Account[]): Account {
  const sum = (of: (account: Account) => number): number =>
    accounts.reduce((total, account) => total + of(account), 0);
  const compressed = accounts.some(({ compressedBytes }) => compressedBytes !== undefined);
  return {
    bytes: sum(({ bytes }) => bytes),
    ...(compressed ? { compressedBytes: sum(({ bytes, compressedBytes }) => compressedBytes ?? bytes) } : {}),
    records: sum(({ records }) => records),
    overhead: sum(({ overhead }) => overhead),
    passedOver: sum(({ passedOver }) => passedOver),
    lost: accounts.flatMap(({ lost }) => lost),
  };
}
