/** A server of the user's own. The document is described in docs/watch.md. */
import { type Channel, type Env, postJson } from './channel.ts';
import { bodyOf, headlineOf, type Message } from './message.ts';
import { filled } from './template.ts';

/** What the server gets; its members stay for all of version 1. */
export function webhookDocument(message: Message): unknown {
  const { event, path, brief } = message;
  const { key, class: name, run, series, attempt, from, message: words, since } = message.alert;
  return {
    schemaVersion: '1.0',
    event,
    key,
    path,
    alert: { class: name, run, series, attempt, step: from < 0 ? null : from, message: words, since },
    headline: headlineOf(message),
    text: bodyOf(message),
    brief,
  };
}

/** @param template the document in the form of another server */
export const webhook = (address: string, env: Env, template?: unknown): Channel => ({
  name: 'webhook',
  send: (message) =>
    postJson(address, template === undefined ? webhookDocument(message) : filled(template, message), env),
});
