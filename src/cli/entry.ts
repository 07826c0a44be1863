/** Where bin/lateen enters. */

import { runCli } from "./main.ts";
import { reportError } from "./terminal.ts";

runCli(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.exitCode = reportError(error);
  },
);
