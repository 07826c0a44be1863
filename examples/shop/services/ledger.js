// The stock ledger: a line protocol over plain TCP. "TAKE sku n" is answered with "OK entries", "COUNT" with the number of entries.
import net from "node:net";
import readline from "node:readline";

const port = Number(process.env.PORT ?? 9000);
let entries = 0;

const server = net.createServer((socket) => {
  socket.on("error", () => {});
  readline.createInterface({ input: socket }).on("line", (line) => {
    const [verb, sku, count] = line.trim().split(" ");
    if (verb === "TAKE" && sku && Number(count) > 0) socket.write(`OK ${++entries}\n`);
    else if (verb === "COUNT") socket.write(`${entries}\n`);
    else socket.write("ERROR\n");
  });
});
server.listen(port, () => console.log(`ledger listens on ${port}`));
process.on("SIGTERM", () => process.exit());
