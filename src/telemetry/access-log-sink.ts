/** Where access-log lines go. Lines are buffered and written together; a sink that is slow drops lines and counts them. */

/** Opens files for access logs; the same path gives the same file. */
export interface AccessLogSink {
  /** `path` may be /dev/stdout or /dev/stderr. */
  open(path: string): AccessLogFile;
}

/** One open log. */
export interface AccessLogFile {
  /** Appends text that ends in a newline. */
  write(text: string): void;
  /** Closes and opens again under its name, for log rotation. */
  reopen(): void;
}
