// A few customers: they look at the catalog and sometimes buy.
import http from "node:http";

const url = process.env.STOREFRONT_URL ?? "http://storefront:8080";
const perSecond = Number(process.env.RATE ?? 10);
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const skus = ["lamp", "rope", "sail", "compass"];
let turn = 0;

setInterval(() => {
  turn += 1;
  if (turn % 5 === 0) ask("POST", "/api/checkout", JSON.stringify({ sku: skus[turn % skus.length], amount: 10 }));
  else ask("GET", "/api/products");
}, 1000 / perSecond);
process.on("SIGTERM", () => process.exit());

function ask(method, path, body) {
  const request = http.request(
    `${url}${path}`,
    { method, agent, headers: body ? { "content-type": "application/json" } : {} },
    (answer) => {
      if (answer.statusCode !== 200) console.log(`${method} ${path}: ${answer.statusCode}`);
      answer.resume();
    },
  );
  request.on("error", (error) => console.log(`${method} ${path}: ${error.message}`));
  request.end(body);
}
