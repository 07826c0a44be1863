/** What is wrong with a message, in the words that Envoy's logs and counters have for it. */

/** A message that is refused. `status` is what a server answers. */
export interface Http1Flaw {
  readonly status: 400 | 408 | 426 | 431 | 501;
  /** Source: Envoy, Http1ResponseCodeDetails and StreamInfo::ResponseCodeDetails. */
  readonly details: string;
  readonly message: string;
}

function flaw(status: Http1Flaw["status"], details: string, message: string): Http1Flaw {
  return { status, details, message };
}

/** All there are. */
export const Flaws = {
  requestLine: flaw(400, "http1.codec_error", "the request line is malformed"),
  statusLine: flaw(400, "http1.codec_error", "the status line is malformed"),
  method: flaw(400, "http1.codec_error", "the method is no token"),
  target: flaw(400, "http1.invalid_url", "the request target is malformed"),
  version: flaw(400, "http1.codec_error", "the version is neither HTTP/1.1 nor HTTP/1.0"),
  lowVersion: flaw(426, "low_version", "HTTP/1.0 is not taken"),
  bareLf: flaw(400, "http1.codec_error", "a line ends without CR"),
  fieldName: flaw(400, "http1.codec_error", "a field's name holds characters that are not allowed, or is followed by white space"),
  folded: flaw(400, "http1.codec_error", "a field's value goes on in the next line"),
  fieldValue: flaw(400, "http1.invalid_characters", "a field's value holds control characters"),
  tooLarge: flaw(431, "http1.headers_too_large", "the header fields are too large"),
  tooMany: flaw(431, "http1.too_many_headers", "too many header fields"),
  noHost: flaw(400, "missing_host_header", "no host"),
  twoHosts: flaw(400, "http1.codec_error", "two host fields"),
  host: flaw(400, "http1.codec_error", "host holds characters that are not allowed"),
  contentLength: flaw(400, "http1.codec_error", "content-length is no number, or there are two"),
  lengthAndChunked: flaw(400, "http1.content_length_and_chunked_not_allowed", "content-length and transfer-encoding together"),
  transferEncoding: flaw(501, "http1.invalid_transfer_encoding", "a transfer-encoding other than chunked"),
  twoTransferEncodings: flaw(400, "http1.invalid_transfer_encoding", "two transfer-encoding fields"),
  chunkedInHttp10: flaw(400, "http1.transfer_encoding_not_allowed", "transfer-encoding in HTTP/1.0"),
  connectBody: flaw(400, "http1.body_disallowed", "CONNECT with a body"),
  upgrade: flaw(400, "http1.codec_error", "upgrade is malformed"),
  chunkSize: flaw(400, "http1.codec_error", "a chunk's size is malformed"),
  chunkEnd: flaw(400, "http1.codec_error", "a chunk does not end where its size says"),
  chunkExtension: flaw(400, "http1.codec_error", "chunk extensions are malformed or too long"),
  trailersTooLarge: flaw(431, "http1.trailers_too_large", "the trailers are too large"),
  headerTimeout: flaw(408, "request_header_timeout", "the request's head took too long"),
  unaskedUpgrade: flaw(400, "http1.codec_error", "101 that nobody asked for"),
  tooManyInformational: flaw(400, "http1.codec_error", "too many informational answers"),
} as const;
