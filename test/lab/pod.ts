/** The process of one pod, inside its network namespace: echo app, client driver, and for the control plane's pod DNS and fixed files. */
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type LabRequest, type LabResult, sendRequest } from "./client-driver.ts";
import { createEchoApp } from "./echo-app.ts";
import type { GetOptions } from "./pod-process.ts";

interface Settings {
  readonly pod: string;
  readonly hasApp: boolean;
  /** The folder of the app's certificate. */
  readonly certificates: string;
  readonly files?: { readonly port: number; readonly byPath: Readonly<Record<string, string>> };
  /** Addresses by name; other names do not exist. */
  readonly dns?: Readonly<Record<string, readonly string[]>>;
}

type Call = { readonly id: number } & (
  | { readonly op: "ready" }
  | { readonly op: "send"; readonly requests: readonly LabRequest[]; readonly parallel: number }
  | { readonly op: "arrivals"; readonly ids: readonly string[] }
  | ({ readonly op: "get" } & GetOptions)
);

const GET_TIMEOUT_MS = 2000;

const settings = JSON.parse(process.argv[2] ?? "{}") as Settings;
process.on("uncaughtException", (error) => console.error(`pod ${settings.pod}:`, error));

const app = createEchoApp(settings.pod);
if (settings.hasApp) {
  const read = (name: string): Buffer => readFileSync(join(settings.certificates, name));
  const certificates = { key: read("app-key.pem"), cert: read("app-cert.pem"), ca: read("ca-cert.pem") };
  for (const port of [8080, 8081, 9090]) app.listenHttp(port);
  app.listenTcp(9000, { speaksFirst: false });
  app.listenTcp(9001, { speaksFirst: true });
  app.listenHttps(8443, certificates, { asksForCertificate: false });
  app.listenHttps(8444, certificates, { asksForCertificate: true });
  app.listenTls(9443, certificates);
}
if (settings.files) serveFiles(settings.files.port, settings.files.byPath);
if (settings.dns) serveDns(settings.dns);

createInterface({ input: process.stdin })
  .on("line", (line) => void take(JSON.parse(line) as Call))
  .on("close", () => process.exit(0));

async function take(call: Call): Promise<void> {
  const answer = await perform(call).then(
    (result) => ({ result }),
    (error: unknown) => ({ error: String(error) }),
  );
  process.stdout.write(`${JSON.stringify({ id: call.id, ...answer })}\n`);
}

async function perform(call: Call): Promise<unknown> {
  switch (call.op) {
    case "ready":
      return true;
    case "send":
      return await sendAll(call.requests, call.parallel);
    case "arrivals":
      return call.ids.reduce((sum, id) => sum + app.arrivalsOf(id), 0);
    case "get":
      return await get(call);
  }
}

async function sendAll(requests: readonly LabRequest[], parallel: number): Promise<LabResult[]> {
  const results: LabResult[] = [];
  const queue = requests.entries();
  const work = async (): Promise<void> => {
    for (const [i, request] of queue) results[i] = await sendRequest(request);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, requests.length) }, work));
  return results;
}

function get({ ip = "127.0.0.1", port, path, host }: GetOptions): Promise<{ status: number; body: string }> {
  return new Promise((resolve) => {
    const request = http.request({ host: ip, port, path, agent: false, headers: host ? { host } : {} }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.on("error", () => resolve({ status: 0, body: "" }));
    });
    request.setTimeout(GET_TIMEOUT_MS, () => request.destroy(new Error("timeout")));
    request.on("error", (error) => resolve({ status: 0, body: error.message }));
    request.end();
  });
}

function serveFiles(port: number, byPath: Readonly<Record<string, string>>): void {
  const server = http.createServer((request, response) => {
    const text = byPath[request.url ?? ""];
    response.writeHead(text === undefined ? 404 : 200, { "content-type": "application/json" }).end(text ?? "");
  });
  server.listen(port);
}

/** Answers A queries. Source: RFC 1035, section 4. */
function serveDns(records: Readonly<Record<string, readonly string[]>>): void {
  const socket = dgram.createSocket("udp4");
  socket.on("error", (error) => console.error("dns:", error));
  socket.on("message", (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString("latin1", at + 1, at + 1 + length));
      at += length + 1;
    }
    const known = records[labels.join(".").toLowerCase()];
    const isAddressQuery = query.readUInt16BE(at + 1) === 1;
    const addresses = isAddressQuery ? (known ?? []) : [];
    const NAME_ERROR = 0x83;
    const head = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x85, known ? 0x80 : NAME_ERROR, 0, 1, 0, addresses.length, 0, 0, 0, 0]);
    // A pointer to the question's name, type A, class IN, 5 seconds, 4 bytes.
    const answers = addresses.map((ip) => Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ...ip.split(".").map(Number)]));
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...answers]), from.port, from.address);
  });
  socket.bind(53);
}
