/** A proxy on loopback: it passes requests on and connects. It knows every host by one name server of its own. */
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

export interface ProxyOptions {
  /** Ports of loopback by the `host:port` that is asked for. */
  readonly hosts: ReadonlyMap<string, number>;
  /** `USER:PASSWORD` that it asks for. */
  readonly login?: string;
  /** The status that it answers with in the place of connecting or passing on. */
  readonly status?: number;
}

export interface RunningProxy {
  readonly port: number;
  /** What it was asked: `GET http://host/path`, `CONNECT host:443`. */
  readonly asked: string[];
  options: ProxyOptions;
  stop(): Promise<void>;
}

export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const self = { options, asked: [] as string[] };
  const refusal = ({ headers }: IncomingMessage): number | undefined => {
    const { login, status } = self.options;
    const given = headers['proxy-authorization'];
    if (login !== undefined && given !== `Basic ${Buffer.from(login).toString('base64')}`) return 407;
    return status;
  };
  const tunnels = new Set<{ destroy(): void }>();
  const note = (got: IncomingMessage): void => void self.asked.push(`${got.method} ${got.url}`);
  const server: Server = createServer((got, answer) => {
    note(got);
    const refused = refusal(got);
    const { host, pathname, search } = new URL(got.url!);
    const port = self.options.hosts.get(host.includes(':') ? host : `${host}:80`);
    if (refused !== undefined || port === undefined) return void answer.writeHead(refused ?? 502).end();
    const { 'proxy-authorization': _, ...headers } = got.headers;
    const passed = request(
      { port, host: '127.0.0.1', method: got.method, path: `${pathname}${search}`, headers },
      (there) => {
        answer.writeHead(there.statusCode!, there.headers);
        there.pipe(answer);
      },
    );
    passed.on('error', () => answer.destroy());
    got.pipe(passed);
  });
  server.on('connect', (got: IncomingMessage, socket) => {
    note(got);
    const refused = refusal(got);
    const port = self.options.hosts.get(got.url!);
    if (refused !== undefined || port === undefined)
      return void socket.end(`HTTP/1.1 ${refused ?? 502} No\r\n\r\n`);
    const there = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connected\r\n\r\n');
      there.pipe(socket);
      socket.pipe(there);
    });
    tunnels.add(socket);
    for (const [one, two] of [
      [there, socket],
      [socket, there],
    ])
      one!.on('error', () => two!.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(self, {
    port: (server.address() as AddressInfo).port,
    stop(): Promise<void> {
      server.closeAllConnections();
      for (const socket of tunnels) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  });
}
