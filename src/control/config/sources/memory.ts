/** Config from memory: for tests, and for what `lateen up` makes itself. */
import type { ConfigReader, FileVersion } from "../read.ts";
import type { ConfigSource, SourceState } from "./source.ts";

/** A source whose files are set by hand. */
export interface MemorySource extends ConfigSource {
  /** Puts several files at once, as one change; undefined removes one. */
  set(files: Readonly<Record<string, string | undefined>>): void;
}

/** Makes a source of texts by file name. */
export function createMemorySource(reader: ConfigReader, first: Readonly<Record<string, string>> = {}): MemorySource {
  const files = new Map<string, FileVersion>();
  let tell: ((state: SourceState) => void) | undefined;
  const put = (texts: Readonly<Record<string, string | undefined>>): void => {
    for (const [name, text] of Object.entries(texts)) {
      if (text === undefined) files.delete(name);
      else files.set(name, reader.read(name, text));
    }
  };
  const state = (): SourceState => ({ files: new Map(files), problems: [] });
  put(first);
  return {
    async open(onState) {
      tell = onState;
      return state();
    },
    set(texts) {
      put(texts);
      tell?.(state());
    },
    close() {
      tell = undefined;
    },
  };
}
