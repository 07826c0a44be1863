/** Header fields for tests of rooms that know no HTTP: policies read any fields of this shape. */
export { HeaderList } from "../../src/net/http/headers.ts";
