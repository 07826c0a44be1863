import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFlags } from "./flags.ts";

test("Envoy's usual command line is taken whole", () => {
  const parsed = parseFlags(
    "-c etc/envoy.json --service-node sidecar~1 --service-cluster a.b --drain-time-s 45 --drain-strategy immediate --local-address-ip-version v4 --disable-hot-restart --allow-unknown-static-fields -l warning --concurrency 1".split(
      " ",
    ),
  );
  assert.ok(parsed.kind === "run");
  const { warnings, ...flags } = parsed.flags;
  assert.deepEqual(warnings, []);
  assert.equal(flags.configPath, "etc/envoy.json");
  assert.equal(flags.serviceNode, "sidecar~1");
  assert.equal(flags.drainTimeMs, 45_000);
  assert.equal(flags.drainStrategy, "immediate");
  assert.equal(flags.allowUnknownStaticFields, true);
  assert.equal(flags.logLevel, "warning");
});

const rows: readonly { name: string; argv: string; warns?: RegExp; fails?: RegExp }[] = [
  { name: "--flag=value is taken", argv: "-c x --log-level=debug" },
  { name: "Envoy's short level is taken", argv: "-c x -l warn" },
  {
    name: "what is not used is warned of by name",
    argv: "-c x --component-log-level upstream:debug",
    warns: /--component-log-level is not used/,
  },
  { name: "base ids are warned of", argv: "-c x --base-id 7", warns: /--base-id is not used/ },
  { name: "more than one thread is warned of", argv: "-c x --concurrency 4", warns: /--concurrency 4: one thread/ },
  { name: "an unknown flag is refused", argv: "-c x --no-such-flag", fails: /unknown argument "--no-such-flag"[\s\S]*usage:/ },
  { name: "a word that is no flag is refused", argv: "-c x stray", fails: /unknown argument "stray"/ },
  { name: "a prototype's name is no flag", argv: "-c x --constructor", fails: /unknown argument/ },
  { name: "a missing value is refused", argv: "-c", fails: /--config-path needs a value/ },
  { name: "a value too many is refused", argv: "-c x --disable-hot-restart=1", fails: /takes no value/ },
  { name: "an unknown level is refused", argv: "-c x -l loud", fails: /--log-level: "loud" is none of/ },
  { name: "a number that is none is refused", argv: "-c x --drain-time-s soon", fails: /"soon" is no whole number/ },
  { name: "no bootstrap is refused", argv: "-l info", fails: /a bootstrap is needed/ },
  { name: "a second epoch is refused", argv: "-c x --restart-epoch 1", fails: /hot restart/ },
];
for (const { name, argv, warns, fails } of rows) {
  test(`flags: ${name}`, () => {
    const parsed = parseFlags(argv.split(" "));
    if (fails) {
      assert.ok(parsed.kind === "usage", "it must be refused");
      assert.match(parsed.message, fails);
      return;
    }
    assert.ok(parsed.kind === "run");
    if (warns) assert.match(parsed.flags.warnings.join(), warns);
    else assert.deepEqual(parsed.flags.warnings, []);
  });
}

test("help is printed, not run", () => {
  const parsed = parseFlags(["--help"]);
  assert.ok(parsed.kind === "help");
  assert.match(parsed.text, /--config-path FILE/);
});
