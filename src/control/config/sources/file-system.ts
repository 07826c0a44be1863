/** The part of a file system that the file source uses, so that its rules are tested without disks or waiting. */
import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { codeOf } from "../../../base/errors.ts";

/** What is at a path. */
export interface FileStatus {
  readonly kind: "file" | "directory" | "other";
  /** Which file it is: another one after a rename over it. */
  readonly id: string;
  /** Differs whenever the content may differ. */
  readonly stamp: string;
  readonly bytes: number;
}

/** Reading and watching. Failures are thrown as Node's errors. */
export interface ConfigFileSystem {
  /** Follows links. Undefined when there is nothing. */
  status(path: string): Promise<FileStatus | undefined>;
  /** Names in a directory. */
  list(directory: string): Promise<readonly string[]>;
  read(file: string): Promise<Uint8Array>;
  /** Calls `onEvent` when something in the directory may have changed; `onEnd` once when it can no longer tell. */
  watch(directory: string, onEvent: () => void, onEnd: () => void): { close(): void };
}

/** The machine's file system. */
export const nodeFileSystem: ConfigFileSystem = {
  async status(path) {
    try {
      const found = await stat(path, { bigint: true });
      const id = `${found.dev}:${found.ino}`;
      return {
        kind: found.isFile() ? "file" : found.isDirectory() ? "directory" : "other",
        id,
        stamp: `${id}:${found.size}:${found.mtimeNs}:${found.ctimeNs}`,
        bytes: Number(found.size),
      };
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      throw error;
    }
  },
  list: (directory) => readdir(directory),
  read: (file) => readFile(file),
  watch(directory, onEvent, onEnd) {
    let watcher: FSWatcher | undefined;
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      watcher?.close();
      onEnd();
    };
    try {
      watcher = watch(directory, { persistent: false }, onEvent);
      watcher.on("error", end);
    } catch {
      // No watches left, or the directory has just gone: polling finds changes, and tries again to watch.
      queueMicrotask(end);
    }
    return {
      close() {
        ended = true;
        watcher?.close();
      },
    };
  },
};
