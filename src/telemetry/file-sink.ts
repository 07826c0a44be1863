/** Access-log files: lines are kept for up to a second or 64 KiB and written together, off the event loop. What a slow disk cannot take is dropped and counted. */
import { close, open, write } from "node:fs";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { AccessLogFile, AccessLogSink } from "./access-log-sink.ts";
import type { Counter, MetricsRegistry } from "./metrics.ts";

/** Lines wait no longer than this. Source: Envoy access_log_flush_interval, default. */
export const FLUSH_INTERVAL_MS = 1000;

/** What is written at once. Source: Envoy, minimum flush size. */
export const FLUSH_BYTES: number = 64 * 1024;

/** What one file keeps while its disk is slow; lines beyond are dropped. */
export const KEPT_BYTES_MAX: number = 4 * 1024 * 1024;

/** Makes a sink of real files. `flush` writes what is kept and calls back when it is with the kernel: for the end of the process. */
export function createFileSink(deps: {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: MetricsRegistry;
}): AccessLogSink & { flush(done: () => void): void } {
  const files = new Map<string, FileLog>();
  const dropped = deps.metrics.envoyCounter("filesystem.write_dropped");
  return {
    open(path) {
      const known = files.get(path);
      if (known) return known;
      const file = new FileLog(path, deps.clock, deps.log, dropped);
      files.set(path, file);
      return file;
    },
    flush(done) {
      let left = files.size;
      if (left === 0) {
        done();
        return;
      }
      for (const file of files.values()) file.flush(() => --left === 0 && done());
    },
  };
}

class FileLog implements AccessLogFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #dropped: Counter;
  /** 1 and 2 are always open. */
  #fd: number | undefined;
  #isOpening = false;
  #hasWarned = false;
  #isWriting = false;
  /**
   * Lines go straight into bytes: kept as texts, thousands of pieces of them would live until the next write and be copied by each
   * collection of the young generation in between.
   */
  #filling: Buffer | undefined;
  #filledBytes = 0;
  /** Full ones that wait for the disk, oldest first. */
  #full: Buffer[] = [];
  #fullBytes = 0;
  /** One that was written, to be filled again. */
  #spare: Buffer | undefined;
  #timer: Timer | undefined;
  #onIdle: (() => void)[] = [];

  constructor(path: string, clock: Clock, log: Log, dropped: Counter) {
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    this.#dropped = dropped;
    if (path === "/dev/stdout") this.#fd = 1;
    else if (path === "/dev/stderr") this.#fd = 2;
    else this.#open();
  }

  write(text: string): void {
    if (this.#fullBytes + this.#filledBytes + text.length > KEPT_BYTES_MAX) {
      this.#dropped.add();
      return;
    }
    let filling = this.#filling ?? this.#takeBuffer();
    if (this.#filledBytes + text.length > filling.length) {
      this.#close();
      if (text.length > FLUSH_BYTES) {
        this.#full.push(Buffer.from(text, "latin1"));
        this.#fullBytes += text.length;
        this.#flush();
        return;
      }
      filling = this.#takeBuffer();
    }
    // Header values are latin1 texts, so that bytes come out as they came in.
    this.#filledBytes += filling.write(text, this.#filledBytes, "latin1");
    if (this.#full.length > 0) this.#flush();
    this.#timer ??= this.#clock.after(FLUSH_INTERVAL_MS, () => {
      this.#timer = undefined;
      this.#flush();
    });
  }

  reopen(): void {
    const fd = this.#fd;
    if (fd === undefined || fd <= 2) return;
    this.flush(() => {
      this.#fd = undefined;
      close(fd, (error) => this.#warn(error));
      this.#open();
    });
  }

  /** Writes what is kept, then calls back; also when it could not be written. */
  flush(done: () => void): void {
    if (!this.#isWriting && !this.#isOpening && this.#isEmpty) {
      done();
      return;
    }
    this.#onIdle.push(done);
    this.#flush();
    if (!this.#isWriting && !this.#isOpening) this.#idle();
  }

  get #isEmpty(): boolean {
    return this.#filledBytes === 0 && this.#full.length === 0;
  }

  #takeBuffer(): Buffer {
    const buffer = this.#spare ?? Buffer.allocUnsafeSlow(FLUSH_BYTES);
    this.#spare = undefined;
    this.#filling = buffer;
    this.#filledBytes = 0;
    return buffer;
  }

  /** What was filled so far is ready to be written. */
  #close(): void {
    const { length } = this.#full;
    if (this.#filling && this.#filledBytes > 0) {
      this.#full[length] = this.#filling.subarray(0, this.#filledBytes);
      this.#fullBytes += this.#filledBytes;
      this.#filling = undefined;
    }
    this.#filledBytes = 0;
  }

  #open(): void {
    this.#isOpening = true;
    open(this.#path, "a", 0o644, (error, fd) => {
      this.#isOpening = false;
      if (error) {
        this.#warn(error);
        this.#drop();
        this.#idle();
        return;
      }
      this.#fd = fd;
      this.#flush();
      if (!this.#isWriting) this.#idle();
    });
  }

  #flush(): void {
    if (this.#isWriting || this.#isOpening || this.#isEmpty) return;
    if (this.#fd === undefined) {
      this.#open();
      return;
    }
    if (this.#full.length === 0) this.#close();
    const next = this.#full.shift();
    if (!next) return;
    this.#fullBytes -= next.length;
    this.#isWriting = true;
    this.#writeOut(this.#fd, next, 0);
  }

  #writeOut(fd: number, bytes: Buffer, start: number): void {
    write(fd, bytes, start, bytes.length - start, null, (error, written) => {
      if (error?.code === "EAGAIN") {
        this.#clock.after(10, () => this.#writeOut(fd, bytes, start));
        return;
      }
      if (!error && start + written < bytes.length) {
        this.#writeOut(fd, bytes, start + written);
        return;
      }
      if (error) {
        this.#warn(error);
        this.#dropped.add(linesOf(bytes.subarray(start)));
      }
      this.#isWriting = false;
      if (bytes.buffer.byteLength === FLUSH_BYTES) this.#spare ??= Buffer.from(bytes.buffer);
      if (this.#full.length > 0 || this.#onIdle.length > 0) this.#flush();
      if (!this.#isWriting) this.#idle();
    });
  }

  #drop(): void {
    this.#close();
    for (const bytes of this.#full) this.#dropped.add(linesOf(bytes));
    this.#full = [];
    this.#fullBytes = 0;
  }

  #idle(): void {
    const waiting = this.#onIdle;
    this.#onIdle = [];
    for (const done of waiting) done();
  }

  #warn(error: Error | null | undefined): void {
    if (!error || this.#hasWarned) return;
    this.#hasWarned = true; // Once a file: a full disk would otherwise fill the diagnostics log too.
    this.#log.warn("an access log cannot be written: its lines are dropped", { path: this.#path, cause: messageOf(error) });
  }
}

function linesOf(bytes: Buffer): number {
  let lines = 0;
  for (const byte of bytes) if (byte === 10) lines++;
  return Math.max(1, lines);
}
