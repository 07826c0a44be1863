/** Where config comes from: a source tells the versions of its files, whole, each time one changes. */

import type { Problem } from "../finding.ts";
import type { FileVersion } from "../read.ts";

/** All that a source has at one moment. */
export interface SourceState {
  /** By name, in no order. A file that cannot be read is here with its error. */
  readonly files: ReadonlyMap<string, FileVersion>;
  /** What keeps the source from looking: a directory that is missing. Its files stay as they were. */
  readonly problems: readonly Problem[];
}

/** A living source. `close` ends it; nothing is told after that. */
export interface ConfigSource {
  /** Begins to look, gives the first state, and tells later ones to `onState`. */
  open(onState: (state: SourceState) => void): Promise<SourceState>;
  close(): void;
}
