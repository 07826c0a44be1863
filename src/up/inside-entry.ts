/** First process of the mesh's outer namespace: reads what to run from its input, and then requests, until the input ends. */
import { createInterface } from "node:readline";
import { messageOf, UserError } from "../base/errors.ts";
import { InsideMesh } from "./inside.ts";
import type { HostRequest, InsideEvent, InsideOptions } from "./messages.ts";
import { NamespaceGround } from "./namespace-ground.ts";

let mesh: InsideMesh | undefined;

function say(event: InsideEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function die(error: unknown): void {
  say({
    event: "fatal",
    message: error instanceof UserError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error),
    hint: error instanceof UserError ? error.hint : undefined,
  });
  // The host's half has to read the line before the pipe goes.
  setTimeout(() => process.exit(1), 100);
}

async function handle(line: string): Promise<void> {
  const message = JSON.parse(line) as InsideOptions | HostRequest;
  if ("description" in message) {
    mesh = await InsideMesh.start(message, new NamespaceGround(message), say);
    return;
  }
  try {
    const result = await mesh?.answer(message);
    say({ event: "reply", id: message.id, result });
    if (message.op === "stop") process.exit(0);
  } catch (error) {
    say({ event: "reply", id: message.id, error: messageOf(error) });
  }
}

process.stdout.on("error", () => process.exit(1)); // The host's half is gone.
process.on("uncaughtException", die);
process.on("unhandledRejection", die);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {}); // The host's half decides.
createInterface({ input: process.stdin })
  .on("line", (line) => void handle(line).catch(die))
  // The host's half has ended, however it did: as the first process of its namespace, this one takes all others with it.
  .on("close", () => process.exit(0));
