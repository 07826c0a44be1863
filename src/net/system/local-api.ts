/**
 * Requests between processes of one user on one machine: JSON lines over an abstract Unix socket (Linux), which has no file and is gone with
 * its process. Nothing secret goes over it: any user of the machine may ask.
 */
import net from "node:net";
import { codeOf, messageOf } from "../../base/errors.ts";

const LINE_BYTES_MAX = 1024 * 1024;
const CONNECTIONS_MAX = 32;

/** Answers requests under a name until closed. Rejects when the name is taken (code EADDRINUSE). */
export function serveLocal(name: string, answer: (request: unknown) => Promise<unknown>): Promise<{ close(): void }> {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    readLines(socket, (line) => {
      void respond(line, answer).then((text) => socket.write(`${text}\n`));
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(`\0${name}`, () => resolve({ close: () => server.close() }));
  });
}

/** Asks one thing of a name. Rejects with what the other side says, or (code ECONNREFUSED) when nobody is there. */
export function askLocal(name: string, request: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(`\0${name}`);
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the other side closed before it had answered")));
    readLines(socket, (line) => {
      const { result, error } = JSON.parse(line) as { result?: unknown; error?: string };
      if (error === undefined) resolve(result);
      else reject(new Error(error));
      socket.destroy();
    });
    socket.write(`${JSON.stringify(request)}\n`);
  });
}

/** Whether the error says that nobody answers to the name. */
export function isNobodyThere(error: unknown): boolean {
  return codeOf(error) === "ECONNREFUSED" || codeOf(error) === "ENOENT";
}

async function respond(line: string, answer: (request: unknown) => Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify({ result: (await answer(JSON.parse(line))) ?? null });
  } catch (error) {
    return JSON.stringify({ error: messageOf(error) });
  }
}

function readLines(socket: net.Socket, onLine: (line: string) => void): void {
  let rest = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    rest += text;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      onLine(rest.slice(0, end));
      rest = rest.slice(end + 1);
    }
    if (rest.length > LINE_BYTES_MAX) socket.destroy();
  });
}
