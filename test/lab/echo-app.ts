/**
 * The app of a pod. Every HTTP answer is JSON that says what the app saw.
 *
 * Paths: /status/N answers with that status, /delay/MS answers late, /bytes/N answers N bytes of text, /chunks/N answers N chunks 10 ms
 * apart, /html answers text/html, /reset cuts the connection.
 * Headers: `x-fail-first: K[:STATUS|:reset]` fails the first K arrivals of a request here, `x-fail-pod: POD=STATUS|reset[,…]` those at a pod,
 * `x-delay-pod: POD=MS[,…]` delays there, `x-resp-headers: name=value[|…]` adds response headers; for gRPC `x-grpc-status`,
 * `x-grpc-delay` and `x-grpc-fail-first: K[:STATUS]`. A request is known by `x-lab-id`, and arrivals are counted by it.
 */
import { createHash } from "node:crypto";
import http, { type IncomingHttpHeaders } from "node:http";
import http2, { type ServerHttp2Stream } from "node:http2";
import net, { type Socket } from "node:net";
import tls, { TLSSocket } from "node:tls";

/** What the app saw of a request. */
export interface Echo {
  readonly pod: string;
  readonly proto: string;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly port: number;
  readonly peer: string;
  readonly tls?: { readonly sni: string; readonly alpn: string; readonly client: string };
  readonly bodySize: number;
  readonly bodySha?: string;
  /** How often this request has arrived here, this one included. */
  readonly nth: number;
}

/** A server's key, certificate and the authority of its clients, as PEM. */
export interface Certificates {
  readonly key: Buffer;
  readonly cert: Buffer;
  readonly ca: Buffer;
}

/** The app: each `listen…` opens one port on every address. */
export interface EchoApp {
  /** HTTP/1.x and HTTP/2 with prior knowledge. */
  listenHttp(port: number): void;
  listenHttps(port: number, certificates: Certificates, options: { readonly asksForCertificate: boolean }): void;
  /** Answers `POD:` and then what comes in; one that speaks first says `banner POD` before. */
  listenTcp(port: number, options: { readonly speaksFirst: boolean }): void;
  /** Answers `POD:SNI:` and what came in. */
  listenTls(port: number, certificates: Certificates): void;
  arrivalsOf(id: string): number;
}

/** What node:http and node:http2 have in common. */
interface Incoming {
  readonly headers: IncomingHttpHeaders;
  readonly method?: string;
  readonly url?: string;
  readonly httpVersion: string;
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "end" | "aborted", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

interface Outgoing {
  readonly destroyed: boolean;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(chunk: string): unknown;
  end(): unknown;
  end(chunk: string | Buffer): unknown;
  addTrailers(trailers: Record<string, string>): void;
  on(event: "error", listener: (error: Error) => void): unknown;
}

interface Exchange {
  readonly request: Incoming;
  readonly response: Outgoing;
  readonly socket: Socket;
  readonly stream: ServerHttp2Stream | undefined;
  /** Ends the whole connection without an answer. */
  cut(): void;
}

interface Arrival {
  readonly nth: number;
  readonly bodySize: number;
  readonly bodySha: string;
}

const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0");
const UNIMPORTANT = (): void => {}; // A client that went away is seen by the client.

/** An app that calls itself `pod` and listens nowhere yet. */
export function createEchoApp(pod: string): EchoApp {
  const arrivals = new Map<string, number>();
  const serve = (exchange: Exchange): void => receive(pod, exchange, arrivals);
  const upgrade = (request: http.IncomingMessage, socket: NodeJS.WritableStream & NodeJS.ReadableStream): void => {
    countArrival(arrivals, request.headers);
    serveWebSocket(pod, request.headers, socket);
  };
  return {
    listenHttp(port) {
      const one = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => serve(exchangeOfHttp1(request, response)));
      one.on("upgrade", upgrade);
      one.on("clientError", (_error, socket) => socket.destroy());
      const two = http2.createServer({}, (request, response) => serve(exchangeOfHttp2(request, response)));
      two.on("sessionError", UNIMPORTANT);
      net.createServer((socket) => serveByFirstBytes(socket, one, two)).listen(port);
    },
    listenHttps(port, certificates, { asksForCertificate }) {
      const options = { ...certificates, allowHTTP1: true, requestCert: asksForCertificate, rejectUnauthorized: asksForCertificate };
      const server = http2.createSecureServer(options, (request, response) => {
        // With allowHTTP1 these are node:http's for a client that chose HTTP/1.1.
        serve(
          request.httpVersionMajor === 2
            ? exchangeOfHttp2(request, response)
            : exchangeOfHttp1(request as unknown as http.IncomingMessage, response as unknown as http.ServerResponse),
        );
      });
      server.on("sessionError", UNIMPORTANT);
      server.on("tlsClientError", UNIMPORTANT);
      server.listen(port);
    },
    listenTcp(port, { speaksFirst }) {
      const server = net.createServer((socket) => {
        socket.on("error", UNIMPORTANT);
        if (speaksFirst) socket.write(`banner ${pod}\n`);
        let prefix = `${pod}:`;
        socket.on("data", (data) => {
          if (data.toString().startsWith("RESET")) {
            socket.resetAndDestroy();
            return;
          }
          socket.write(prefix + String(data));
          prefix = "";
        });
      });
      server.listen(port);
    },
    listenTls(port, certificates) {
      const server = tls.createServer({ ...certificates }, (socket) => {
        socket.on("error", UNIMPORTANT);
        const { servername } = socket as TLSSocket & { readonly servername?: string | false };
        socket.on("data", (data) => socket.write(`${pod}:${servername || "-"}:${String(data)}`));
      });
      server.on("tlsClientError", UNIMPORTANT);
      server.listen(port);
    },
    arrivalsOf: (id) => arrivals.get(id) ?? 0,
  };
}

