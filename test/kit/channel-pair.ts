/** Two channels that are the ends of one connection in memory, for tests of codecs. */
import { type Channel, MESH_WATERMARKS, type Watermarks } from "../../src/net/channel.ts";
import { MemoryChannel } from "../../src/net/memory/channel.ts";
import { MemoryEnd } from "../../src/net/memory/pair.ts";
import { Turns } from "../../src/net/memory/turns.ts";

/** A client's and a server's end. Both need a handler before the turn is over. */
export function channelPair(watermarks: Watermarks = MESH_WATERMARKS): { readonly client: Channel; readonly server: Channel } {
  const client = { host: "10.0.0.1", port: 40_000 };
  const server = { host: "10.0.0.2", port: 80 };
  const [left, right] = MemoryEnd.pair(new Turns());
  return {
    client: new MemoryChannel(left, { local: client, remote: server, watermarks }),
    server: new MemoryChannel(right, { local: server, remote: client, watermarks }),
  };
}
