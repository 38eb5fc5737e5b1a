/**
 * Writes the picture of the README, docs/picture.svg, and the same text in docs/page.md: the page of the incident in
 * fixtures/incident, as this checkout prints it. `npm run picture`; `npm run build` comes first.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './stamp.ts';
import { terminalSvg, textOfSvg } from './terminal-svg.ts';

const COLUMNS = 100;
const command = 'clippy-diag analyze fixtures/incident';

const printed = execFileSync(
  process.execPath,
  ['bin/run.js', ...command.split(' ').slice(1), '--budget', '600'],
  {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, COLUMNS: `${COLUMNS}`, FORCE_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  },
);
const svg = terminalSvg(command, printed, COLUMNS);
writeFileSync(join(root, 'docs/picture.svg'), svg);
const page = join(root, 'docs/page.md');
writeFileSync(
  page,
  readFileSync(page, 'utf8').replace(
    /^```console\n\$ clippy-diag analyze fixtures\/incident\n[\s\S]*?^```$/m,
    () => `\`\`\`console\n${textOfSvg(svg)}\n\`\`\``,
  ),
);
