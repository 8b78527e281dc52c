// A peer of bench/chat.py: Socket.IO with its Redis adapter. One room, nothing stored, WebSocket only, uncompressed.
// Run with REDIS_SOCKET (a path) and PORT: node bench/sites/socketio.mjs

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ socket: { path: process.env.REDIS_SOCKET } });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const server = createServer();
const io = new Server(server, {
  adapter: createAdapter(publisher, subscriber),
  perMessageDeflate: false,
  serveClient: false,
  transports: ["websocket"],
});

io.on("connection", (socket) => {
  socket.join("room");
  socket.on("message", (text) => io.to("room").emit("message", text));
});

server.listen(Number(process.env.PORT), "127.0.0.1");
