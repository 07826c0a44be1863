/** The client of a pod: sends one request and describes what came back as plain data. */
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import http2, { type IncomingHttpHeaders, type IncomingHttpStatusHeader } from "node:http2";
import net, { type Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import type { Echo } from "./echo-app.ts";

/** How a request is sent. `tcp`, `tls` and `raw` write `send` as it is; `ws` is a WebSocket that sends one frame. */
export type Protocol = "http" | "https" | "h2c" | "h2" | "grpc" | "ws" | "tcp" | "tls" | "raw";

/** One request, with everything about it settled. */
export interface LabRequest {
  /** Sent as `x-lab-id`, and in place of `{{id}}` in `send`. */
  readonly id: string;
  readonly protocol?: Protocol;
  readonly ip: string;
  readonly port: number;
  readonly host: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | { readonly bytes: number };
  /** Sends the body in chunks of 1000 bytes. */
  readonly chunked?: boolean;
  /** The name in the TLS hello: the host by default, none where it is empty. */
  readonly sni?: string;
  readonly alpn?: readonly string[];
  readonly clientCert?: { readonly cert: string; readonly key: string };
  readonly send?: string;
  /** Reads until this text; else until the peer ends or `quietMs` (400) pass in silence. */
  readonly until?: string;
  readonly quietMs?: number;
  readonly timeoutMs?: number;
}

/** What became of a request. `cut` is an end of the connection without an answer, by FIN or RST: which of the two is a matter of timing. */
export type Outcome = "response" | "refused" | "cut" | "timeout" | "tls-error" | "unreachable";

/** What came back. A body that is the echo app's answer is in `echo` instead, one over 64 KiB is a hash. */
export interface LabResult {
  readonly outcome: Outcome;
  readonly ms: number;
  readonly error?: string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly trailers?: Readonly<Record<string, string>>;
  readonly size?: number;
  readonly body?: string;
  readonly bodySha?: string;
  readonly echo?: Echo;
  readonly grpcStatus?: number;
  readonly informational?: number;
  readonly truncated?: boolean;
  /** Whether a raw connection was ended by the peer. */
  readonly ended?: boolean;
  readonly serverCert?: string;
  readonly alpn?: string;
}

type Answer = Omit<LabResult, "outcome" | "ms"> & { readonly outcome?: Outcome };

interface Done {
  ok(answer: Answer): void;
  fail(error: NodeJS.ErrnoException): void;
}

/** Starts the request and gives what stops it. */
type Driver = (request: LabRequest, done: Done) => () => void;

const KEEP_BODY_BYTES = 65_536;
const TIMEOUT_MS = 8000;
const QUIET_MS = 400;

const DRIVERS: Readonly<Record<Protocol, Driver>> = {
  http: sendHttp1,
  https: sendHttp1,
  h2c: sendHttp2,
  h2: sendHttp2,
  grpc: sendHttp2,
  ws: sendWebSocket,
  tcp: sendBytes,
  tls: sendBytes,
  raw: sendBytes,
};

/** Sends one request. Never rejects: what went wrong is the outcome. */
export function sendRequest(request: LabRequest): Promise<LabResult> {
  return new Promise((resolve) => {
    const began = performance.now();
    let stop = (): void => {};
    let isOver = false;
    const settle = (answer: Answer): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      setImmediate(() => stop());
      resolve({ outcome: "response", ...answer, ms: Math.round(performance.now() - began) });
    };
    const done: Done = { ok: settle, fail: (error) => settle({ outcome: outcomeOf(error), error: error.code ?? error.message }) };
    const timer = setTimeout(() => settle({ outcome: "timeout", error: "timeout" }), request.timeoutMs ?? TIMEOUT_MS);
    try {
      stop = DRIVERS[request.protocol ?? "http"](request, done);
    } catch (error) {
      done.fail(error instanceof Error ? error : new Error(String(error)));
    }
  });
}

function outcomeOf({ code = "", message }: NodeJS.ErrnoException): Outcome {
  if (code === "ECONNREFUSED") return "refused";
  if (code === "EHOSTUNREACH" || code === "ENETUNREACH") return "unreachable";
  if (/^ERR_(SSL|TLS)|CERT|SELF_SIGNED|UNABLE_TO/.test(code) || /alert|ssl/i.test(message)) return "tls-error";
  return "cut"; // A reset, a broken pipe, "socket hang up", an HTTP/2 stream error, an answer that is no HTTP.
}

