/** Finds a Chromium for the tests of the HTML report; a test without one skips and says so. */
import { existsSync } from 'node:fs';

/** Path of a Chromium or Chrome, or undefined: `CLIPPY_DIAG_CHROMIUM` first, then the usual places. */
export const chromiumPath: string | undefined = [
  process.env.CLIPPY_DIAG_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/snap/bin/chromium',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
].find((path) => path !== undefined && existsSync(path));
