/** Where bin/lateen enters. */
import { reportError } from "./terminal.ts";
import { runCli } from "./main.ts";

runCli(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.exitCode = reportError(error);
  },
);
