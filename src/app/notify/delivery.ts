/** Brings messages to channels: in order, again where a server did not take one, and never twice where it did. */
import type { Channel } from './channel.ts';
import type { Message } from './message.ts';

interface Waiting {
  readonly message: Message;
  readonly attempts: number;
  /** Milliseconds; not before. */
  readonly at: number;
}

/** Pause before a message is sent again, doubled each time up to the longest, in milliseconds. */
const FIRST_PAUSE = 10_000;
const LONGEST_PAUSE = 600_000;
/** A day of pauses of the longest kind. */
const MOST_ATTEMPTS = 150;

export interface Failure {
  readonly channel: string;
  readonly reason: string;
  /** Whether it is sent again. */
  readonly again: boolean;
  readonly message: Message;
}

export class Delivery {
  private readonly queues: readonly { readonly channel: Channel; readonly waiting: Waiting[] }[];

  constructor(channels: readonly Channel[]) {
    this.queues = channels.map((channel) => ({ channel, waiting: [] }));
  }

  add(message: Message): void {
    for (const { waiting } of this.queues)
      waiting.push({ message, attempts: 0, at: Number.NEGATIVE_INFINITY });
  }

  /**
   * Sends what is due. A channel that fails keeps its other messages back, so that none overtakes another.
   *
   * @param now milliseconds
   * @param last whether nothing is sent afterwards: what waits for its pause is tried too
   * @returns the first failure of each message, and what is given up
   */
  async send(now: number, last = false): Promise<readonly Failure[]> {
    const failures = await Promise.all(
      this.queues.map(async ({ channel, waiting }): Promise<Failure[]> => {
        const failed: Failure[] = [];
        while (waiting.length > 0 && (last || waiting[0]!.at <= now)) {
          const { message, attempts } = waiting.shift()!;
          const reason = await channel.send(message);
          if (reason === undefined) continue;
          const again = channel.once !== true && !last && attempts + 1 < MOST_ATTEMPTS;
          if (attempts === 0 || !again) failed.push({ channel: channel.name, reason, again, message });
          if (!again) continue;
          const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempts);
          waiting.unshift({ message, attempts: attempts + 1, at: now + pause });
          break;
        }
        return failed;
      }),
    );
    return failures.flat();
  }
}
