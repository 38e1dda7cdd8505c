// A small Socket.IO client: protocol v5 over Engine.IO v4, WebSocket only, text packets only.
//
// It does what a chat page needs and no more: connect with an auth payload, emit with an acknowledgement,
// receive events, notice a dead connection, and come back by itself with full-jitter backoff. A refusal is
// final until `connect()` is called again, with a fresh token for instance.

/** Engine.IO packet types: the first character of every frame. */
export const ENGINE = Object.freeze({ OPEN: "0", CLOSE: "1", PING: "2", PONG: "3", MESSAGE: "4", NOOP: "6" });

/** Socket.IO packet types: the first character of an Engine.IO message. */
export const PACKET = Object.freeze({ CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4 });

/** Why a request failed: `code` is the server's, or one of `client.offline`, `client.timeout`, `client.lost`. */
export class ChatError extends Error {
  constructor({ code, message, retryAfterMs }) {
    super(message || code);
    this.name = "ChatError";
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Writes a Socket.IO packet: type, namespace unless `/`, acknowledgement id, JSON. */
export function encodePacket({ type, nsp = "/", id, data }) {
  const namespace = nsp === "/" ? "" : `${nsp},`;
  return `${type}${namespace}${id ?? ""}${data === undefined ? "" : JSON.stringify(data)}`;
}

/** Reads a Socket.IO packet; `null` for anything that is not one. */
export function decodePacket(text) {
  const match = /^([0-4])(?:(\/[^,]*),)?(\d+)?([[{].*)?$/s.exec(text);
  if (!match) return null;
  const [, type, nsp = "/", id, json] = match;
  const packet = { type: Number(type), nsp };
  if (id !== undefined) packet.id = Number(id);
  if (json !== undefined) {
    try {
      packet.data = JSON.parse(json);
    } catch {
      return null;
    }
  }
  const list = packet.type === PACKET.EVENT || packet.type === PACKET.ACK;
  if (list && !Array.isArray(packet.data)) return null;
  if (packet.type === PACKET.EVENT && typeof packet.data[0] !== "string") return null;
  return packet;
}

/** Full jitter: anything between nothing and the exponential ceiling. */
export function backoff(attempt, { base = 500, max = 15_000, random = Math.random } = {}) {
  return Math.round(random() * Math.min(max, base * 2 ** attempt));
}

/** The WebSocket address of a page's server. */
export function socketUrl(origin, path = "/socket.io/") {
  const url = new URL(path, origin);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "?EIO=4&transport=websocket";
  return url.href;
}

/**
 * One connection to one namespace.
 *
 * States: `idle`, `connecting`, `online`, `waiting` (will try again), `refused` (will not).
 * Own events: `state` (state, detail), `connect`, `disconnect` (reason). All other names are the server's.
 */
export class ChatSocket {
  #options;
  #listeners = new Map();
  #acks = new Map();
  #nextAck = 0;
  #attempt = 0;
  #ws = null;
  #retry = null;
  #watch = null;
  #patience = 0;
  state = "idle";

  /** `auth` is called for every attempt and gives the payload of the CONNECT packet. */
  constructor({ url, nsp = "/", auth = () => ({}), ackTimeout = 10_000, connectTimeout = 10_000, WebSocket = globalThis.WebSocket, ...rest }) {
    this.#options = { url, nsp, auth, ackTimeout, connectTimeout, WebSocket, ...rest };
  }

  /** Listens; returns the function that stops listening. */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Begins, or tries again at once. */
  connect() {
    if (this.state === "connecting" || this.state === "online") return;
    clearTimeout(this.#retry);
    this.#open();
  }

  /** Ends for good, until `connect()`. */
  close() {
    clearTimeout(this.#retry);
    if (this.state === "online") this.#write(ENGINE.MESSAGE + encodePacket({ type: PACKET.DISCONNECT, nsp: this.#options.nsp }));
    this.#drop("client closed");
    this.#become("idle");
  }

  /** Sends an event and waits for its answer's data; rejects with a `ChatError`. */
  emit(event, data = {}, { timeout = this.#options.ackTimeout } = {}) {
    if (this.state !== "online") return Promise.reject(new ChatError({ code: "client.offline", message: "Not connected." }));
    const id = this.#nextAck++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#acks.delete(id);
        reject(new ChatError({ code: "client.timeout", message: "The server did not answer in time." }));
      }, timeout);
      this.#acks.set(id, { resolve, reject, timer });
      this.#write(ENGINE.MESSAGE + encodePacket({ type: PACKET.EVENT, nsp: this.#options.nsp, id, data: [event, data] }));
    });
  }

  #open() {
    this.#become("connecting");
    const ws = new this.#options.WebSocket(this.#options.url);
    this.#ws = ws;
    ws.onmessage = ({ data }) => this.#ws === ws && this.#frame(data);
    ws.onclose = () => this.#ws === ws && this.#lost("transport close");
    ws.onerror = () => {}; // `close` follows and says all there is to know
    this.#guard(this.#options.connectTimeout);
  }

  #frame(frame) {
    if (typeof frame !== "string") return this.#lost("unreadable frame");
    if (this.#patience) this.#guard(this.#patience);
    const body = frame.slice(1);
    switch (frame[0]) {
      case ENGINE.OPEN:
        return this.#handshake(body);
      case ENGINE.PING:
        return this.#write(ENGINE.PONG + body);
      case ENGINE.CLOSE:
        return this.#lost("transport close");
      case ENGINE.MESSAGE:
        return this.#packet(decodePacket(body));
    }
  }

  async #handshake(body) {
    const ws = this.#ws;
    try {
      const { pingInterval, pingTimeout } = JSON.parse(body);
      this.#patience = pingInterval + pingTimeout;
      const data = await this.#options.auth();
      if (this.#ws === ws) this.#write(ENGINE.MESSAGE + encodePacket({ type: PACKET.CONNECT, nsp: this.#options.nsp, data }));
    } catch {
      if (this.#ws === ws) this.#lost("handshake failed");
    }
  }

  #packet(packet) {
    if (!packet) return this.#lost("unreadable packet");
    if (packet.nsp !== this.#options.nsp) return;
    switch (packet.type) {
      case PACKET.CONNECT:
        this.#attempt = 0;
        this.#guard(this.#patience);
        this.#become("online");
        return this.#tell("connect");
      case PACKET.CONNECT_ERROR:
        return this.#refused(packet.data?.message ?? "refused");
      case PACKET.DISCONNECT:
        return this.#refused("client.disconnected");
      case PACKET.EVENT:
        return this.#tell(...packet.data);
      case PACKET.ACK:
        return this.#answered(packet.id, packet.data[0]);
    }
  }

  #answered(id, answer) {
    const waiting = this.#acks.get(id);
    if (!waiting) return;
    this.#acks.delete(id);
    clearTimeout(waiting.timer);
    if (answer?.ok) waiting.resolve(answer.data ?? {});
    else waiting.reject(new ChatError(answer?.error ?? { code: "client.unreadable", message: "The server's answer makes no sense." }));
  }

  /** A server that is draining will be back; every other refusal stands until somebody calls `connect()`. */
  #refused(code) {
    if (code === "chat.server.draining") return this.#lost(code);
    this.#drop(code);
    this.#become("refused", code);
  }

  #lost(reason) {
    this.#drop(reason);
    const delay = backoff(this.#attempt++, this.#options);
    this.#retry = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { reason, delay });
  }

  #drop(reason) {
    clearTimeout(this.#watch);
    this.#patience = 0;
    const ws = this.#ws;
    this.#ws = null;
    ws?.close();
    for (const { reject, timer } of this.#acks.values()) {
      clearTimeout(timer);
      reject(new ChatError({ code: "client.lost", message: "The connection was lost before the answer came." }));
    }
    this.#acks.clear();
    if (this.state === "online") this.#tell("disconnect", reason);
  }

  /** Gives the connection up unless something arrives in time. */
  #guard(ms) {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#lost("no sign of life"), ms);
  }

  #write(frame) {
    if (this.#ws?.readyState === 1) this.#ws.send(frame);
  }

  #become(state, detail) {
    this.state = state;
    this.#tell("state", state, detail);
  }

  #tell(event, ...args) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(...args);
  }
}
