// Takes the money. Two versions run side by side; the answer tells which one it was.
import http from "node:http";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const port = Number(process.env.PORT ?? 8080);
const version = process.env.VERSION ?? "v1";
const ordersUrl = process.env.ORDERS_URL ?? "http://orders:8080";
const definition = protoLoader.loadSync(new URL("../inventory.proto", import.meta.url).pathname, { keepCase: true });
const { Inventory } = grpc.loadPackageDefinition(definition).shop;
const inventory = new Inventory(process.env.INVENTORY_ADDRESS ?? "inventory:9090", grpc.credentials.createInsecure());
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
let paid = 0;

const server = http.createServer(async (req, res) => {
  if (req.url === "/healthz") return res.end("ok\n");
  if (req.url !== "/pay" || req.method !== "POST") return res.writeHead(404).end();
  const parts = [];
  for await (const part of req) parts.push(part);
  let order;
  try {
    order = JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return res.writeHead(400, { "content-type": "application/json" }).end('{"error":"the order is no JSON"}');
  }
  paid += 1;
  const receipt = { receipt: `${version}-${process.pid}-${paid}`, version, sku: order.sku, amount: order.amount };
  res.writeHead(200, { "content-type": "application/json", "x-payment-version": version }).end(JSON.stringify(receipt));
  if (order.dryRun) return;
  inventory.reserve(
    { sku: order.sku, count: 1 },
    { deadline: Date.now() + 2000 },
    (error) => error && console.log(`reserve: ${error.message}`),
  );
  announce(receipt);
});
server.keepAliveTimeout = 60_000;
server.listen(port, () => console.log(`payment ${version} listens on ${port}`));
process.on("SIGTERM", () => server.close(() => process.exit()));

function announce(receipt) {
  const request = http.request(
    `${ordersUrl}/orders`,
    { method: "POST", agent, headers: { "content-type": "application/json" } },
    (answer) => answer.resume(),
  );
  request.on("error", (error) => console.log(`orders: ${error.message}`));
  request.end(JSON.stringify(receipt));
}
