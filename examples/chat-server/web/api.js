// The session: it signs in, keeps the store in step with the server, and offers one function per thing a person
// can do. All promises about delivery live here: what was missed is caught up, what was written is sent.

import { ChatError, ChatSocket, socketUrl } from "./socket.js";
import { SERVER_EVENTS, positionsOf } from "./store.js";

const PAGE = 50;
const POSITIONS_PER_CALL = 200;
const FLUSH_MS = 200;
const TYPING_EVERY_MS = 3_000;
const HEALTH_MS = 5_000; // longer than the server waits for its backends

/** Answers that mean "not now": the same request may succeed later. */
const PASSING = new Set([
  "client.offline", "client.timeout", "client.lost",
  "chat.rate_limited", "chat.slow_mode", "chat.queue.full", "chat.unavailable", "chat.timeout", "chat.server.draining",
]);

/** Whether the server signs people in by name. */
export async function offersNames() {
  const answer = await fetch("/dev").catch(() => null);
  return answer?.status === 204;
}

/** A token for a name. */
export async function tokenFor(userId, name) {
  const answer = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ userId, name }),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ChatError(body.error ?? { code: "client.refused", message: `The server answered ${answer.status}.` });
  return body.token;
}

export class Chat {
  #store;
  #socket;
  #token = null;
  #renew = null;
  #renewed = false;
  #known = false;
  #seen = new Map(); // conversationId -> how far to mark as read
  #received = new Map(); // conversationId -> how far to mark as delivered
  #flush = null;
  #loading = new Map(); // what is being loaded -> its promise
  #asking = new Set(); // what happens while an answer is waited for, a list for each question
  #wanted = new Set(); // userIds whose names are to be fetched
  #sending = false;
  #typed = null; // { conversationId, at }: the last typing told

  constructor(store) {
    this.#store = store;
    this.#socket = new ChatSocket({ url: socketUrl(location.href), auth: () => ({ token: this.#token, device: device() }) });
    this.#socket.on("state", (state, detail) => this.#moved(state, detail));
    this.#socket.on("connect", () => this.#arrived());
    this.#socket.on("auth:expired", () => {}); // the disconnect that follows is handled in #moved
    for (const name of SERVER_EVENTS) this.#socket.on(name, (data) => this.#happened(name, data));
    addEventListener("online", () => this.#socket.state === "waiting" && this.#socket.connect());
    setInterval(() => this.#store.dispatch({ type: "forget-typists", now: Date.now() }), 1_000);
  }

  // --- Signing in and staying in ---

  /** Resolves once connected; `renew` gives a fresh token when this one has ended. */
  signIn(token, renew = null) {
    this.#token = token;
    this.#renew = renew;
    return new Promise((resolve, reject) => {
      const stops = [
        this.#socket.on("connect", () => finish(resolve)),
        this.#socket.on("state", (state, detail) => {
          if (state === "refused") finish(reject, new ChatError({ code: detail }));
          if (state === "waiting") finish(reject, new ChatError({ code: "client.offline", message: "The server cannot be reached." }), true);
        }),
      ];
      const finish = (settle, value, close) => {
        for (const stop of stops) stop();
        if (close) this.#socket.close();
        settle(value);
      };
      this.#socket.connect();
    });
  }

  signOut() {
    this.#socket.close();
    this.#known = false;
    this.#seen.clear();
    this.#received.clear();
    this.#store.dispatch({ type: "signed-out" });
  }

  async #moved(state, detail) {
    this.#store.dispatch({ type: "connection", state, detail });
    const ended = state === "refused" && (detail === "chat.auth.expired" || detail === "client.disconnected");
    if (!ended || !this.#known || !this.#renew || this.#renewed) return;
    this.#renewed = true; // once per connection: a server that refuses fresh tokens is not asked for ever
    try {
      this.#token = await this.#renew();
      this.#socket.connect();
    } catch {
      // The page shows that it is signed out.
    }
  }

  /** After every connect: who am I, what is there, what did I miss, what is still to be sent. */
  async #arrived() {
    const again = this.#known;
    const positions = again ? positionsOf(this.#store.get()) : []; // before anything new arrives
    try {
      const { userId, name } = await this.#ask("authenticate");
      this.#store.dispatch({ type: "signed-in", me: { userId, name: name ?? userId } });
      this.#known = true;
      this.#renewed = false;
      await this.#list();
      if (again) await this.#catchUp(positions);
      if (again) await this.#refresh();
      this.#receivedAll();
      this.#drain();
    } catch (error) {
      if (!PASSING.has(error.code)) throw error;
      await pause(error.retryAfterMs ?? 2_000);
      if (this.#socket.state === "online") await this.#arrived();
    }
  }

  /** What is answered, and what happened until then. */
  async #during(ask) {
    const meanwhile = [];
    this.#asking.add(meanwhile);
    try {
      return { ...(await ask()), meanwhile };
    } finally {
      this.#asking.delete(meanwhile);
    }
  }

