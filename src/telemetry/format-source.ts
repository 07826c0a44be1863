/** What formats (access logs, header values) are made from: the stream's record and the messages as they are now. */
import type { Address } from "../model/connection.ts";
import type { StreamRecord } from "./record.ts";

/** Header fields, to be read. Names are lower case. */
export interface FieldReader {
  get(name: string): string | undefined;
}

/** A request's head, as filters left it. */
export interface RequestReader {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly scheme: string;
  readonly headers: FieldReader;
}

/** The stream that a text is about. Undefined: it did not come to that. */
export interface FormatSource {
  readonly record: StreamRecord;
  readonly request: RequestReader | undefined;
  readonly responseHeaders: FieldReader | undefined;
  readonly responseTrailers: FieldReader | undefined;
  /** The peer of the connection itself; the record's downstreamRemote may come from x-forwarded-for. */
  readonly directRemote: Address | undefined;
  /** What set_filter_state filters stored. */
  readonly filterState: ReadonlyMap<string, string> | undefined;
}
