import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { dup, formatIpv6, isLibcAvailable, LibcError, libcProvider, markedSocket, originalDestination } from "./libc.ts";

const skip = process.platform === "linux" ? false : "libc calls are for Linux";

test("libc answers through node:ffi or koffi", { skip }, () => {
  assert.equal(isLibcAvailable(), true);
  assert.match(String(libcProvider()), /^(node:ffi|koffi)$/);
});

test("koffi serves where node:ffi is missing", { skip }, () => {
  const script = `
    const real = process.getBuiltinModule;
    process.getBuiltinModule = (name) => (name === "node:ffi" ? undefined : real(name));
    const libc = await import(${JSON.stringify(new URL("./libc.ts", import.meta.url).href)});
    const copy = libc.dup(1);
    libc.closeFd(copy);
    try { libc.closeFd(copy); } catch (error) { console.log(error.code); }
    libc.hardenProcess();
    console.log(libc.libcProvider(), libc.isLibcAvailable());`;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  assert.equal(out, "EBADF\nkoffi true\n");
});

test("a hardened process writes no core file", { skip }, () => {
  const script = `
    const libc = await import(${JSON.stringify(new URL("./libc.ts", import.meta.url).href)});
    libc.hardenProcess();
    const { readFileSync } = await import("node:fs");
    console.log(readFileSync("/proc/self/limits", "latin1").split("\\n").find((line) => line.startsWith("Max core")).split(/ {2,}/).slice(1, 3).join(" "));`;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  assert.equal(out.trim(), "0 0");
});

test("dup gives a descriptor of its own", { skip }, () => {
  const copy = dup(1);
  assert.ok(copy > 2);
  assert.equal(fs.fstatSync(copy).ino, fs.fstatSync(1).ino);
  fs.closeSync(copy);
  assert.throws(
    () => dup(copy),
    (error) => error instanceof LibcError && error.code === "EBADF",
  );
});

test("a connection that nobody redirected has no original destination, or its own", { skip }, async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const accepted = new Promise<net.Socket>((resolve) => server.once("connection", resolve));
  const client = net.connect(port, "127.0.0.1");
  const socket = await accepted;
  // The descriptor has no public name.
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const to = originalDestination(fd, 4);
  assert.ok(to === undefined || to.port === port);
  client.destroy();
  socket.destroy();
  server.close();
});

test("the mark is carried, or refused by name where the right is missing", { skip }, () => {
  try {
    fs.closeSync(markedSocket(4, 1337));
    fs.closeSync(markedSocket(6, 1337));
  } catch (error) {
    assert.ok(error instanceof LibcError && ["EPERM", "EAFNOSUPPORT"].includes(error.code), String(error));
  }
});

const addresses: readonly (readonly [string, string])[] = [
  ["00000000000000000000000000000000", "::"],
  ["00000000000000000000000000000001", "::1"],
  ["20010002000000000000000000000002", "2001:2::2"],
  ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
  ["20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
  ["fe800000000000000000000000000000", "fe80::"],
];
for (const [hex, want] of addresses) {
  test(`an IPv6 address is written in its shortest form: ${want}`, () => assert.equal(formatIpv6(Buffer.from(hex, "hex")), want));
}
