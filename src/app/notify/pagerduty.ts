/** PagerDuty, Events API version 2: https://developer.pagerduty.com/docs/send-alert-event */
import { type Channel, postJson } from './channel.ts';
import { bodyOf, headlineOf } from './message.ts';

const SERVICE = 'https://events.pagerduty.com/v2/enqueue';
/** PagerDuty refuses a longer summary. */
const MOST_SUMMARY = 1024;
const MILD = new Set(['inconclusive', 'micro-divergence', 'stall']);

/** @param service another address of the API, such as that of the EU */
export const pagerduty = (key: string, service = SERVICE): Channel => ({
  name: 'pagerduty',
  send: (message) => {
    const { event, alert } = message;
    const about = { routing_key: key, dedup_key: `clippy-diag-${alert.key}` };
    if (event === 'end') return postJson(service, { ...about, event_action: 'resolve' });
    return postJson(service, {
      ...about,
      event_action: 'trigger',
      payload: {
        summary: headlineOf(message).slice(0, MOST_SUMMARY),
        source: message.path,
        severity: MILD.has(alert.class) ? 'warning' : 'critical',
        component: alert.run,
        class: alert.class,
        custom_details: { text: bodyOf(message) },
      },
    });
  },
});
