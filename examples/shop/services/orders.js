// Live orders: whoever is connected over WebSocket hears of each order as it is paid.
import http from "node:http";
import { WebSocketServer } from "ws";

const port = Number(process.env.PORT ?? 8080);
const server = http.createServer(async (req, res) => {
  if (req.url === "/healthz") return res.end("ok\n");
  if (req.url !== "/orders" || req.method !== "POST") return res.writeHead(404).end();
  const parts = [];
  for await (const part of req) parts.push(part);
  const order = Buffer.concat(parts).toString();
  for (const listener of listeners.clients) if (listener.readyState === 1) listener.send(order);
  res.writeHead(204).end();
});
const listeners = new WebSocketServer({ server, path: "/live" });
listeners.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.send(JSON.stringify({ hello: "live orders", listeners: listeners.clients.size }));
});
server.keepAliveTimeout = 60_000;
server.listen(port, () => console.log(`orders listens on ${port}`));
process.on("SIGTERM", () => process.exit());