function sendHttp1(request: LabRequest, done: Done): () => void {
  const body = payloadOf(request);
  const headers: Record<string, string | number> = { host: request.host, "x-lab-id": request.id, ...request.headers };
  if (body && !request.chunked) headers["content-length"] ??= body.length;
  const secure = { createConnection: () => connectTls(request, ["http/1.1"]) };
  const sent = http.request({
    host: request.ip,
    port: request.port,
    method: request.method ?? (body ? "POST" : "GET"),
    path: request.path ?? "/",
    headers,
    setHost: false,
    ...(request.protocol === "https" ? secure : { agent: false }),
  });
  let informational: number | undefined;
  sent.on("error", done.fail);
  sent.on("information", ({ statusCode }) => {
    informational = statusCode;
  });
  sent.on("response", (response) => {
    const chunks: Buffer[] = [];
    const finish = (isTruncated: boolean): void =>
      done.ok({
        ...(informational === undefined ? {} : { informational }),
        status: response.statusCode,
        headers: joined(response.headers),
        ...trailersOf(response.trailers),
        ...describeBody(Buffer.concat(chunks)),
        ...certificateOf(sent.socket),
        ...(isTruncated ? { truncated: true } : {}),
      });
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () => finish(!response.complete));
    response.on("error", () => finish(true));
  });
  if (headers["expect"] === "100-continue") {
    sent.on("continue", () => {
      informational = 100;
      sent.end(body);
    });
  } else if (request.chunked && body) {
    for (let at = 0; at < body.length; at += 1000) sent.write(body.subarray(at, at + 1000));
    sent.end();
  } else sent.end(body);
  return () => sent.destroy();
}

function sendHttp2(request: LabRequest, done: Done): () => void {
  const isSecure = request.protocol === "h2";
  const isGrpc = request.protocol === "grpc";
  const scheme = isSecure ? "https" : "http";
  const socket = isSecure ? connectTls(request, ["h2"]) : net.connect(request.port, request.ip);
  socket.on("error", done.fail);
  const session = http2.connect(`${scheme}://${request.host}`, { createConnection: () => socket });
  session.on("error", done.fail);
  const payload = payloadOf(request);
  const body = isGrpc ? grpcMessage(payload ?? Buffer.alloc(0)) : payload;
  const stream = session.request(
    {
      ":method": request.method ?? (body ? "POST" : "GET"),
      ":path": request.path ?? "/",
      ":authority": request.host,
      ":scheme": scheme,
      "x-lab-id": request.id,
      ...(isGrpc ? { "content-type": "application/grpc", te: "trailers" } : {}),
      ...request.headers,
    },
    { endStream: !body },
  );
  const chunks: Buffer[] = [];
  let head: (IncomingHttpHeaders & IncomingHttpStatusHeader) | undefined;
  let trailers: IncomingHttpHeaders = {};
  stream.on("response", (headers) => {
    head = headers;
  });
  stream.on("trailers", (headers) => {
    trailers = headers;
  });
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("error", done.fail);
  stream.on("close", () => {
    const status = head?.[":status"];
    if (!head || status === undefined) {
      done.fail(Object.assign(new Error("no response"), { code: "ECONNRESET" }));
      return;
    }
    const GRPC_PREFIX_BYTES = 5;
    const content = Buffer.concat(chunks);
    done.ok({
      status,
      headers: joined(head),
      ...trailersOf(trailers),
      ...describeBody(isGrpc ? content.subarray(GRPC_PREFIX_BYTES) : content),
      ...certificateOf(socket),
      ...(isGrpc ? { grpcStatus: Number(trailers["grpc-status"] ?? head["grpc-status"] ?? -1) } : {}),
    });
    session.close();
  });
  if (body) stream.end(body);
  return () => {
    session.destroy();
    socket.destroy();
  };
}