  async #list() {
    const { conversations, totalUnread, meanwhile } = await this.#during(() => this.#pages());
    this.#store.dispatch({ type: "conversations", conversations, totalUnread, meanwhile });
    const there = new Set(conversations.map(({ conversationId }) => conversationId));
    for (const conversationId of this.#store.get().conversations.keys()) if (!there.has(conversationId)) await this.#verify(conversationId);
  }

  async #pages() {
    const conversations = [];
    let page;
    do {
      page = await this.#ask("getConversations", { cursor: page?.nextCursor, limit: PAGE });
      conversations.push(...page.conversations);
    } while (page.hasMore);
    return { conversations, totalUnread: page.totalUnreadMessages };
  }

  /** A conversation the list does not name: left elsewhere, or made a moment ago. */
  async #verify(conversationId) {
    try {
      await this.load(conversationId);
    } catch (error) {
      if (error.code !== "chat.forbidden") throw error;
      this.#store.dispatch({ type: "gone", conversationId });
    }
  }

  async #catchUp(positions) {
    let rest = new Map(positions);
    while (rest.size) {
      const asked = [...rest].slice(0, POSITIONS_PER_CALL);
      const { messages, discontinuity = [], forbidden = [], hasMore } = await this.#ask("catchUp", { positions: Object.fromEntries(asked) });
      this.#store.dispatch({ type: "caught-up", messages });
      this.#meet(messages);
      for (const conversationId of discontinuity) if (this.#store.get().rooms.has(conversationId)) await this.#newest(conversationId);
      for (const conversationId of forbidden) this.#store.dispatch({ type: "gone", conversationId });
      for (const { conversationId, seq } of messages) rest.set(conversationId, seq);
      const done = hasMore ? [...discontinuity, ...forbidden] : asked.map(([conversationId]) => conversationId);
      rest = new Map([...rest].filter(([conversationId]) => !done.includes(conversationId)));
      if (hasMore && !messages.length) return;
    }
  }

  /** Changes to known messages are not caught up: load what was on screen again. */
  async #refresh() {
    for (const conversationId of this.#store.get().rooms.keys()) await this.#newest(conversationId);
  }

  // --- What the server tells ---

  async #happened(name, data) {
    const known = this.#store.get().conversations.get(data.conversationId);
    for (const meanwhile of this.#asking) meanwhile.push({ name, data });
    this.#store.dispatch({ type: "event", name, data, now: Date.now() });
    if (name === "conversation:created") return this.load(data.conversationId).catch(() => {});
    if (name === "newMessage" && !known) return this.#learn(data).catch(() => {});
    if (name === "participant:added") this.#want(data.participantIds);
    if (name !== "newMessage") return;
    this.#meet([data]);
    if (data.seq > known.headSeq + 1) this.#fill(data.conversationId, known.headSeq);
    if (data.senderId !== this.#store.get().me?.userId) this.#receive(data.conversationId, data.seq);
  }

  /** A message of a conversation not known yet. A load that is under way may have been answered before it. */
  async #learn({ conversationId, seq }) {
    await this.load(conversationId);
    if (this.#store.get().conversations.get(conversationId)?.headSeq < seq) await this.load(conversationId);
  }

  /** A gap in `seq`: something was lost on the way. */
  async #fill(conversationId, from) {
    try {
      await this.#catchUp([[conversationId, from]]);
      await this.load(conversationId);
    } catch {
      // The next connect catches up again.
    }
  }

  // --- Conversations ---

  /** Loads one conversation with all its members. */
  load(conversationId) {
    return this.#once(`conversation ${conversationId}`, async () => {
      const { conversation, pinnedMessages, meanwhile } = await this.#during(() => this.#ask("getConversation", { conversationId }));
      this.#store.dispatch({ type: "conversation", conversation, pinnedMessages, meanwhile });
      this.#receive(conversationId, conversation.headSeq);
      return conversation;
    });
  }

  /** Loads what a room shows. */
  async open(conversationId) {
    await this.load(conversationId);
    if (!this.#store.get().rooms.has(conversationId)) await this.#newest(conversationId);
  }

  #newest(conversationId) {
    return this.#once(`newest ${conversationId}`, async () => {
      const page = await this.#ask("messages:fullload", { conversationId, limit: PAGE });
      const known = this.#store.get().rooms.get(conversationId)?.messages.at(-1)?.seq ?? 0;
      const fresh = (page.messages[0]?.seq ?? 0) > known + 1; // no hole between what was there and what came
      this.#store.dispatch({ type: "page", conversationId, messages: page.messages, fresh, ...edge(fresh || !known, page) });
      this.#meet(page.messages);
    });
  }

  /** One more page of older messages. */
  older(conversationId) {
    return this.#once(`older ${conversationId}`, async () => {
      const room = this.#store.get().rooms.get(conversationId);
      if (!room?.hasOlder) return;
      const page = await this.#ask("messages:fullload", { conversationId, cursor: room.cursor, limit: PAGE });
      this.#store.dispatch({ type: "page", conversationId, messages: page.messages, ...edge(true, page) });
      this.#meet(page.messages);
    });
  }

  /** Loads back to a message, so that it can be shown in its place. */
  async reach(conversationId, seq) {
    await this.open(conversationId);
    for (let page = 0; page < 40; page++) {
      const room = this.#store.get().rooms.get(conversationId);
      if (!room?.hasOlder || room.messages[0]?.seq <= seq) return;
      await this.older(conversationId);
    }
  }

  async createGroup(name, members) {
    const { conversationId } = await this.#ask("createGroup", { name, members });
    await this.load(conversationId);
    return conversationId;
  }

  async createBroadcast(name, recipients) {
    const { conversationId } = await this.#ask("createBroadcast", { name, recipients });
    await this.load(conversationId);
    return conversationId;
  }

  rename = (conversationId, name) => this.#ask("updateConversation", { conversationId, name });
  archive = (conversationId, on) => this.#ask("archiveConversation", { conversationId, on });
  mute = (conversationId, on) => this.#ask("muteConversation", { conversationId, on });
  pin = (conversationId, on) => this.#ask("pinConversation", { conversationId, on });
  leave = (conversationId) => this.#ask("leaveGroup", { conversationId });
  add = (conversationId, participantId) => this.#ask("addParticipant", { conversationId, participantId });
  remove = (conversationId, participantId) => this.#ask("removeParticipant", { conversationId, participantId });
  setRole = (conversationId, targetUserId, role) => this.#ask("setUserRole", { conversationId, targetUserId, role });

  // --- Messages ---

  /** Puts a message into the outbox; from there it goes until it is acknowledged or refused for good. */
  send({ conversationId, receiverId, content, replyTo, thread }) {
    const item = { temporaryId: crypto.randomUUID(), conversationId, receiverId, content, replyTo, thread, timestamp: new Date().toISOString() };
    this.#typed = null; // sending ends typing
    this.#store.dispatch({ type: "queued", item });
    this.#drain();
  }

  retry(temporaryId) {
    this.#store.dispatch({ type: "failed", temporaryId, error: undefined });
    this.#drain();
  }

  discard(temporaryId) {
    this.#store.dispatch({ type: "discarded", temporaryId });
  }

  /** One at a time and in order, each with the same temporaryId until an answer settles it. */
  async #drain() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (;;) {
        const item = this.#store.get().outbox.find(({ error }) => !error);
        if (!item || this.#socket.state !== "online") return;
        await this.#deliver(item);
      }
    } finally {
      this.#sending = false;
    }
  }

  async #deliver(item) {
    const { temporaryId, conversationId, receiverId, content, replyTo, thread } = item;
    try {
      const answer = await this.#ask("sendMessage", { temporaryId, conversationId, receiverId, content, replyTo, thread });
      if (!this.#store.get().conversations.has(answer.conversationId)) await this.load(answer.conversationId).catch(() => {});
      this.#store.dispatch({ type: "sent", item, answer });
    } catch (error) {
      if (PASSING.has(error.code)) await pause(error.retryAfterMs ?? 1_000);
      else this.#store.dispatch({ type: "failed", temporaryId, error: { code: error.code, message: error.message } });
    }
  }

  edit = (messageId, newContent, expectedRevision) => this.#ask("editMessage", { messageId, newContent, expectedRevision });
  delete = (messageId, deleteType) => this.#ask("deleteMessage", { messageId, deleteType });
  react = (messageId, emoji, on) => this.#ask("reactToMessage", { messageId, emoji, on });
  pinMessage = (messageId, on) => this.#ask("pinMessage", { messageId, on });
  readers = (messageId) => this.#ask("messageReaders", { messageId });
  thread = (messageId, cursor) => this.#ask("getThread", { messageId, cursor, limit: 100 });
  search = (text, conversationId, cursor) => this.#ask("search", { text, conversationId, cursor, limit: 20 });

  async markUnread(conversationId, fromSeq) {
    this.#seen.delete(conversationId);
    const answer = await this.#ask("markUnread", { conversationId, fromSeq });
    this.#store.dispatch({ type: "unread", readSeq: fromSeq - 1, ...answer });
  }

  // --- Receipts ---

  /** Somebody has the message before their eyes. */
  see(conversationId, seq) {
    const conversation = this.#store.get().conversations.get(conversationId);
    if (!conversation || seq <= conversation.readSeq) return;
    this.#store.dispatch({ type: "read", conversationId, upToSeq: seq });
    raise(this.#seen, conversationId, seq);
    this.#later();
  }

  #receive(conversationId, seq) {
    const conversation = this.#store.get().conversations.get(conversationId);
    const mine = conversation?.participants.find(({ userId }) => userId === this.#store.get().me?.userId);
    if (!conversation || seq <= Math.max(mine?.deliveredSeq ?? 0, conversation.readSeq)) return;
    raise(this.#received, conversationId, seq);
    this.#later();
  }

  #receivedAll() {
    for (const { conversationId, headSeq } of this.#store.get().conversations.values()) this.#receive(conversationId, headSeq);
  }

  #later() {
    this.#flush ??= setTimeout(() => {
      this.#flush = null;
      const [seen, received] = [[...this.#seen], [...this.#received]];
      this.#seen.clear();
      this.#received.clear();
      for (const [conversationId, upToSeq] of seen) this.#mark("markMessageRead", conversationId, upToSeq);
      for (const [conversationId, upToSeq] of received) {
        if (upToSeq > (new Map(seen).get(conversationId) ?? 0)) this.#mark("markMessageDelivered", conversationId, upToSeq);
      }
    }, FLUSH_MS);
  }

  async #mark(event, conversationId, upToSeq) {
    try {
      await this.#ask(event, { conversationId, upToSeq });
    } catch (error) {
      if (!PASSING.has(error.code)) return;
      raise(event === "markMessageRead" ? this.#seen : this.#received, conversationId, upToSeq);
      await pause(error.retryAfterMs ?? 2_000);
      this.#later();
    }
  }

  // --- Typing and presence ---

  type(conversationId) {
    const typed = this.#typed;
    if (typed && typed.conversationId !== conversationId) this.stopTyping();
    else if (typed && Date.now() - typed.at < TYPING_EVERY_MS) return;
    this.#typed = { conversationId, at: Date.now() };
    this.#ask("typing", { conversationId }).catch(() => {});
  }

  stopTyping() {
    const typed = this.#typed;
    this.#typed = null;
    if (typed) this.#ask("stopTyping", { conversationId: typed.conversationId }).catch(() => {});
  }

  setStatus = (status) => this.#ask("setStatus", { status });
  setPrivacy = (lastSeen) => this.#ask("setPrivacy", { lastSeen });

  // --- Names and health ---

  /** Whoever is named in messages may have left long ago. */
  #meet(messages) {
    this.#want(messages.flatMap(({ senderId, metadata }) => [senderId, metadata?.actorId, metadata?.userId]));
  }

  /** Names are fetched together, a moment later. */
  #want(userIds) {
    const { names } = this.#store.get();
    const unknown = userIds.filter((userId) => userId && !names.has(userId));
    if (!unknown.length) return;
    if (!this.#wanted.size) setTimeout(() => this.#fetchNames(), 50);
    for (const userId of unknown) this.#wanted.add(userId);
  }

  async #fetchNames() {
    const ids = [...this.#wanted].slice(0, 500).map(encodeURIComponent).join(",");
    this.#wanted.clear();
    try {
      const answer = await fetch(`/batch?ids=${ids}`, { headers: { authorization: `Bearer ${this.#token}` } });
      if (!answer.ok) return;
      const { users } = await answer.json();
      this.#store.dispatch({ type: "names", users: users.map(({ id, fullName }) => [id, fullName]) });
    } catch {
      // Ids are shown instead.
    }
  }

  /** How the server is; fails when it does not answer in time. */
  async health() {
    const started = performance.now();
    const signal = AbortSignal.timeout(HEALTH_MS);
    const [health, metrics] = await Promise.all([fetch("/health", { signal }), fetch("/metrics", { signal })]);
    // A host that keeps its metrics to itself answers in words.
    return { health: await health.json(), metrics: metrics.ok ? await metrics.text() : "", ms: performance.now() - started };
  }

  // --- Asking ---

  #ask(event, data) {
    return this.#socket.emit(event, data);
  }

  /** Whoever asks for the same thing meanwhile shares the answer. */
  #once(what, load) {
    const running = this.#loading.get(what) ?? load().finally(() => this.#loading.delete(what));
    this.#loading.set(what, running);
    return running;
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const raise = (map, key, value) => map.set(key, Math.max(map.get(key) ?? 0, value));

const edge = (known, { nextCursor, hasMore }) => (known ? { cursor: nextCursor ?? null, hasOlder: hasMore } : {});

/** One id per tab, so that two tabs are two devices. */
function device() {
  const id = sessionStorage.getItem("device") ?? crypto.randomUUID();
  sessionStorage.setItem("device", id);
  return { id, platform: "web" };
}
