/** The parts that an HTML report inlines: uPlot, its style, and what is in assets/. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

interface HtmlParts {
  readonly style: string;
  readonly uplot: string;
  readonly client: string;
}

let parts: HtmlParts | undefined;

/**
 * Reads the parts, once. They belong to the program as its code does: found from the package's own root, so that they
 * are the same from a checkout, from the bundle and from an installed package.
 */
export function htmlParts(): HtmlParts {
  if (parts === undefined) {
    const require = createRequire(import.meta.url);
    const root = dirname(require.resolve('clippy-diag/package.json'));
    const text = (path: string): string => readFileSync(path, 'utf8').trim();
    const uplotStyle = text(require.resolve('uplot/dist/uPlot.min.css'));
    parts = {
      style: `${uplotStyle}\n${text(join(root, 'assets/report.css'))}`,
      uplot: text(require.resolve('uplot/dist/uPlot.iife.min.js')),
      client: text(join(root, 'assets/report.js')),
    };
  }
  return parts;
}
