/** PagerDuty, Events API version 2: https://developer.pagerduty.com/docs/send-alert-event */
import { type Channel, type Env, postJson } from './channel.ts';
import { bodyOf } from './message.ts';
import { filled } from './template.ts';

const SERVICE = 'https://events.pagerduty.com/v2/enqueue';
/** PagerDuty refuses a longer summary. */
const MOST_SUMMARY = 1024;
const MILD = new Set(['inconclusive', 'micro-divergence', 'stall']);

/**
 * @param service another address of the API, such as that of the EU
 * @param template the summary in the user's own words
 */
export const pagerduty = (key: string, env: Env, service = SERVICE, template = '{headline}'): Channel => ({
  name: 'pagerduty',
  send: (message) => {
    const { event, alert } = message;
    const about = { routing_key: key, dedup_key: `clippy-diag-${alert.key}` };
    if (event === 'end') return postJson(service, { ...about, event_action: 'resolve' }, env);
    const document = {
      ...about,
      event_action: 'trigger',
      payload: {
        summary: filled(template, message).slice(0, MOST_SUMMARY),
        source: message.path,
        severity: MILD.has(alert.class) ? 'warning' : 'critical',
        component: alert.run,
        class: alert.class,
        custom_details: { text: bodyOf(message) },
      },
    };
    return postJson(service, document, env);
  },
});
