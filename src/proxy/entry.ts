/** Where the proxy's process begins: at once, or when a V8 start-up snapshot that was made of it is started. */
import { startupSnapshot } from "node:v8";
import { runProxy } from "./main.ts";

if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(main);
else main();

function main(): void {
  // "proxy" is there when the CLI's own arguments were handed on.
  const [, , ...argv] = process.argv;
  const done = runProxy(argv[0] === "proxy" ? argv.slice(1) : argv);
  done.then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`lateen proxy: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(70);
    },
  );
}
