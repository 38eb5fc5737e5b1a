/** Messages in words of the user's own, from `notify.templates` of the configuration. */
import { inertName } from '../../model/inert-text.ts';
import { type MessageField, withFields } from '../../model/message-fields.ts';
import { bodyOf, headlineOf, type Message } from './message.ts';

export interface Templates {
  readonly slack?: string | undefined;
  readonly pagerduty?: string | undefined;
  readonly webhook?: unknown;
}

/**
 * A template with the values of a message in its texts, at any depth.
 *
 * @param quote what the receiver needs done to a value: names of a log are a stranger's, the template is the user's
 */
export function filled(template: string, message: Message, quote?: (value: string) => string): string;
export function filled(template: unknown, message: Message, quote?: (value: string) => string): unknown;
export function filled(template: unknown, message: Message, quote = (value: string) => value): unknown {
  if (typeof template === 'string') return withFields(template, (field) => quote(fieldText(field, message)));
  if (Array.isArray(template)) return template.map((one) => filled(one, message, quote));
  if (typeof template !== 'object' || template === null) return template;
  return Object.fromEntries(
    Object.entries(template).map(([name, one]) => [name, filled(one, message, quote)]),
  );
}

function fieldText(field: MessageField, message: Message): string {
  const { alert, event, path } = message;
  switch (field) {
    case 'event':
      return event;
    case 'class':
    case 'key':
      return alert[field];
    case 'run':
    case 'message':
      return inertName(alert[field]);
    case 'path':
      return inertName(path);
    case 'step':
      return alert.from < 0 ? '' : String(alert.from);
    case 'headline':
      return headlineOf(message);
    case 'text':
      return bodyOf(message).trimEnd();
  }
}
