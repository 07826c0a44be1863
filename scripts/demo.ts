/**
 * `npm run demo`: starts `lateen up` on the shop and tells what happens. With --check it asserts each point of the story and ends; with
 * --proxy envoy a stock Envoy stands beside every workload.
 */
import { parseArgs } from "node:util";
import { ShopMesh } from "./demo/shop-mesh.ts";
import { Story } from "./demo/story.ts";
import { installCaptureTools, installEnvoy } from "./tools.ts";

const { values: options } = parseArgs({
  options: {
    check: { type: "boolean", default: false },
    proxy: { type: "string", default: "lateen" },
    verbose: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (options.help || (options.proxy !== "lateen" && options.proxy !== "envoy")) {
  console.log(
    "usage: npm run demo -- [--check] [--proxy lateen|envoy] [--verbose]\n\n  --check    assert each point of the story, then end with 0 or 1\n  --proxy    what stands beside every workload\n  --verbose  show what the workloads and proxies print",
  );
  process.exit(options.help ? 0 : 2);
}

const missing = installCaptureTools((text) => console.log(text));
if (missing.length > 0) console.log(`! ${missing.join(", ")} not found and not installable here: there will be no transparent capture`);
const envoy = options.proxy === "envoy" ? installEnvoy(new URL("..", import.meta.url).pathname, (text) => console.log(text)) : undefined;

const mesh = await ShopMesh.prepare({ proxy: options.proxy, envoy, verbose: options.verbose });
let isEnding = false;
const end = async (code: number): Promise<never> => {
  if (!isEnding) {
    isEnding = true;
    await mesh.stop();
  }
  process.exit(code);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void end(signal === "SIGINT" ? 0 : 143));

// Killed without a word, the script that started this one leaves it behind: then it ends as by a signal.
const parent = process.ppid;
setInterval(() => process.ppid !== parent && void end(143), 500).unref();

try {
  const story = new Story(mesh, { isCheck: options.check });
  await story.tell();
  if (options.check) {
    isEnding = true;
    await story.checkEnd();
    console.log(`\n${story.passed} passed, ${story.failed} failed`);
    process.exit(story.failed === 0 ? 0 : 1);
  }
  console.log(`\nThe shop stays open at ${mesh.url}. Ctrl-C ends it.`);
  console.log(`Try, in another terminal: edit ${mesh.relativeFolder}/payment.yaml; bin/lateen stat shop; bin/lateen status shop`);
  await mesh.ended;
  process.exit(isEnding ? 0 : 1);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  await end(1);
}
