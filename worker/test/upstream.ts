/** A target of the tests: a small HTTP server on a free port, and what reached it. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** What reached the target. */
export interface Seen {
  method: string;
  url: string;
  headers: string[];
  size: number;
  hash: string;
}

/** How the target behaves: it answers, after so many milliseconds, with a status, or never. */
export interface Manner {
  status?: number;
  after?: number;
  never?: boolean;
  headers?: [string, string][];
  body?: Buffer | string;
}

export class Upstream {
  manner: Manner = {};
  /** Manners of single paths; the health path has its own as well. */
  readonly paths = new Map<string, Manner>();
  readonly seen: Seen[] = [];
  readonly name: string;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private port = 0;

  private constructor(name: string) {
    this.name = name;
    this.server = createServer((request, response) => void this.serve(request, response));
    // As many do: an idle connection is closed early, so that stale ones come up in the tests as well.
    this.server.keepAliveTimeout = 2_000;
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
      socket.on("error", () => {});
    });
  }

  static async start(name: string): Promise<Upstream> {
    const made = new Upstream(name);
    await made.listen();
    return made;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Whether requests for pages (not the health path) reached it. */
  pages(): Seen[] {
    return this.seen.filter(({ url }) => url !== "/health");
  }

  async listen(): Promise<void> {
    this.server.listen(this.port, "127.0.0.1");
    await new Promise((resolve) => this.server.once("listening", resolve));
    this.port = (this.server.address() as AddressInfo).port;
  }

  /** Dies at once, like a process that is killed: connections are reset, new ones refused. */
  async kill(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.resetAndDestroy();
    await closed;
  }

  async stop(): Promise<void> {
    if (this.server.listening) await this.kill();
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const hash = createHash("sha256");
    let size = 0;
    try {
      for await (const chunk of request) {
        hash.update(chunk as Buffer);
        size += (chunk as Buffer).length;
      }
    } catch {
      return;
    }
    const { method = "", url = "", rawHeaders } = request;
    this.seen.push({ method, url, headers: rawHeaders, size, hash: hash.digest("hex") });
    const manner = this.paths.get(url.split("?")[0]!) ?? this.manner;
    if (manner.never) return;
    await new Promise((resolve) => setTimeout(resolve, manner.after ?? 2));
    for (const [name, value] of manner.headers ?? []) response.appendHeader(name, value);
    response.setHeader("x-up", this.name);
    const body = manner.body ?? `${this.name} ${url}\n`;
    response.writeHead(manner.status ?? 200, { "content-length": Buffer.byteLength(body) });
    response.end(method === "HEAD" ? undefined : body);
  }
}
