/** What a page of HTML may load and run: the styles and scripts that are in it, by their hashes, and nothing else. */
import { createHash } from 'node:crypto';

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/**
 * The value of its Content-Security-Policy (Level 3).
 *
 * @param style the text of its one style element
 * @param scripts the texts of its script elements; none run where there are none
 */
export const contentPolicy = (style: string, scripts: readonly string[] = []): string =>
  [
    "default-src 'none'",
    ...(scripts.length === 0 ? [] : [`script-src ${scripts.map(hashOf).join(' ')}`]),
    `style-src ${hashOf(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
