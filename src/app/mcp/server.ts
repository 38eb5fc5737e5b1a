/** The Model Context Protocol's server: tools that only read, and what they found as resources. */
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import {
  CallToolRequestSchema,
  ErrorCode,
  ListResourcesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import * as z from 'zod';
import { DiagError } from '../../model/errors.ts';
import { inert } from '../../model/inert-text.ts';
import { TOOLS, type Tool, type ToolAnswer, type ToolContext } from './tools.ts';

/** Largest text of an answer, in bytes; its resource has the rest. */
const MOST_BYTES = 1800;
/** Resources that are kept; the oldest is forgotten first. */
const MOST_RESOURCES = 20;

const INSTRUCTIONS =
  'clippy-diag judges training runs from their logs, checkpoints and recorded steps, and always gives the same answer for the same files. ' +
  'Begin with analyze. Each answer ends with the next command; explain takes the ids that answers name. Whole reports are resources.';

/** Milliseconds from one message of progress to the next. */
const PROGRESS_MS = 250;

export type ServerOptions = Omit<ToolContext, 'onProgress' | 'signal'>;

/** Whole lines up to so many bytes, and how much is left out. */
function fitted(text: string, uri: string): string {
  if (Buffer.byteLength(text) <= MOST_BYTES) return text;
  let kept = '';
  for (const line of text.split('\n')) {
    if (Buffer.byteLength(kept) + Buffer.byteLength(line) + 1 > MOST_BYTES - 100) break;
    kept += `${line}\n`;
  }
  return `${kept}… ${Buffer.byteLength(text) - Buffer.byteLength(kept)} bytes more: read ${uri}\n`;
}

const failure = (text: string) => ({ isError: true, content: [{ type: 'text' as const, text }] });

/** Makes a server that is not connected yet. */
export function makeServer(options: ServerOptions): Server {
  const server = new Server(
    { name: 'clippy-diag', version: options.toolVersion },
    { capabilities: { tools: {}, resources: {} }, instructions: INSTRUCTIONS },
  );
  const resources = new Map<string, ToolAnswer['more']>();
  let made = 0;
  const keep = (more: ToolAnswer['more']): string => {
    made++;
    const uri = `clippy-diag://${more.name}/${made}`;
    resources.set(uri, more);
    for (const oldest of resources.keys()) {
      if (resources.size <= MOST_RESOURCES) break;
      resources.delete(oldest);
    }
    return uri;
  };

  server.setRequestHandler(ListToolsRequestSchema, async () => ({
    tools: TOOLS.map(({ name, description, input }) => ({
      name,
      description,
      inputSchema: z.toJSONSchema(input, { io: 'input' }) as { type: 'object' },
      annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true },
    })),
  }));

  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { signal, sendNotification, _meta }) => {
    const tool = TOOLS.find(({ name }) => name === params.name);
    if (tool === undefined) throw new McpError(ErrorCode.InvalidParams, `there is no tool ${params.name}`);
    let progress = 0;
    let last = Number.NEGATIVE_INFINITY;
    const onProgress = (what: string): void => {
      signal.throwIfAborted();
      const now = options.now().getTime();
      if (_meta?.progressToken === undefined || what === '' || now < last + PROGRESS_MS) return;
      progress++;
      last = now;
      const { progressToken } = _meta;
      const told = { progressToken, progress, message: inert(what) };
      // Progress is a courtesy: a client that is gone is noticed by the answer.
      sendNotification({ method: 'notifications/progress', params: told }).catch(() => {});
    };
    const answer = await answerOf(tool, params.arguments ?? {}, { ...options, signal, onProgress });
    if (typeof answer === 'string') return failure(answer);
    const uri = keep(answer.more);
    const { name, mimeType } = answer.more;
    return {
      content: [
        { type: 'text' as const, text: fitted(inert(answer.text), uri) },
        { type: 'resource_link' as const, uri, name, mimeType },
      ],
    };
  });

  server.setRequestHandler(ListResourcesRequestSchema, async () => ({
    resources: [...resources].map(([uri, { name, mimeType }]) => ({ uri, name, mimeType })),
  }));

  server.setRequestHandler(ReadResourceRequestSchema, async ({ params: { uri } }) => {
    const found = resources.get(uri);
    if (found === undefined)
      throw new McpError(
        ErrorCode.InvalidParams,
        `there is no resource ${uri}; the last ${MOST_RESOURCES} are kept`,
      );
    return { contents: [{ uri, mimeType: found.mimeType, text: found.text }] };
  });
  return server;
}

/** The answer of a tool, or what went wrong in words. A cancelled call ends at once; its work ends at its next step. */
async function answerOf(tool: Tool, input: unknown, context: ToolContext): Promise<ToolAnswer | string> {
  try {
    const { signal } = context;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('cancelled')), { once: true });
    });
    return await Promise.race([tool.run(input, context), aborted]);
  } catch (error) {
    if (error instanceof z.ZodError)
      return error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; ');
    if (!(error instanceof DiagError)) throw error;
    const hint = error.hint === undefined ? '' : `\n  try: ${error.hint}`;
    return inert(`error[${error.code}]: ${error.message}${hint}`).slice(0, MOST_BYTES);
  }
}
