/** An xDS client whose server is the test. */
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { XdsClient, XdsSubscriber, XdsSubscription } from "../../src/xds/client-types.ts";

/** A resource to send. */
export function xdsResource<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  name: string,
  version = "1",
): { name: string; version: string; bytes: Uint8Array } {
  return { name, version, bytes: toBinary(schema, message) };
}

/** See the file's head. */
export class FakeXdsClient implements XdsClient {
  readonly isConnected = true;
  readonly #types = new Map<string, { readonly subscriber: XdsSubscriber; readonly names: Set<string>; readonly wildcard: boolean }>();

  subscribe(typeUrl: string, { wildcard }: { readonly wildcard: boolean }, subscriber: XdsSubscriber): XdsSubscription {
    const names = new Set<string>();
    this.#types.set(typeUrl, { subscriber, names, wildcard });
    return {
      update({ add = [], remove = [] }) {
        for (const name of add) names.add(name);
        for (const name of remove) names.delete(name);
      },
      close: () => void this.#types.delete(typeUrl),
    };
  }

  start(): void {}
  close(): void {}

  /** Names asked for; undefined: nobody subscribed. */
  names(typeUrl: string): readonly string[] | undefined {
    const type = this.#types.get(typeUrl);
    return type && [...type.names].sort();
  }

  /** Sends a response; undefined is an ACK, a text a NACK. */
  send(
    typeUrl: string,
    resources: readonly { name: string; version: string; bytes: Uint8Array }[],
    more: { readonly removed?: readonly string[]; readonly isFullState?: boolean; readonly version?: string } = {},
  ): string | undefined {
    const type = this.#types.get(typeUrl);
    if (!type) throw new Error(`nobody subscribed to ${typeUrl}`);
    return type.subscriber.onUpdate({
      resources,
      removed: more.removed ?? [],
      isFullState: more.isFullState ?? false,
      version: more.version ?? "v1",
    });
  }
}