function exchangeOfHttp1(request: http.IncomingMessage, response: http.ServerResponse): Exchange {
  const { socket } = request;
  const cut = (): unknown => (socket instanceof TLSSocket ? socket.destroy() : socket.resetAndDestroy());
  return { request, response, socket, stream: undefined, cut };
}

function exchangeOfHttp2(request: http2.Http2ServerRequest, response: http2.Http2ServerResponse): Exchange {
  const { stream } = request;
  const session = stream.session;
  if (!session) throw new Error("a request without its session");
  return { request, response, socket: session.socket as Socket, stream, cut: () => session.destroy() };
}

function serveByFirstBytes(socket: Socket, one: http.Server, two: http2.Http2Server): void {
  socket.on("error", UNIMPORTANT);
  socket.once("data", (first) => {
    socket.pause();
    socket.unshift(first);
    const isHttp2 = Buffer.from(first).subarray(0, HTTP2_PREFACE.length).equals(HTTP2_PREFACE);
    (isHttp2 ? two : one).emit("connection", socket);
    if (!isHttp2) socket.resume();
  });
}

function countArrival(arrivals: Map<string, number>, headers: IncomingHttpHeaders): number {
  const id = headerOf(headers, "x-lab-id");
  const nth = (arrivals.get(id) ?? 0) + 1;
  arrivals.set(id, nth);
  return nth;
}

/** Reads the whole request, then answers. */
function receive(pod: string, exchange: Exchange, arrivals: Map<string, number>): void {
  const { request, response } = exchange;
  const nth = countArrival(arrivals, request.headers);
  const digest = createHash("sha256");
  let bodySize = 0;
  let isAborted = false;
  request.on("data", (chunk) => {
    bodySize += chunk.length;
    digest.update(chunk);
  });
  request.on("aborted", () => {
    isAborted = true;
  });
  request.on("error", UNIMPORTANT);
  response.on("error", UNIMPORTANT);
  request.on("end", () => {
    if (!isAborted) answer(pod, exchange, { nth, bodySize, bodySha: digest.digest("hex") });
  });
}

function answer(pod: string, exchange: Exchange, arrival: Arrival): void {
  const { request, response } = exchange;
  const header = (name: string): string => headerOf(request.headers, name);
  const echo = (): string => JSON.stringify(describe(pod, exchange, arrival));
  if (header("content-type").startsWith("application/grpc") && exchange.stream) {
    answerGrpc(pod, exchange, exchange.stream, arrival, echo());
    return;
  }

  const extra = Object.fromEntries(pairsOf(header("x-resp-headers"), "|"));
  const send = (status: number, body = echo(), type = "application/json"): void => {
    if (response.destroyed) return;
    response.writeHead(status, { "content-type": type, "x-pod": pod, ...extra });
    if (request.method === "HEAD") response.end();
    else response.end(body);
  };
  const fail = (how: string): void => (how === "reset" ? exchange.cut() : send(Number(how)));

  const [times, how = "503"] = header("x-fail-first").split(":");
  const failure = arrival.nth <= Number(times) ? how : pairsOf(header("x-fail-pod"), ",").get(pod);
  if (failure) {
    fail(failure);
    return;
  }

  const [, verb = "", argument = ""] = new URL(request.url ?? "/", "http://x").pathname.split("/");
  const reply = (): void => {
    if (verb === "status") send(Number(argument));
    else if (verb === "bytes") send(200, "x".repeat(Number(argument)), "text/plain");
    else if (verb === "html") send(200, "<p>hello</p>", "text/html");
    else if (verb === "reset") exchange.cut();
    else if (verb === "chunks") sendChunks(pod, response, Number(argument));
    else send(200);
  };
  const delayMs = Number(pairsOf(header("x-delay-pod"), ",").get(pod) ?? (verb === "delay" ? argument : 0));
  if (delayMs > 0) setTimeout(reply, delayMs);
  else reply();
}