function sendBytes(request: LabRequest, done: Done): () => void {
  const isSecure = request.protocol === "tls";
  const socket = isSecure ? connectTls(request, request.alpn) : net.connect(request.port, request.ip);
  const chunks: Buffer[] = [];
  let silence: NodeJS.Timeout | undefined;
  const finish = (isEnded: boolean): void => {
    clearTimeout(silence);
    const all = Buffer.concat(chunks);
    if (all.length === 0 && isEnded) done.ok({ outcome: "cut", ...certificateOf(socket) });
    else
      done.ok({ ...describeBody(all), body: all.toString("latin1").slice(0, KEEP_BODY_BYTES), ended: isEnded, ...certificateOf(socket) });
  };
  socket.on("error", (error: NodeJS.ErrnoException) => (chunks.length > 0 ? finish(true) : done.fail(error)));
  socket.on(isSecure ? "secureConnect" : "connect", () => {
    if (request.send !== undefined) socket.write(Buffer.from(request.send.replaceAll("{{id}}", request.id), "latin1"));
  });
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    clearTimeout(silence);
    if (request.until && Buffer.concat(chunks).includes(request.until)) finish(false);
    else silence = setTimeout(() => finish(false), request.quietMs ?? QUIET_MS);
  });
  socket.on("end", () => finish(true));
  return () => {
    clearTimeout(silence);
    socket.destroy();
  };
}

/** Source: RFC 6455, section 5. */
function sendWebSocket(request: LabRequest, done: Done): () => void {
  const sent = http.request({
    host: request.ip,
    port: request.port,
    path: request.path ?? "/",
    agent: false,
    setHost: false,
    headers: {
      host: request.host,
      "x-lab-id": request.id,
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-key": randomBytes(16).toString("base64"),
      "sec-websocket-version": "13",
      ...request.headers,
    },
  });
  sent.on("error", done.fail);
  sent.on("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("end", () =>
      done.ok({ status: response.statusCode, headers: joined(response.headers), ...describeBody(Buffer.concat(chunks)) }),
    );
  });
  sent.on("upgrade", (response, socket) => {
    const text = Buffer.from(request.send ?? "hello");
    const mask = randomBytes(4);
    socket.on("error", done.fail);
    socket.on("data", (frame: Buffer) => {
      const length = (frame[1] ?? 0) & 127;
      done.ok({ status: response.statusCode, headers: joined(response.headers), body: frame.subarray(2, 2 + length).toString() });
      socket.destroy();
    });
    socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length]), mask, text.map((byte, i) => byte ^ (mask[i % 4] ?? 0))]));
  });
  sent.end();
  return () => sent.destroy();
}

function connectTls(request: LabRequest, alpn?: readonly string[]): TLSSocket {
  return tls.connect({
    host: request.ip,
    port: request.port,
    servername: request.sni === "" ? undefined : (request.sni ?? request.host),
    rejectUnauthorized: false,
    ...(alpn ? { ALPNProtocols: [...alpn] } : {}),
    ...request.clientCert,
  });
}

function payloadOf({ body }: LabRequest): Buffer | undefined {
  if (body === undefined) return undefined;
  return typeof body === "string" ? Buffer.from(body) : Buffer.alloc(body.bytes, "x");
}

function grpcMessage(bytes: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

function describeBody(all: Buffer): Pick<LabResult, "size" | "body" | "bodySha" | "echo"> {
  const size = all.length;
  if (size > KEEP_BODY_BYTES) return { size, bodySha: createHash("sha256").update(all).digest("hex") };
  const body = all.toString();
  if (!body.startsWith('{"pod":')) return { size, body };
  try {
    return { size, echo: JSON.parse(body) as Echo };
  } catch {
    return { size, body }; // The echo app's answer, cut off.
  }
}

function joined(headers: IncomingHttpHeaders): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(":") && value !== undefined) out[name] = Array.isArray(value) ? value.join(", ") : String(value);
  }
  return out;
}

function trailersOf(trailers: IncomingHttpHeaders | NodeJS.Dict<string>): Pick<LabResult, "trailers"> {
  return Object.keys(trailers).length > 0 ? { trailers: joined(trailers) } : {};
}

function certificateOf(socket: Socket | null): Pick<LabResult, "serverCert" | "alpn"> {
  if (!socket || !("getPeerCertificate" in socket)) return {};
  const secure = socket as TLSSocket;
  const certificate = secure.getPeerCertificate();
  return { serverCert: String(certificate?.subject?.CN ?? certificate?.subjectaltname ?? ""), alpn: secure.alpnProtocol || "" };
}
