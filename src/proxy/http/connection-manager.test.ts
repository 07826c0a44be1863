/** Connections of a connection manager: which codec, how long they live, how they drain; timeouts as lists. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { FAKE_CHANNEL, HttpRig, meshTls } from "../../../test/kit/http-rig.ts";
import type { Channel, ChannelHandler } from "../../net/channel.ts";
import { encodePeerMetadata } from "../../telemetry/peer-metadata.ts";
import { sniffProtocol } from "./protocol-sniffer.ts";
import { Timeout, TimeoutLists } from "./timeout-lists.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** [what, pieces, protocol, bytes that the codec gets]. */
const sniffs: readonly (readonly [string, readonly string[], string | undefined, string])[] = [
  ["HTTP/1", ["GET / HTTP/1.1\r\n"], "http1", "GET / HTTP/1.1\r\n"],
  ["HTTP/2", [`${PREFACE}more`], "http2", `${PREFACE}more`],
  ["HTTP/2, byte by byte", [...PREFACE], "http2", PREFACE],
  ["a method that begins like the preface", ["PRI", "VATE / HTTP/1.1"], "http1", "PRIVATE / HTTP/1.1"],
  ["PRI with another version", ["PRI * HTTP/1.1\r\n"], "http1", "PRI * HTTP/1.1\r\n"],
  ["half a preface", ["PRI * HTTP"], undefined, ""],
];
for (const [name, pieces, want, bytes] of sniffs) {
  test(`sniff: ${name}`, () => {
    let got = "";
    let protocol: string | undefined;
    const codec: ChannelHandler = {
      onData: (buffer, start, end) => (got += buffer.toString("latin1", start, end)),
      onEnd() {},
      onDrain() {},
      onClose() {},
    };
    const channel: Channel = { ...FAKE_CHANNEL };
    sniffProtocol(channel, {
      onProtocol: (found) => {
        protocol = found;
        channel.handler = codec;
      },
      onClose() {},
    });
    for (const piece of pieces) {
      const buffer = Buffer.from(`..${piece}..`, "latin1");
      channel.handler.onData(buffer, 2, 2 + piece.length);
      buffer.fill(0); // The next read writes over it.
    }
    assert.deepEqual([protocol, got], [want, bytes]);
  });
}

test("a connection without requests is drained after its idle time, not while it has one", async () => {
  const rig = new HttpRig({ config: { commonHttpProtocolOptions: { idleTimeout: { seconds: 10n } }, streamIdleTimeout: { seconds: 0n } } });
  await rig.clock.advance(9000);
  const stream = rig.request();
  await rig.clock.advance(11_000);
  assert.equal(rig.isDrained, false);
  rig.cluster().last.connect().answer(200);
  assert.equal(stream.isEnded, true);
  await rig.clock.advance(9999);
  assert.equal(rig.isDrained, false);
  await rig.clock.advance(1);
  assert.equal(rig.isDrained, true);
  assert.equal(rig.stat("http.test.downstream_cx_idle_timeout"), 1);
});

test("a connection is drained after its longest life, or its last request", async () => {
  const old = new HttpRig({ config: { commonHttpProtocolOptions: { maxConnectionDuration: { seconds: 5n } } } });
  await old.clock.advance(5000);
  assert.equal(old.isDrained, true);
  const used = new HttpRig({ config: { commonHttpProtocolOptions: { maxRequestsPerConnection: 2 } } });
  used.request();
  assert.equal(used.isDrained, false);
  used.request();
  assert.equal(used.isDrained, true);
});

test("a draining manager drains what it has; a gone connection is counted out", () => {
  const rig = new HttpRig();
  assert.equal(rig.manager.activeConnections, 1);
  rig.manager.drain();
  assert.equal(rig.isDrained, true);
  rig.closeConnection();
  assert.equal(rig.manager.activeConnections, 0);
  assert.equal(rig.metrics.envoyGauge("http.test.downstream_cx_active").value, 0);
});

test("what the codec refuses is logged and counted", () => {
  const rig = new HttpRig();
  rig.refuse({ status: 431, details: "http1.headers_too_large", message: "" });
  assert.equal(rig.stat("http.test.downstream_rq_4xx"), 1);
  assert.equal(rig.stat("http.test.downstream_cx_protocol_error"), 1);
  assert.match(rig.metrics.toPrometheus(), /istio_requests_total\{.*response_code="431".*response_flags="DPE"/);
});

test("a request that never ends is ended by its overall time", async () => {
  const rig = new HttpRig({ config: { requestTimeout: { seconds: 3n } } });
  const stream = rig.request({ method: "POST", body: "a", open: true });
  await rig.clock.advance(3000);
  assert.deepEqual([stream.status, stream.body], [408, "request timeout"]);
  assert.equal(rig.cluster().last.wasReset, "cancel");
});

test("inbound, a client of the mesh is known by what it tells, if it proved who it is", () => {
  const client = {
    workload: "web-v1",
    namespace: "shop",
    app: "web",
    version: "v1",
    cluster: "Kubernetes",
    canonicalService: "web",
    canonicalRevision: "v1",
  };
  const headers = { "x-envoy-peer-metadata": encodePeerMetadata(client), "x-envoy-peer-metadata-id": "x" };
  for (const [tls, want] of [
    [meshTls(), "web-v1"],
    [undefined, "unknown"],
  ] as const) {
    const rig = new HttpRig({ connection: { direction: "inbound" }, ...(tls ? { tls } : {}) });
    rig.request({ headers });
    assert.equal(rig.cluster().last.headers["x-envoy-peer-metadata"], undefined, "the app does not see it");
    rig.cluster().last.connect().answer(200);
    assert.match(rig.metrics.toPrometheus(), new RegExp(`reporter="destination",source_workload="${want}"`));
  }
});

test("timeouts of one length share a timer, end in order, and not when they were stopped", async () => {
  const clock = new FakeClock();
  const lists = new TimeoutLists(clock);
  const ended: string[] = [];
  const timeouts = ["a", "b", "c", "d"].map((name) => new Timeout(() => ended.push(`${name}@${clock.monotonicMs()}`)));
  const [a, b, c, d] = timeouts as [Timeout, Timeout, Timeout, Timeout];
  lists.start(a, 100, 0);
  lists.start(b, 100, 0);
  lists.start(d, 30, 0);
  await clock.advance(50);
  lists.start(c, 100, 50);
  lists.start(a, 100, 50);
  b.stop();
  b.stop();
  assert.deepEqual([a.isRunning, b.isRunning], [true, false]);
  await clock.advance(200);
  assert.deepEqual(ended, ["d@30", "c@150", "a@150"]);
  lists.start(b, 0, 250);
  assert.equal(b.isRunning, false, "0 is none");
  lists.start(b, 100, 250);
  await clock.advance(100);
  assert.equal(ended.at(-1), "b@350");
});