function describe(pod: string, { request, socket }: Exchange, { nth, bodySize, bodySha }: Arrival): Echo {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers))
    if (!name.startsWith(":") && value !== undefined) headers[name] = String(value);
  const secure = socket instanceof TLSSocket ? socket : undefined;
  const client = secure?.getPeerCertificate()?.subject?.CN;
  return {
    pod,
    proto: `HTTP/${request.httpVersion}`,
    method: request.method ?? "",
    path: request.url ?? "",
    authority: headerOf(request.headers, ":authority") || headerOf(request.headers, "host"),
    headers,
    port: socket.localPort ?? 0,
    peer: socket.remoteAddress?.replace("::ffff:", "") ?? "",
    ...(secure ? { tls: { sni: serverNameOf(secure), alpn: secure.alpnProtocol || "", client: String(client ?? "") } } : {}),
    bodySize,
    ...(bodySize > 0 ? { bodySha } : {}),
    nth,
  };
}

function serverNameOf(socket: TLSSocket): string {
  return (socket as TLSSocket & { readonly servername?: string | false }).servername || "";
}

function sendChunks(pod: string, response: Outgoing, count: number): void {
  response.writeHead(200, { "content-type": "text/plain", "x-pod": pod });
  let sent = 0;
  const next = (): void => {
    if (sent++ >= count) {
      response.end();
      return;
    }
    response.write(`chunk ${sent}\n`);
    setTimeout(next, 10);
  };
  next();
}

/** One message and trailers, or trailers alone where the call fails. */
function answerGrpc(pod: string, { request, response }: Exchange, stream: ServerHttp2Stream, arrival: Arrival, text: string): void {
  const [times, code = "14"] = headerOf(request.headers, "x-grpc-fail-first").split(":");
  const status = arrival.nth <= Number(times) ? code : headerOf(request.headers, "x-grpc-status") || "0";
  if (status !== "0") {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "grpc-status": status, "grpc-message": "failed", "x-pod": pod },
      { endStream: true },
    );
    return;
  }
  setTimeout(
    () => {
      if (stream.destroyed) return;
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(Buffer.byteLength(text), 1);
      response.writeHead(200, { "content-type": "application/grpc", "x-pod": pod });
      response.addTrailers({ "grpc-status": "0", "x-trailer": "yes" });
      response.end(Buffer.concat([prefix, Buffer.from(text)]));
    },
    Number(headerOf(request.headers, "x-grpc-delay") || 0),
  );
}

/** Takes small masked text frames, answers each with `POD:text`. Source: RFC 6455. */
function serveWebSocket(pod: string, headers: IncomingHttpHeaders, socket: NodeJS.WritableStream & NodeJS.ReadableStream): void {
  const accept = createHash("sha1")
    .update(`${headerOf(headers, "sec-websocket-key")}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  socket.on("error", UNIMPORTANT);
  const head = [
    "HTTP/1.1 101 Switching Protocols",
    "upgrade: websocket",
    "connection: Upgrade",
    `sec-websocket-accept: ${accept}`,
    `x-pod: ${pod}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  socket.on("data", (frame: Buffer) => {
    const isClose = ((frame[0] ?? 0) & 15) === 8;
    if (isClose) {
      socket.end(Buffer.from([0x88, 0]));
      return;
    }
    const mask = frame.subarray(2, 6);
    const masked = frame.subarray(6, 6 + ((frame[1] ?? 0) & 127));
    const text = Buffer.from(masked.map((byte, i) => byte ^ (mask[i % 4] ?? 0)));
    const reply = Buffer.from(`${pod}:${text.toString()}`);
    socket.write(Buffer.concat([Buffer.from([0x81, reply.length]), reply]));
  });
}

function headerOf(headers: IncomingHttpHeaders, name: string): string {
  return String(headers[name] ?? "");
}

/** `a=1,b=2` as a map. */
function pairsOf(text: string, separator: string): Map<string, string> {
  return new Map(
    text
      .split(separator)
      .flatMap((pair) => (pair.includes("=") ? [[pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)] as const] : [])),
  );
}
