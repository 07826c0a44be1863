/** gRPC's view of an HTTP status, for answers that carry none of their own. Source: gRPC, http-grpc-status-mapping. */

/** The status code; UNKNOWN (2) for what the mapping does not name, 200 too. */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}
