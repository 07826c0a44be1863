import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import type { XdsSession } from "../../xds/server-types.ts";
import { PushQueue } from "./queue.ts";

/** A session that notes its pushes and answers when told. */
function fakeSession(log: string[], name: string) {
  const answers: (() => void)[] = [];
  const session = {
    push(label: string, types?: ReadonlySet<string>) {
      log.push(`${name} ${label} ${types ? [...types].join("+") : "all"}`);
      return new Promise<void>((resolve) => answers.push(resolve));
    },
  } as unknown as XdsSession;
  return { session, answer: () => answers.shift()?.() };
}

function setUp(concurrentMax = 10) {
  const clock = new FakeClock();
  const log: string[] = [];
  let version = 1;
  const queue = new PushQueue({ clock, label: () => `v${version}`, limits: { concurrentMax, turnMs: 1000 } });
  const done: string[] = [];
  return {
    clock,
    log,
    queue,
    done,
    add: (session: XdsSession, what: string, types?: ReadonlySet<string>) =>
      queue.enqueue(session, { types, onDone: () => done.push(what) }),
    next: () => {
      version += 1;
    },
  };
}

test("a push has the label of the newest state at its start", async () => {
  const { queue, log, add, next, done } = setUp();
  const { session, answer } = fakeSession(log, "a");
  add(session, "one");
  next();
  await settle();
  assert.deepEqual(log, ["a v2 all"]);
  answer();
  await settle();
  assert.deepEqual(done, ["one"]);
  assert.equal(queue.length, 0);
});

test("what waits for one proxy is merged: types are joined, all of them beat some", async () => {
  const { log, add, done } = setUp(1);
  const blocker = fakeSession(log, "x");
  const a = fakeSession(log, "a");
  const b = fakeSession(log, "b");
  add(blocker.session, "x");
  await settle();
  add(a.session, "a1", new Set(["E"]));
  add(b.session, "b1", new Set(["E"]));
  add(a.session, "a2", new Set(["R"]));
  add(b.session, "b2");
  blocker.answer();
  await settle();
  a.answer();
  await settle();
  b.answer();
  await settle();
  assert.deepEqual(log, ["x v1 all", "a v1 E+R", "b v1 all"]);
  assert.deepEqual(done, ["x", "a1", "a2", "b1", "b2"]);
});

test("no more than so many are worked on at once; a slow proxy gives up its turn and is finished later", async () => {
  const { clock, log, add, done } = setUp(2);
  const proxies = ["a", "b", "c", "d"].map((name) => fakeSession(log, name));
  for (const [i, { session }] of proxies.entries()) add(session, `${i}`);
  await settle();
  assert.deepEqual(log, ["a v1 all", "b v1 all"]);
  await clock.advance(1000);
  assert.equal(log.length, 4);
  assert.deepEqual(done, []);
  for (const { answer } of proxies) answer();
  await settle();
  assert.deepEqual(done, ["0", "1", "2", "3"]);
});

test("a closed queue forgets what waits, and says that it is done", async () => {
  const { queue, log, add, done } = setUp(1);
  const a = fakeSession(log, "a");
  const b = fakeSession(log, "b");
  add(a.session, "a");
  await settle();
  add(b.session, "b");
  queue.close();
  add(b.session, "late");
  await settle();
  assert.deepEqual(log, ["a v1 all"]);
  assert.deepEqual(done, ["b", "late"]);
});
