/** What one client may ask of an xDS server, and for how long it is waited for. */

/** Limits of a session. Exceeding one ends the stream with RESOURCE_EXHAUSTED or INVALID_ARGUMENT; the client backs off and comes again. */
export interface XdsServerLimits {
  /** Streams open at once. */
  readonly sessionsMax: number;
  readonly requestBytesMax: number;
  /** Names subscribed of one type. */
  readonly namesMax: number;
  readonly nameBytesMax: number;
  /** Types on one stream. */
  readonly typesMax: number;
  /** Requests: so many a second in the long run, and so many at once. */
  readonly requestsPerSecond: number;
  readonly requestsBurst: number;
  /** Requests that may wait while a client is being admitted. */
  readonly waitingRequestsMax: number;
  /** What is kept of a NACK's words. */
  readonly nackMessageMax: number;
  /** A stream without a first request ends after this. */
  readonly firstRequestTimeoutMs: number;
  /** A type that was not answered for so long keeps a push back no more, and may be sent its next response. */
  readonly answerTimeoutMs: number;
  /** How long a push waits for a client to ask for the children of what it was sent. */
  readonly childTimeoutMs: number;
  /** Clusters and endpoints are removed so long after the last reference to them was acknowledged as gone. */
  readonly drainMs: number;
}

/** Limits that a mesh of thousands of services stays under. */
export const DEFAULT_XDS_LIMITS: XdsServerLimits = {
  sessionsMax: 10_000,
  requestBytesMax: 8 * 1024 * 1024,
  namesMax: 50_000,
  nameBytesMax: 2048,
  typesMax: 32,
  requestsPerSecond: 200,
  requestsBurst: 2000,
  waitingRequestsMax: 64,
  nackMessageMax: 8192,
  firstRequestTimeoutMs: 15_000,
  answerTimeoutMs: 5000,
  childTimeoutMs: 1000,
  drainMs: 5000,
};
