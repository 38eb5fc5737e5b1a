/** From flags, environment and configuration to channels. Addresses and keys are in the environment alone. */
import { diagError } from '../../model/errors.ts';
import type { Io } from '../cli/io.ts';
import type { Channel } from './channel.ts';
import { pagerduty } from './pagerduty.ts';
import { shell } from './shell.ts';
import { slack } from './slack.ts';
import { webhook } from './webhook.ts';

/** Channels by network: the variable that holds the secret of each. */
export const SECRETS = {
  slack: 'CLIPPY_DIAG_SLACK_URL',
  webhook: 'CLIPPY_DIAG_WEBHOOK_URL',
  pagerduty: 'CLIPPY_DIAG_PAGERDUTY_KEY',
} as const;
type Service = keyof typeof SECRETS;

const isService = (name: string): name is Service => Object.hasOwn(SECRETS, name);

/** What `--notify` may be. */
export const NOTIFY_WORDS = [...Object.keys(SECRETS), 'cmd:COMMAND'];

/**
 * The channel that a word of `--notify` names.
 *
 * @param variables other names of variables, from the configuration
 * @param offline what forbids the network, null where nothing does
 * @throws usage for another word, notify-unset where the variable is empty, notify-offline
 */
export function channelOf(
  word: string,
  variables: Readonly<Partial<Record<string, string>>>,
  offline: string | null,
  io: Pick<Io, 'stderr' | 'env' | 'onEnd'>,
): Channel {
  if (word.startsWith('cmd:')) return shell('--notify cmd', word.slice('cmd:'.length), io);
  if (!isService(word))
    throw diagError('usage', {
      // A word that is an address must not be repeated: it is a secret.
      problem: '--notify takes a channel, not an address',
      hint: `write ${NOTIFY_WORDS.join(', ')}; addresses and keys are read from the environment`,
    });
  if (offline !== null) throw diagError('notify-offline', { channel: `--notify ${word}`, reason: offline });
  const variable = variables[word] ?? SECRETS[word];
  const secret = io.env[variable];
  if (!secret) throw diagError('notify-unset', { channel: word, variable });
  const { CLIPPY_DIAG_PAGERDUTY_URL: service } = io.env;
  if (word === 'pagerduty') return pagerduty(secret, service || undefined);
  return word === 'slack' ? slack(secret) : webhook(secret);
}
