/**
 * The transcript of docs/mcp.md: each question with the call that answers it, and the answer as the server gives it now.
 * `CLIPPY_DIAG_TRANSCRIPT=write` writes the answers; read them before you commit them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { expect, it } from 'vitest';
import { allowedBy } from '../../src/app/mcp/allowed.ts';
import { makeServer } from '../../src/app/mcp/server.ts';
import { projectRoot } from '../support/shared-data.ts';

const page = join(projectRoot, 'docs/mcp.md');
const CALL = /^`(\w+)` `(\{.*\})`\n\n```text\n([\s\S]*?)\n```$/gm;

it('has twelve questions, and the answers are those of the server', async () => {
  const text = readFileSync(page, 'utf8');
  const calls = [...text.matchAll(CALL)];
  expect(calls).toHaveLength(12);
  const server = makeServer({
    allowed: await allowedBy([join(projectRoot, 'fixtures')]),
    offline: '--offline',
    env: {},
    toolVersion: '0.0.0',
    now: () => new Date('2026-01-01T00:00:00Z'),
    sleep: async () => {},
  });
  const client = new Client({ name: 'transcript', version: '1' });
  const [a, b] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(a), client.connect(b)]);
  let written = text;
  for (const [whole, name, input, answer] of calls) {
    // A busy machine is no failure of the server.
    const { content } = await client.callTool({ name: name!, arguments: JSON.parse(input!) }, undefined, {
      timeout: 600_000,
    });
    const now = (content as { text?: string }[])[0]!.text!.trimEnd();
    if (process.env.CLIPPY_DIAG_TRANSCRIPT === 'write')
      written = written.replace(whole, () => `\`${name}\` \`${input}\`\n\n\`\`\`text\n${now}\n\`\`\``);
    else expect(now, whole).toBe(answer);
  }
  if (written !== text) writeFileSync(page, written);
});
