// The shop's front: the page, and the API that it calls.
import { readFileSync } from "node:fs";
import http from "node:http";

const port = Number(process.env.PORT ?? 8080);
const catalogUrl = process.env.CATALOG_URL ?? "http://catalog:8080";
const paymentUrl = process.env.PAYMENT_URL ?? "http://payment:8080";
const page = readFileSync(new URL("../page.html", import.meta.url));
const agent = new http.Agent({ keepAlive: true });

const server = http.createServer(async (req, res) => {
  try {
    if (req.url === "/") return send(res, 200, "text/html; charset=utf-8", page);
    if (req.url === "/healthz") return send(res, 200, "text/plain", "ok\n");
    if (req.url === "/api/products") return await relay(res, `${catalogUrl}/products`);
    if (req.url === "/api/checkout" && req.method === "POST") return await relay(res, `${paymentUrl}/pay`, await readBody(req));
    send(res, 404, "text/plain", "not found\n");
  } catch (error) {
    send(res, 502, "application/json", JSON.stringify({ error: error.message }));
  }
});
server.keepAliveTimeout = 60_000;
server.listen(port, () => console.log(`storefront listens on ${port}`));
process.on("SIGTERM", () => server.close(() => process.exit()));

async function relay(res, url, body) {
  const answer = await call(url, body);
  send(res, answer.status, "application/json", answer.body);
}

function call(url, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(
      url,
      { method: body ? "POST" : "GET", agent, headers: body ? { "content-type": "application/json" } : {} },
      async (answer) => {
        resolve({ status: answer.statusCode, body: await readBody(answer).catch(reject) });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

async function readBody(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function send(res, status, type, body) {
  res.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  res.end(body);
}
