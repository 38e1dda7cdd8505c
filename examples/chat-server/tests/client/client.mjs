// What the suite drives the server with: the real Socket.IO client, tokens of every kind, and a bare WebSocket for
// what no client library would ever send.

import { createHmac, randomBytes } from "node:crypto";
import net from "node:net";
import { io } from "socket.io-client";

export const SERVER = process.env.CHAT_URL ?? "http://127.0.0.1:3000";
/** Servers that are one chat: sockets go to one after the other. */
const SERVERS = [SERVER, ...(process.env.CHAT_OTHER_URLS?.split(",") ?? [])];
let sockets = 0;
export const SECRET = process.env.CHAT_JWT_SECRET;
const ISSUER = process.env.CHAT_JWT_ISSUER ?? "chat";
const AUDIENCE = process.env.CHAT_JWT_AUDIENCE ?? "chat";

/** How long anything that must happen may take. */
export const DEADLINE = Number(process.env.CHAT_DEADLINE_MS ?? 10_000);

const RUN = randomBytes(4).toString("hex");
let users = 0;
const open = new Set(); // everything to close after a test

/** A user nobody has met before. */
export const fresh = (name) => `${name}-${RUN}-${++users}`;

export async function closeAll() {
  for (const thing of open) thing.close();
  open.clear();
}

// --- Tokens ---

