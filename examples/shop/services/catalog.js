// What the shop sells. Asks the inventory, over gRPC, how much of each there is.
import { readFileSync } from "node:fs";
import http from "node:http";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const port = Number(process.env.PORT ?? 8080);
const inventoryAddress = process.env.INVENTORY_ADDRESS ?? "inventory:9090";
const products = JSON.parse(readFileSync(new URL("../products.json", import.meta.url), "utf8"));
const definition = protoLoader.loadSync(new URL("../inventory.proto", import.meta.url).pathname);
const { Inventory } = grpc.loadPackageDefinition(definition).shop;
const inventory = new Inventory(inventoryAddress, grpc.credentials.createInsecure());

const server = http.createServer(async (req, res) => {
  if (req.url === "/healthz") return res.end("ok\n");
  if (req.url !== "/products") return res.writeHead(404).end();
  try {
    const stock = await getStock(products.map(({ sku }) => sku));
    const body = JSON.stringify(products.map((product) => ({ ...product, stock: stock[product.sku] ?? 0 })));
    res.writeHead(200, { "content-type": "application/json" }).end(body);
  } catch (error) {
    res.writeHead(503, { "content-type": "application/json" }).end(JSON.stringify({ error: error.message }));
  }
});
server.keepAliveTimeout = 60_000;
server.listen(port, () => console.log(`catalog listens on ${port}`));
process.on("SIGTERM", () => server.close(() => process.exit()));

function getStock(skus) {
  return new Promise((resolve, reject) => {
    inventory.getStock({ skus }, { deadline: Date.now() + 2000 }, (error, answer) => (error ? reject(error) : resolve(answer.stock)));
  });
}
