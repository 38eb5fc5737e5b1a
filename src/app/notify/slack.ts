/** Slack, by an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
import { type Channel, type Env, postJson } from './channel.ts';
import { bodyOf, headlineOf } from './message.ts';
import { filled } from './template.ts';

/** Slack takes `<…>` for links and mentions; these three characters are escaped by its rules. */
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** @param template the text in the user's own words */
export const slack = (address: string, env: Env, template?: string): Channel => ({
  name: 'slack',
  send: (message) => {
    if (template !== undefined) return postJson(address, { text: filled(template, message, escaped) }, env);
    const body = bodyOf(message).trimEnd().replaceAll('```', "'''");
    const text = `${escaped(headlineOf(message)).replaceAll('```', "'''")}\n\`\`\`${escaped(body)}\`\`\``;
    return postJson(address, { text }, env);
  },
});
