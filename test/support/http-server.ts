/** A server on loopback that serves bytes as a good one does, or misbehaves as it is told. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Served {
  body: Buffer;
  etag?: string;
  modified?: Date;
}

/** What a server does wrong; each is asked of every request. */
export interface Faults {
  /** Sends at most so many bytes of a body, then cuts the connection. */
  cutAfter?: number;
  /** Cuts only so many times. */
  cuts?: number;
  /** Ignores ranges. */
  noRanges?: boolean;
  /** Answers from another byte than the one that was asked for. */
  shiftBy?: number;
  /** Sends neither a length nor chunks. */
  noLength?: boolean;
  /** Answers with this status so many times. */
  status?: { code: number; times: number; retryAfter?: string };
  /** Sends nothing more after the headers. */
  stall?: boolean;
  /** Adds bytes to the object after so many requests. */
  growAfter?: number;
}

export interface Requested {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export class FaultyServer {
  readonly files = new Map<string, Served>();
  /** Paths that redirect. */
  readonly redirects = new Map<string, string>();
  faults: Faults = {};
  readonly requests: Requested[] = [];
  /** Answers before anything else; whether it did. */
  handler: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  private cuts = 0;
  private statuses = 0;

  private constructor(private readonly server: Server) {
    server.on('request', (request, response) => this.answer(request, response));
  }

  static async start(): Promise<FaultyServer> {
    const server = createServer();
    const self = new FaultyServer(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return self;
  }

  /** Sets what goes wrong from here on. */
  misbehave(faults: Faults): void {
    this.faults = faults;
    this.cuts = 0;
    this.statuses = 0;
    this.requests.length = 0;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push({ method: request.method!, url: request.url!, headers: request.headers });
    if (this.handler?.(request, response) === true) return;
    const path = decodeURIComponent(new URL(request.url!, this.url).pathname);
    const { faults } = this;
    const to = this.redirects.get(path);
    if (to !== undefined) {
      response.writeHead(302, { location: to }).end();
      return;
    }
    const { status } = faults;
    if (status !== undefined && this.statuses++ < status.times) {
      const after = status.retryAfter === undefined ? {} : { 'retry-after': status.retryAfter };
      response.writeHead(status.code, after).end('later');
      return;
    }
    const file = this.files.get(path);
    if (file === undefined) {
      response.writeHead(404).end('no');
      return;
    }
    if (faults.growAfter !== undefined && this.requests.length > faults.growAfter)
      file.body = Buffer.concat([file.body, Buffer.from('{"step":99999,"loss":1}\n')]);
    this.send(request, response, file);
  }

  private send(request: IncomingMessage, response: ServerResponse, file: Served): void {
    const { faults } = this;
    const about = {
      ...(file.etag === undefined ? {} : { etag: file.etag }),
      ...(file.modified === undefined ? {} : { 'last-modified': file.modified.toUTCString() }),
    };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const size = file.body.length;
    let body = file.body;
    if (range !== null && faults.noRanges !== true) {
      const start = Number(range[1]);
      const end = range[2] === '' ? size : Math.min(size, Number(range[2]) + 1);
      if (start >= size) {
        response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
        return;
      }
      // The probe for the first byte is answered rightly: what lies are the ranges of the transfer.
      const shift = end - start === 1 ? 0 : (faults.shiftBy ?? 0);
      body = file.body.subarray(start + shift, end + shift);
      response.writeHead(206, {
        ...about,
        'content-length': body.length,
        'content-range': `bytes ${start + shift}-${start + shift + body.length - 1}/${size}`,
      });
    } else if (faults.noLength === true) {
      response.shouldKeepAlive = false;
      response.useChunkedEncodingByDefault = false;
      response.removeHeader('transfer-encoding');
      response.writeHead(200, { ...about, connection: 'close' });
    } else response.writeHead(200, { ...about, 'content-length': size });
    if (faults.stall === true && body.length > 1) {
      response.write(body.subarray(0, 1));
      return;
    }
    const { cutAfter, cuts = Number.POSITIVE_INFINITY } = faults;
    if (cutAfter !== undefined && body.length > cutAfter && this.cuts++ < cuts) {
      response.write(body.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 5));
      return;
    }
    response.end(body);
  }
}
