/** The network works from a V8 start-up snapshot: what it needs of Node is found at first use. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { createTestAuthority } from "../kit/test-authority.ts";

const src = fileURLToPath(new URL("../../src/", import.meta.url));

/** Dials itself through TLS and says who it met. The certificates stand in the working directory. */
const PROGRAM = `
import fs from "node:fs";
import v8 from "node:v8";
import { systemClock } from "${src}base/clock.ts";
import { isLibcAvailable } from "${src}net/system/libc.ts";
import { createSystemNetwork } from "${src}net/system/network.ts";
import { createClientTls, createServerTls } from "${src}net/tls/contexts.ts";

const quiet = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
async function main() {
  const network = createSystemNetwork({ clock: systemClock });
  const keyPair = { chainPem: fs.readFileSync("chain.pem", "utf8"), keyPem: fs.readFileSync("key.pem") };
  const options = { keyPair, trustPem: fs.readFileSync("trust.pem", "utf8"), alpn: ["istio"] };
  const context = createServerTls({ ...options, requireClientCertificate: true });
  const { addresses } = await network.resolver.resolve("localhost", { family: 4 });
  const listener = await network.acceptor.listen({ at: { host: addresses[0], port: 0 }, originalDestination: isLibcAvailable() }, (incoming) => {
    incoming.acceptTls({ context, timeoutMs: 5000 }, { onConnect: (channel) => { channel.handler = quiet; channel.writeLatin1("hello"); }, onFail: fail });
  });
  network.dialer.dial({ to: listener.address, timeoutMs: 5000, tls: { context: createClientTls(options), serverName: "a", alpn: ["istio"] } }, {
    onConnect(channel) {
      channel.handler = { ...quiet, onData(buffer, start, end) { console.log(buffer.toString("latin1", start, end), channel.tls.peer.uriSans[0]); process.exit(); } };
    },
    onFail: fail,
  });
}
function fail(reason) { console.log(reason); process.exit(1); }
if (v8.startupSnapshot.isBuildingSnapshot()) v8.startupSnapshot.setDeserializeMainFunction(main);
else main();
`;

test("libc, sockets, names and TLS work from a start-up snapshot", async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "lateen-snapshot-"));
  try {
    const authority = await createTestAuthority("mesh");
    const { chainPem, keyPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] });
    for (const [name, content] of [
      ["chain", chainPem],
      ["key", keyPem],
      ["trust", authority.trustPem],
    ] as const)
      fs.writeFileSync(path.join(directory, `${name}.pem`), content);
    await build({
      stdin: { contents: PROGRAM, resolveDir: directory, loader: "js" },
      bundle: true,
      platform: "node",
      format: "cjs",
      external: ["koffi"],
      logLevel: "error",
      logOverride: { "empty-import-meta": "silent" },
      outfile: path.join(directory, "out.cjs"),
    });
    const node = (...args: readonly string[]): string =>
      execFileSync(process.execPath, ["--no-warnings", ...args], { cwd: directory, encoding: "utf8", timeout: 30_000 });
    assert.equal(node("out.cjs"), "hello spiffe://cluster.local/ns/a/sa/b\n");
    node("--snapshot-blob", "out.blob", "--build-snapshot", "out.cjs");
    assert.equal(node("--snapshot-blob", "out.blob"), "hello spiffe://cluster.local/ns/a/sa/b\n");
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
