/** Our gRPC against grpc-js, both ways, over real connections. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { ListeningSocket } from "../../src/net/dial.ts";
import { createGrpcChannel } from "../../src/net/grpc/channel.ts";
import { createGrpcServer, type GrpcServer } from "../../src/net/grpc/server.ts";
import { type GrpcChannel, GrpcError, type GrpcService, GrpcStatus, type GrpcStreamHandler } from "../../src/net/grpc/types.ts";
import { createSystemNetwork } from "../../src/net/system/network.ts";

const PATHS = {
  echo: "/t.Test/Echo",
  fail: "/t.Test/Fail",
  hang: "/t.Test/Hang",
  talk: "/t.Test/Talk",
  watch: "/t.Test/Watch",
  flood: "/t.Test/Flood",
};
const FLOOD = { messages: 200, bytes: 50_000 };
const HARD_TEXT = "nö: 100 % \n no";

// ---- Our server, called by grpc-js.

let cancelled = 0;
const service: GrpcService = {
  unary: {
    [PATHS.echo]: async (call, request) => Buffer.concat([Buffer.from(`${call.metadata["x-ask"] ?? ""}:`), request]),
    [PATHS.fail]: async () => {
      throw new GrpcError(GrpcStatus.FAILED_PRECONDITION, HARD_TEXT);
    },
    [PATHS.hang]: () => new Promise(() => {}),
  },
  bidi: {
    [PATHS.talk]: (_call, stream) => ({
      onMessage: (message) => void stream.send(Buffer.concat([Buffer.from("re: "), message])),
      onEnd: () => stream.end(),
    }),
    // grpc-js half-closes in front of its RST_STREAM, so both calls can tell.
    [PATHS.watch]: (_call, stream) => ({
      onMessage: (message) => void stream.send(message),
      onEnd(error) {
        if (error) cancelled += 1;
      },
      onCancel: () => (cancelled += 1),
    }),
    [PATHS.flood]: (_call, stream): GrpcStreamHandler => {
      let left = FLOOD.messages;
      const message = Buffer.alloc(FLOOD.bytes, 7);
      const pump = (): void => {
        while (left > 0) {
          left -= 1;
          if (!stream.send(message)) return;
        }
        stream.end();
      };
      return { onMessage: pump, onEnd() {}, onDrain: pump };
    },
  },
};

const raw = (bytes: Buffer): Buffer => bytes;
const definition = (path: string, streams: boolean): grpc.MethodDefinition<Buffer, Buffer> => ({
  path,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

describe("our server, grpc-js's client", () => {
  let server: GrpcServer;
  let listening: ListeningSocket;
  let client: grpc.Client;

  before(async () => {
    const network = createSystemNetwork({ clock: systemClock });
    server = createGrpcServer({ log: silentLog, clock: systemClock, messageBytesMax: 4_000_000 }, [service]);
    listening = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => server.serve(incoming.accept()));
    client = new grpc.Client(`127.0.0.1:${listening.address.port}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
  });

  after(() => {
    client.close();
    server.close();
    listening.close();
  });

  const unary = (path: string, request: Buffer, options: grpc.CallOptions = {}, metadata = new grpc.Metadata()): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, raw, raw, request, metadata, options, (error, answer) =>
        error ? reject(error) : resolve(answer ?? Buffer.alloc(0)),
      );
    });

  test("unary, with metadata", async () => {
    const metadata = new grpc.Metadata();
    metadata.set("x-ask", "who");
    assert.equal((await unary(PATHS.echo, Buffer.from("me"), {}, metadata)).toString(), "who:me");
  });

  test("many at once on one connection", async () => {
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => unary(PATHS.echo, Buffer.from(`${i}`))));
    assert.deepEqual(
      answers.map((answer) => answer.toString()),
      Array.from({ length: 300 }, (_, i) => `:${i}`),
    );
  });

  test("a large message both ways", async () => {
    const large = Buffer.alloc(3_000_000, 9);
    assert.equal((await unary(PATHS.echo, large)).length, large.length + 1);
  });

  for (const [name, path, request, options, code, details] of [
    ["an error with text that headers cannot carry", PATHS.fail, "", {}, GrpcStatus.FAILED_PRECONDITION, HARD_TEXT],
    ["a method that does not exist", "/t.Test/None", "", {}, GrpcStatus.UNIMPLEMENTED, "no method /t.Test/None"],
    ["a message above the limit", PATHS.echo, "x".repeat(4_000_001), {}, GrpcStatus.RESOURCE_EXHAUSTED, /4000001 bytes/],
  ] as const) {
    test(name, async () => {
      await assert.rejects(unary(path, Buffer.from(request), options), (error: grpc.ServiceError) => {
        assert.equal(error.code, code);
        if (typeof details === "string") assert.equal(error.details, details);
        else assert.match(error.details, details);
        return true;
      });
    });
  }

  test("a deadline ends a call on both sides, but it counts while it is worked on", async () => {
    const active = server.activeCalls;
    await assert.rejects(unary(PATHS.hang, Buffer.alloc(0), { deadline: Date.now() + 100 }), { code: GrpcStatus.DEADLINE_EXCEEDED });
    assert.equal(server.activeCalls, active + 1);
  });

  test("compression is refused by name", async () => {
    const compressing = new grpc.Client(`127.0.0.1:${listening.address.port}`, grpc.credentials.createInsecure(), {
      "grpc.default_compression_algorithm": 2,
    });
    const asked = new Promise((resolve, reject) => {
      compressing.makeUnaryRequest(PATHS.echo, raw, raw, Buffer.from("x"), (error, answer) => (error ? reject(error) : resolve(answer)));
    });
    await assert.rejects(asked, { code: GrpcStatus.UNIMPLEMENTED });
    compressing.close();
  });

  test("a conversation, ended by the client", async () => {
    const call = client.makeBidiStreamRequest(PATHS.talk, raw, raw);
    const answers: string[] = [];
    const ended = new Promise<grpc.StatusObject>((resolve) => call.on("status", resolve));
    call.on("data", (message: Buffer) => {
      answers.push(message.toString());
      if (answers.length < 3) call.write(Buffer.from(`${answers.length}`));
      else call.end();
    });
    call.write(Buffer.from("0"));
    assert.equal((await ended).code, GrpcStatus.OK);
    assert.deepEqual(answers, ["re: 0", "re: 1", "re: 2"]);
  });

  test("a client that cancels is noticed", async () => {
    const was = cancelled;
    const call = client.makeBidiStreamRequest(PATHS.watch, raw, raw);
    const ended = new Promise<grpc.StatusObject>((resolve) => call.on("status", resolve));
    call.on("error", () => {});
    call.once("data", () => call.cancel());
    call.write(Buffer.from("0"));
    assert.equal((await ended).code, GrpcStatus.CANCELLED);
    await until(() => cancelled === was + 1);
  });

  test("a client that reads slowly gets everything in order", async () => {
    const call = client.makeBidiStreamRequest(PATHS.flood, raw, raw);
    let messages = 0;
    call.write(Buffer.from("go"));
    for await (const message of call) {
      assert.equal((message as Buffer).length, FLOOD.bytes);
      messages += 1;
      if (messages % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(messages, FLOOD.messages);
  });

  test("what is no gRPC gets an HTTP status", async () => {
    const channel = createGrpcChannel({
      network: createSystemNetwork({ clock: systemClock }),
      target: listening.address,
      authority: "test",
      clock: systemClock,
    });
    await assert.rejects(channel.unary("no-slash", Buffer.alloc(0), { timeoutMs: 2000 }), { name: "GrpcError", code: GrpcStatus.INTERNAL });
    channel.close();
  });
});

// ---- grpc-js's server, called by us.

describe("our client, grpc-js's server", () => {
  let server: grpc.Server;
  let channel: GrpcChannel;
  let port = 0;
  let sessions = 0;

  before(async () => {
    server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
    server.addService(
      {
        echo: { ...definition(PATHS.echo, false) },
        fail: definition(PATHS.fail, false),
        hang: definition(PATHS.hang, false),
        talk: definition(PATHS.talk, true),
      },
      {
        echo(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
          const ask = String(call.metadata.get("x-ask")[0] ?? "");
          done(null, Buffer.concat([Buffer.from(`${ask}:`), call.request]));
        },
        fail(_call: unknown, done: grpc.sendUnaryData<Buffer>) {
          done({ code: grpc.status.FAILED_PRECONDITION, details: HARD_TEXT });
        },
        hang(call: grpc.ServerUnaryCall<Buffer, Buffer>) {
          call.on("cancelled", () => (cancelled += 1));
        },
        talk(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
          sessions += 1;
          call.on("data", (message: Buffer) => call.write(Buffer.concat([Buffer.from("re: "), message])));
          call.on("end", () => call.end());
          call.on("error", () => {});
        },
      },
    );
    port = await bind(server, 0);
    channel = open(port);
  });

  after(() => {
    channel.close();
    server.forceShutdown();
  });

  const open = (to: number): GrpcChannel =>
    createGrpcChannel({
      network: createSystemNetwork({ clock: systemClock }),
      target: { host: "127.0.0.1", port: to },
      authority: "test.example",
      clock: systemClock,
    });

  test("unary, with metadata", async () => {
    const answer = await channel.unary(PATHS.echo, Buffer.from("me"), { metadata: { "x-ask": "who" }, timeoutMs: 2000 });
    assert.equal(Buffer.from(answer).toString(), "who:me");
  });

  test("many at once, and a large one", async () => {
    const calls = Array.from({ length: 300 }, (_, i) => channel.unary(PATHS.echo, Buffer.from(`${i}`), { timeoutMs: 5000 }));
    const large = channel.unary(PATHS.echo, Buffer.alloc(3_000_000, 1), { timeoutMs: 5000 });
    assert.deepEqual(
      (await Promise.all(calls)).map((answer) => Buffer.from(answer).toString()),
      Array.from({ length: 300 }, (_, i) => `:${i}`),
    );
    assert.equal((await large).length, 3_000_001);
  });

  test("errors keep code and text", async () => {
    await assert.rejects(channel.unary(PATHS.fail, Buffer.alloc(0), { timeoutMs: 2000 }), {
      code: GrpcStatus.FAILED_PRECONDITION,
      message: HARD_TEXT,
    });
    await assert.rejects(channel.unary("/t.Test/None", Buffer.alloc(0), { timeoutMs: 2000 }), { code: GrpcStatus.UNIMPLEMENTED });
  });

  test("metadata that would not arrive as it is is refused", async () => {
    await assert.rejects(channel.unary(PATHS.echo, Buffer.alloc(0), { metadata: { "x-ask": "a\r\nb" }, timeoutMs: 2000 }), {
      code: GrpcStatus.INTERNAL,
    });
  });

  test("a deadline cancels the call at the server too", async () => {
    const was = cancelled;
    await assert.rejects(channel.unary(PATHS.hang, Buffer.alloc(0), { timeoutMs: 100 }), { code: GrpcStatus.DEADLINE_EXCEEDED });
    await until(() => cancelled === was + 1);
  });

  test("a conversation, ended by us", async () => {
    const answers: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const stream = channel.openStream(
        PATHS.talk,
        {},
        {
          onMessage(message) {
            answers.push(Buffer.from(message).toString());
            if (answers.length < 3) stream.send(Buffer.from(`${answers.length}`));
            else stream.end();
          },
          onEnd: (error) => (error ? reject(error) : resolve()),
        },
      );
      stream.send(Buffer.from("0"));
    });
    assert.deepEqual(answers, ["re: 0", "re: 1", "re: 2"]);
  });

  test("a lost connection ends its calls as UNAVAILABLE, and the next call makes a new one", async () => {
    const short = new grpc.Server();
    short.addService(
      { talk: definition(PATHS.talk, true) },
      { talk: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => call.on("error", () => {}) },
    );
    const at = await bind(short, 0);
    const lost = open(at);
    const ended = new Promise<GrpcError | undefined>((resolve) => {
      lost.openStream(PATHS.talk, {}, { onMessage() {}, onEnd: resolve }).send(Buffer.from("0"));
    });
    setTimeout(() => short.forceShutdown(), 100);
    assert.equal((await ended)?.code, GrpcStatus.UNAVAILABLE);
    await assert.rejects(lost.unary(PATHS.echo, Buffer.alloc(0), { timeoutMs: 2000 }), { code: GrpcStatus.UNAVAILABLE });
    const again = new grpc.Server();
    again.addService(
      { echo: definition(PATHS.echo, false) },
      { echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => done(null, call.request) },
    );
    await bind(again, at);
    assert.equal(Buffer.from(await lost.unary(PATHS.echo, Buffer.from("back"), { timeoutMs: 2000 })).toString(), "back");
    lost.close();
    again.forceShutdown();
  });

  test("nobody there is UNAVAILABLE with the address", async () => {
    const nobody = open(1);
    await assert.rejects(nobody.unary(PATHS.echo, Buffer.alloc(0), { timeoutMs: 2000 }), {
      code: GrpcStatus.UNAVAILABLE,
      message: /127\.0\.0\.1:1 .*ECONNREFUSED/,
    });
    nobody.close();
  });

  test("all of this took one connection", () => assert.equal(sessions, 1));
});

function bind(server: grpc.Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
}

async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !isSo(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(isSo(), "waited for it in vain");
}
