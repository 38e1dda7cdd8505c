// A plain Socket.IO server, as a team would write its first chat: what the load harness measures chat-server against.
//
// It does less: no stored message, no rights, no limits, no presence, no unread counts, no second process. What it sends
// has the same fields as chat-server's. PEER_KEEP=1 keeps the messages of each room in an array; PEER_GC=1 collects
// garbage every two seconds, which is to its advantage where memory is measured.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const secret = process.env.CHAT_JWT_SECRET;
if (!secret) throw new Error("CHAT_JWT_SECRET is missing");
const keeps = process.env.PEER_KEEP === "1";
if (process.env.PEER_GC === "1") setInterval(globalThis.gc, 2_000).unref();

const http = createServer();
// Defaults: no compression, a ping every 25 s, 20 s to answer it.
const io = new Server(http, { serveClient: false, maxHttpBufferSize: 256 * 1024 });

io.use((socket, next) => {
  try {
    const options = { algorithms: ["HS256"], issuer: "chat", audience: "chat", clockTolerance: 5 };
    socket.data.user = jwt.verify(socket.handshake.auth.token, secret, options).sub;
    next();
  } catch {
    next(new Error("chat.auth.invalid"));
  }
});

/** The rooms: how many messages each has seen, and the messages where they are kept. */
const rooms = new Map();

io.on("connection", (socket) => {
  const { user } = socket.data;
  socket.join(`user:${user}`);

  socket.on("createGroup", ({ members }, ack) => {
    const conversationId = randomUUID();
    rooms.set(conversationId, { seq: 0, messages: [] });
    io.in([user, ...members].map((member) => `user:${member}`)).socketsJoin(`room:${conversationId}`);
    ack({ ok: true, data: { conversationId } });
  });

  socket.on("sendMessage", ({ conversationId, content, temporaryId }, ack) => {
    const room = rooms.get(conversationId);
    if (!room) return ack({ ok: false, error: { code: "chat.forbidden", message: "You may not do this." } });
    const messageId = randomUUID();
    const seq = ++room.seq;
    const timestamp = new Date().toISOString();
    const message = {
      messageId, conversationId, seq, senderId: user, content, type: "TEXT", status: "SENT", timestamp,
      revision: 0, reactions: [],
    };
    if (keeps) room.messages.push(message);
    io.to(`room:${conversationId}`).emit("newMessage", message);
    ack({ ok: true, data: { messageId, conversationId, seq, temporaryId, timestamp } });
  });
});

process.on("SIGTERM", () => process.exit(0));
http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