/** A token from the server itself. */
export async function tokenFor(userId, name = userId) {
  const answer = await http("POST", "/dev/token", { body: { userId, name } });
  if (answer.status !== 200) throw new Error(`POST /dev/token: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body.token;
}

const seconds = (offset = 0) => Math.floor(Date.now() / 1_000) + offset;
const base64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A token of our own making; `undefined` takes a claim out. */
export function mint(claims = {}, { alg = "HS256", secret = SECRET } = {}) {
  const payload = { sub: fresh("minted"), iss: ISSUER, aud: AUDIENCE, exp: seconds(600), iat: seconds(), ...claims };
  const signed = `${base64({ alg, typ: "JWT" })}.${base64(payload)}`;
  return `${signed}.${alg === "none" ? "" : createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

export const inSeconds = seconds;

// --- HTTP ---

export async function http(method, path, { body, token } = {}) {
  const answer = await fetch(new URL(path, SERVER), {
    method,
    headers: { ...(body && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  let parsed = null;
  try {
    parsed = JSON.parse(text);
  } catch {
    // not every answer is JSON
  }
  return { status: answer.status, headers: answer.headers, body: parsed, text };
}

// --- A person with one device ---

/** Whether `data` has everything `wanted` has. */
const matches = (wanted) => (typeof wanted === "function" ? wanted : (data) => Object.entries(wanted).every(([key, value]) => data?.[key] === value));

export class Client {
  heard = []; // every event, in order: { name, data }
  #waiting = new Set();

  constructor(userId, token, { nsp = "", ...options } = {}) {
    this.userId = userId;
    this.token = token;
    this.socket = io(SERVERS[sockets++ % SERVERS.length] + nsp, { forceNew: true, reconnection: false, transports: ["websocket"], auth: { token }, ...options });
    this.socket.onAny((name, data) => this.#hear(name, data));
    for (const name of ["disconnect", "connect_error"]) this.socket.on(name, (detail) => this.#hear(`(${name})`, detail));
    open.add(this);
  }

  /** Connects; fails when the server refuses. */
  static async connect(userId = fresh("user"), { token, name, ...options } = {}) {
    const client = new Client(userId, token ?? (await tokenFor(userId, name)), options);
    client.name = name ?? userId;
    await client.connected();
    return client;
  }

  connected() {
    return deadline(`${this.userId} to connect`, new Promise((resolve, reject) => {
      if (this.socket.connected) resolve();
      this.socket.once("connect", resolve);
      this.socket.once("connect_error", reject);
    }));
  }

  /** Another device of the same person. */
  device(options) {
    return Client.connect(this.userId, { token: this.token, ...options });
  }

  close() {
    open.delete(this);
    this.socket.disconnect();
  }

  /** Asks and waits: `{ ok, data | error }`. */
  answer(event, ...payload) {
    return deadline(`an answer to ${event}`, new Promise((resolve) => this.socket.emit(event, ...payload, resolve)));
  }

  /** Asks for something that must succeed. */
  async ask(event, payload = {}) {
    const answer = await this.answer(event, payload);
    if (answer?.ok !== true) throw new Error(`${event} by ${this.userId}: ${JSON.stringify(answer)}`);
    return answer.data;
  }

  /** Asks for something that must be refused; says with what code. */
  async refused(event, payload = {}) {
    const answer = await this.answer(event, payload);
    if (answer?.ok !== false) throw new Error(`${event} was not refused: ${JSON.stringify(answer)}`);
    if (typeof answer.error?.message !== "string" || !answer.error.message) throw new Error(`${event}: a refusal without a message: ${JSON.stringify(answer)}`);
    return answer.error.code;
  }

  send(target, content, more = {}) {
    const where = typeof target === "string" ? { conversationId: target } : target;
    return this.ask("sendMessage", { ...where, content, temporaryId: fresh("t"), ...more });
  }

  /** All events of this name that match, so far. */
  all(name, wanted = {}) {
    return this.heard.filter((event) => event.name === name && matches(wanted)(event.data)).map(({ data }) => data);
  }

  /** Waits until that many have been heard. */
  hears(name, wanted = {}, times = 1) {
    const enough = () => this.all(name, wanted).length >= times;
    const arrival = new Promise((resolve) => {
      const check = () => {
        if (!enough()) return;
        this.#waiting.delete(check);
        resolve(this.all(name, wanted)[times - 1]);
      };
      this.#waiting.add(check);
      check();
    });
    const wish = typeof wanted === "function" ? wanted : JSON.stringify(wanted);
    return deadline(() => `${this.userId} to hear ${times} × ${name} ${wish}; heard ${JSON.stringify(this.heard.slice(-12))}`, arrival);
  }

  forget() {
    this.heard = [];
  }

  #hear(name, data) {
    this.heard.push({ name, data });
    for (const check of [...this.#waiting]) check();
  }
}

/** Fails with a name instead of hanging. */
export async function deadline(what, promise, ms = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${typeof what === "function" ? what() : what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * "Nothing arrives" needs no sleep: whatever was on its way has arrived, or has not, once a later message has.
 * Both ends must be allowed to talk to each other.
 */
export async function barrier(sender, ...receivers) {
  for (const receiver of receivers) {
    const { messageId } = await sender.send({ receiverId: receiver.userId }, "barrier");
    await receiver.hears("newMessage", { messageId });
  }
}

/** Runs `work(i)` for 0 … n - 1 with at most `width` at a time, started in order. */
export async function windowed(n, width, work) {
  const results = new Array(n);
  let next = 0;
  const lane = async () => {
    while (next < n) {
      const i = next++;
      results[i] = await work(i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, n) }, lane));
  return results;
}

// --- A bare WebSocket ---

/** Speaks just enough of RFC 6455 to send what it is told, byte for byte, and to stop reading. */
export class Bare {
  frames = []; // text frames received
  #buffer = Buffer.alloc(0);
  #waiting = [];
  closed = false;

  static async open(token) {
    const bare = new Bare();
    open.add(bare);
    const { hostname, port } = new URL(SERVER);
    bare.socket = net.connect({ host: hostname, port: Number(port) });
    bare.socket.on("error", () => {});
    bare.socket.on("close", () => {
      bare.closed = true;
      bare.#wake();
    });
    bare.socket.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Version: 13\r\n\r\n`);
    let head = true;
    bare.socket.on("data", (chunk) => {
      bare.#buffer = Buffer.concat([bare.#buffer, chunk]);
      if (head) {
        const end = bare.#buffer.indexOf("\r\n\r\n");
        if (end < 0) return;
        bare.#buffer = bare.#buffer.subarray(end + 4);
        head = false;
      }
      bare.#parse();
    });
    await bare.frame((text) => text.startsWith("0{"));
    bare.text(`40${JSON.stringify({ token })}`);
    await bare.frame((text) => text.startsWith("40{"));
    return bare;
  }

  /** Sends one masked frame with exactly these bytes. */
  text(payload) {
    const body = Buffer.from(payload);
    const mask = randomBytes(4);
    const size = body.length < 126 ? [0x80 | body.length] : body.length < 65_536 ? [0xfe, body.length >> 8, body.length & 255] : [0xff, 0, 0, 0, 0, ...[24, 16, 8, 0].map((bits) => (body.length >>> bits) & 255)];
    const masked = Buffer.from(body);
    for (let i = 0; i < masked.length; i++) masked[i] ^= mask[i & 3];
    this.socket.write(Buffer.concat([Buffer.from([0x81, ...size]), mask, masked]));
  }

  /** The first text frame, now or later, that fits; pings are answered meanwhile. */
  frame(fits) {
    return deadline("a frame", new Promise((resolve, reject) => {
      const look = () => {
        const found = this.frames.find(fits);
        if (found !== undefined) resolve(found);
        else if (this.closed) reject(new Error("closed before the frame came"));
        else return false;
        return true;
      };
      if (!look()) this.#waiting.push(look);
    }));
  }

  /** Waits for the other end to hang up. */
  async ended() {
    await this.frame(() => false).catch((error) => {
      if (!this.closed) throw error;
    });
  }

  /** From now on nothing is read: the receive window fills up and stays full. */
  sleep() {
    this.socket.pause();
  }

  close() {
    open.delete(this);
    this.socket.destroy();
  }

  #wake() {
    this.#waiting = this.#waiting.filter((look) => !look());
  }

  #parse() {
    for (;;) {
      const b = this.#buffer;
      if (b.length < 2) return;
      const short = b[1] & 127;
      const head = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (b.length < head) return;
      const size = short === 126 ? b.readUInt16BE(2) : short === 127 ? Number(b.readBigUInt64BE(2)) : short;
      if (b.length < head + size) return;
      const body = b.subarray(head, head + size);
      if ((b[0] & 15) === 8) return void this.socket.end(); // the other end says goodbye
      if ((b[0] & 15) === 1) {
        const text = body.toString();
        if (text === "2") this.text("3");
        else this.frames.push(text);
      }
      this.#buffer = b.subarray(head + size);
      this.#wake();
    }
  }
}
