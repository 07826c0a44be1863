/** Numbers of HTTP/2's frames. Source: RFC 9113, sections 6, 7 and 11; RFC 8441. */

/** Frame types. */
export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Frame flags; ACK has the place of END_STREAM. */
export const Flag = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** Error codes of RST_STREAM and GOAWAY. */
export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;

/** A number of ErrorCode that this codec sends. */
export type Http2ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

const ERROR_NAMES: readonly string[] = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
];

/** The name of an error code as the RFC writes it. */
export function errorName(code: number): string {
  return ERROR_NAMES[code] ?? `error ${code}`;
}

/** Settings. */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const;

/** What a client sends first. */
export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** Length, type, flags, stream. */
export const FRAME_HEADER_BYTES = 9;
/** The largest payload that this codec takes and, unless the peer allows more, sends. */
export const FRAME_BYTES_MAX = 16_384;
/** Windows before any SETTINGS or WINDOW_UPDATE. */
export const INITIAL_WINDOW_BYTES = 65_535;
/** No window may grow beyond this. */
export const WINDOW_BYTES_MAX = 0x7fff_ffff;
/** The last stream that a connection can have. */
export const STREAM_ID_MAX = 0x7fff_ffff;
