// How much there is of everything, over gRPC. Every change is written to the stock ledger, over plain TCP.
import net from "node:net";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const port = Number(process.env.PORT ?? 9090);
const [ledgerHost, ledgerPort] = (process.env.LEDGER_ADDRESS ?? "ledger:9000").split(":");
const START = 1_000_000;

const stock = new Map();
const stockOf = (sku) => stock.get(sku) ?? START;
let ledger;

const definition = protoLoader.loadSync(new URL("../inventory.proto", import.meta.url).pathname, { keepCase: true });
const { Inventory } = grpc.loadPackageDefinition(definition).shop;
const server = new grpc.Server();
server.addService(Inventory.service, {
  GetStock(call, answer) {
    answer(null, { stock: Object.fromEntries(call.request.skus.map((sku) => [sku, stockOf(sku)])) });
  },
  Reserve(call, answer) {
    const { sku, count } = call.request;
    if (stockOf(sku) < count) return answer(null, { reserved: false, left: stockOf(sku) });
    stock.set(sku, stockOf(sku) - count);
    write(`TAKE ${sku} ${count}\n`);
    answer(null, { reserved: true, left: stockOf(sku) });
  },
});
server.bindAsync(`0.0.0.0:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  console.log(`inventory listens on ${port}`);
});
process.on("SIGTERM", () => server.tryShutdown(() => process.exit()));

// One connection that stays open, as such protocols do; a new one is made when it is lost.
function write(line) {
  if (!ledger || ledger.destroyed) {
    ledger = net.connect(Number(ledgerPort), ledgerHost);
    ledger.on("error", (error) => console.log(`ledger: ${error.message}`)).resume();
  }
  ledger.write(line);
}
