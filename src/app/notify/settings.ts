/** From flags, environment and configuration to channels. Addresses and keys are in the environment alone. */
import { diagError } from '../../model/errors.ts';
import type { Io } from '../cli/io.ts';
import type { Channel } from './channel.ts';
import { pagerduty } from './pagerduty.ts';
import { shell } from './shell.ts';
import { slack } from './slack.ts';
import type { Templates } from './template.ts';
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

/** `notify` of the configuration: other names of variables, and texts. */
export type NotifyConfig = Readonly<Partial<Record<Service, string | undefined>>> & {
  readonly templates?: Templates | undefined;
};

/**
 * The channel that a word of `--notify` names.
 *
 * @param offline what forbids the network, null where nothing does
 * @throws usage for another word, notify-unset where the variable is empty, notify-offline
 */
export function channelOf(
  word: string,
  config: NotifyConfig,
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
  const variable = config[word] ?? SECRETS[word];
  const secret = io.env[variable];
  if (!secret) throw diagError('notify-unset', { channel: word, variable });
  const { CLIPPY_DIAG_PAGERDUTY_URL: service } = io.env;
  const { templates = {} } = config;
  if (word === 'pagerduty') return pagerduty(secret, io.env, service || undefined, templates.pagerduty);
  return word === 'slack'
    ? slack(secret, io.env, templates.slack)
    : webhook(secret, io.env, templates.webhook);
}
