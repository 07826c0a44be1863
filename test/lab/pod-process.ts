/** The lab's end of a pod's process: calls as JSON lines, one answer each. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { LabRequest, LabResult } from "./client-driver.ts";

/** What `get` asks for: a plain HTTP request out of the pod, captured like any other. */
export interface GetOptions {
  readonly ip?: string;
  readonly port: number;
  readonly path: string;
  readonly host?: string;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** One pod's echo app and client driver. */
export class PodProcess {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    if (!child.stdout || !child.stdin) throw new Error(`${name}: its process has no pipes`);
    createInterface({ input: child.stdout }).on("line", (line) => this.#settle(JSON.parse(line) as Answer));
    child.stdin.on("error", () => this.#fail()); // The exit says the same, and this listener keeps it from being thrown.
    child.on("exit", () => this.#fail());
  }

  /** Resolves once everything in the pod listens. */
  async ready(): Promise<void> {
    await this.#call("ready", {});
  }

  /** Sends the requests from here, `parallel` at a time. Results are in the requests' order. */
  async send(requests: readonly LabRequest[], parallel = 1): Promise<LabResult[]> {
    return (await this.#call("send", { requests, parallel })) as LabResult[];
  }

  /** Gets one page; status 0 stands for no answer. */
  async get(options: GetOptions): Promise<{ status: number; body: string }> {
    return (await this.#call("get", options)) as { status: number; body: string };
  }

  /** How often requests with these ids have reached the app here. */
  async arrivals(ids: readonly string[]): Promise<number> {
    return (await this.#call("arrivals", { ids })) as number;
  }

  #call(op: string, args: object): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify({ id, op, ...args })}\n`);
    });
  }

  #settle({ id, result, error }: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(`${this.#name}: ${error}`));
  }

  #fail(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(`${this.#name}: its process ended`));
    this.#waiting.clear();
  }
}
