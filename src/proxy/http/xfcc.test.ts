/** x-forwarded-client-cert, as gateways and sidecars write it. Source: Envoy, x-forwarded-client-cert. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { meshTls } from "../../../test/kit/http-rig.ts";
import { HttpConnectionManager_ForwardClientCertDetails as Details } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { TlsInfo } from "../../model/connection.ts";
import { HeaderList } from "../../net/http/headers.ts";
import { forwardXfcc, xfccElement } from "./xfcc.ts";

const ISTIO = { subject: true, uri: true, dns: true, cert: false };
const HASH = "ab".repeat(32);
const OURS = `By=spiffe://cluster.local/ns/default/sa/server;Hash=${HASH};Subject="";URI=spiffe://cluster.local/ns/default/sa/client`;
const withPeer = (change: object): TlsInfo => {
  const tls = meshTls();
  return { ...tls, peer: tls.peer && { ...tls.peer, ...change } };
};

test("our element has Istio's form", () => assert.equal(xfccElement(meshTls(), ISTIO), OURS));
test("all members, in Envoy's order", () => {
  const element = xfccElement(withPeer({ der: new Uint8Array([1, 2]), subject: 'CN="x",O=y', dnsSans: ["a.example", "b.example"] }), {
    ...ISTIO,
    cert: true,
  });
  assert.match(
    element ?? "",
    /^By=[^;]+;Hash=[^;]+;Cert="-----BEGIN%20CERTIFICATE-----%0AAQI%3D%0A-----END%20CERTIFICATE-----%0A";Subject="CN=\\"x\\",O=y";URI=[^;]+;DNS=a.example;DNS=b.example$/,
  );
});
test("a certificate's name cannot add members", () => {
  assert.match(
    xfccElement(withPeer({ uriSans: ["spiffe://x;URI=spiffe://admin"] }), ISTIO) ?? "",
    /;URI="spiffe:\/\/x;URI=spiffe:\/\/admin"$/,
  );
});
test("a certificate without URI has an empty one, as in Envoy", () =>
  assert.match(xfccElement(withPeer({ uriSans: [] }), ISTIO) ?? "", /;URI=$/));
test("no certificate, no element", () => {
  assert.equal(xfccElement(undefined, ISTIO), undefined);
  assert.equal(xfccElement({ ...meshTls(), peer: undefined }, ISTIO), undefined);
});

const SENT = "By=x;Hash=y;URI=spiffe://forged";
/** [how, does the client have a certificate, what is forwarded]. */
const rows: readonly (readonly [keyof typeof Details, boolean, string | undefined])[] = [
  ["SANITIZE", true, undefined],
  ["SANITIZE", false, undefined],
  ["FORWARD_ONLY", true, SENT],
  ["FORWARD_ONLY", false, undefined],
  ["APPEND_FORWARD", true, `${SENT},${OURS}`],
  ["APPEND_FORWARD", false, undefined],
  ["SANITIZE_SET", true, OURS],
  ["SANITIZE_SET", false, undefined],
  ["ALWAYS_FORWARD_ONLY", false, SENT],
];
for (const [how, hasCertificate, want] of rows) {
  test(`${how} from a client ${hasCertificate ? "with" : "without"} certificate`, () => {
    const headers = HeaderList.of({ "x-forwarded-client-cert": SENT });
    forwardXfcc(headers, Details[how], hasCertificate ? OURS : undefined);
    assert.equal(headers.get("x-forwarded-client-cert"), want);
  });
}
