// The page's own logic, without a server and without a browser: packets, connection, state.

import assert from "node:assert/strict";
import { describe, mock, test } from "node:test";
import { ChatSocket, PACKET, backoff, decodePacket, encodePacket, socketUrl } from "../../web/socket.js";
import { EMPTY, TYPING_MS, announcement, createStore, listed, merge, receiptOf, reduce, titleOf } from "../../web/store.js";
import { badge, count, day, duration, hue, idFromName, initials, people, percent, short } from "../../web/format.js";
import { GAP_MS, Readings, WINDOW_MS, breakers, checks, deadLetters, hitRate, lag, parse, plot, roundUp, sum } from "../../web/health.js";

describe("packets", () => {
  const pairs = [
    [{ type: PACKET.CONNECT, nsp: "/", data: { token: "t" } }, '0{"token":"t"}'],
    [{ type: PACKET.CONNECT, nsp: "/chat", data: { sid: "x" } }, '0/chat,{"sid":"x"}'],
    [{ type: PACKET.DISCONNECT, nsp: "/" }, "1"],
    [{ type: PACKET.DISCONNECT, nsp: "/chat" }, "1/chat,"],
    [{ type: PACKET.EVENT, nsp: "/", data: ["hello", 1] }, '2["hello",1]'],
    [{ type: PACKET.EVENT, nsp: "/chat", id: 12, data: ["a", { b: "c,[\n]" }] }, '2/chat,12["a",{"b":"c,[\\n]"}]'],
    [{ type: PACKET.ACK, nsp: "/", id: 0, data: [] }, "30[]"],
    [{ type: PACKET.CONNECT_ERROR, nsp: "/", data: { message: "chat.auth.invalid" } }, '4{"message":"chat.auth.invalid"}'],
  ];
  for (const [packet, text] of pairs) {
    test(`${text} is written and read`, () => {
      assert.equal(encodePacket(packet), text);
      assert.deepEqual(decodePacket(text), packet);
    });
  }
  test("what is no packet is null, never a throw", () => {
    for (const text of ["", "9", "5-[]", "2", "2{}", "2[1]", "3", '2["a"', "2/chat", "hello", "2[]", "51-[]"]) assert.equal(decodePacket(text), null, text);
  });
  test("text survives unharmed: line ends, quotes, emoji, separators", () => {
    const content = "a\"b\\c\n\u2028\u{1F469}\u200D\u{1F4BB} \u0000 é";
    assert.equal(decodePacket(encodePacket({ type: PACKET.EVENT, id: 3, data: ["m", { content }] })).data[1].content, content);
  });
  test("the address follows the page's", () => {
    assert.equal(socketUrl("http://localhost:3000/#/c/1"), "ws://localhost:3000/socket.io/?EIO=4&transport=websocket");
    assert.equal(socketUrl("https://chat.example/x"), "wss://chat.example/socket.io/?EIO=4&transport=websocket");
  });
  test("backoff is anything up to a doubling, limited ceiling", () => {
    const ceiling = { base: 100, max: 1_000, random: () => 1 };
    assert.deepEqual([0, 1, 2, 3, 4, 50].map((n) => backoff(n, ceiling)), [100, 200, 400, 800, 1_000, 1_000]);
    assert.equal(backoff(9, { random: () => 0 }), 0);
  });
});

/** A WebSocket whose other end is the test. */
class Wire {
  static all = [];
  readyState = 1;
  sent = [];
  constructor(url) {
    this.url = url;
    Wire.all.push(this);
  }
  send(frame) {
    this.sent.push(frame);
  }
  close() {
    this.readyState = 3;
  }
  says(frame) {
    this.onmessage({ data: frame });
  }
  dies() {
    this.readyState = 3;
    this.onclose();
  }
}

const OPEN = '0{"sid":"s","pingInterval":300,"pingTimeout":200,"maxPayload":1000000}';
const settled = () => new Promise((resolve) => setImmediate(resolve));

function dial(options = {}) {
  Wire.all = [];
  const seen = [];
  const socket = new ChatSocket({ url: "ws://x", WebSocket: Wire, auth: () => ({ token: "t" }), random: () => 0.5, ...options });
  socket.on("state", (state, detail) => seen.push(detail?.reason ? `${state}: ${detail.reason}` : detail ? `${state}: ${detail}` : state));
  socket.connect();
  const wire = () => Wire.all.at(-1);
  const online = async () => {
    wire().says(OPEN);
    await settled();
    wire().says('40{"sid":"y"}');
  };
  return { socket, seen, wire, online };
}

describe("connection", () => {
  test("connects with the auth payload and answers pings", async () => {
    const { socket, seen, wire, online } = dial();
    await online();
    wire().says("2");
    assert.deepEqual(wire().sent, ['40{"token":"t"}', "3"]);
    assert.deepEqual(seen, ["connecting", "online"]);
    socket.close();
    assert.deepEqual([wire().sent.at(-1), socket.state], ["41", "idle"]);
  });

  test("an acknowledgement settles its own request only", async () => {
    const { socket, wire, online } = dial();
    await online();
    const [first, second] = [socket.emit("a", { n: 1 }), socket.emit("b")];
    assert.deepEqual(wire().sent.slice(1), ['420["a",{"n":1}]', '421["b",{}]']);
    wire().says('431[{"ok":true,"data":{"x":2}}]');
    wire().says('430[{"ok":false,"error":{"code":"chat.rate_limited","message":"slow","retryAfterMs":50}}]');
    assert.deepEqual(await second, { x: 2 });
    await assert.rejects(first, { name: "ChatError", code: "chat.rate_limited", message: "slow", retryAfterMs: 50 });
    wire().says('430[{"ok":true}]'); // a second answer is ignored
    socket.close();
  });

  test("requests fail at once while offline, and when the connection is lost", async () => {
    const { socket, wire, online } = dial();
    await assert.rejects(socket.emit("a"), { code: "client.offline" });
    await online();
    const waiting = socket.emit("a");
    wire().dies();
    await assert.rejects(waiting, { code: "client.lost" });
    socket.close();
  });

  test("an answer that does not come is a timeout", async () => {
    const { socket, online } = dial();
    await online();
    await assert.rejects(socket.emit("a", {}, { timeout: 5 }), { code: "client.timeout" });
    socket.close();
  });

  test("comes back after a loss, with a growing pause that success resets", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const { socket, seen, wire, online } = dial({ base: 100, max: 10_000 });
    await online();
    for (const pause of [50, 100, 200]) {
      wire().dies();
      const before = Wire.all.length;
      mock.timers.tick(pause - 1);
      assert.equal(Wire.all.length, before, "not yet");
      mock.timers.tick(1);
      assert.equal(Wire.all.length, before + 1, `after ${pause} ms`);
    }
    await online();
    wire().dies();
    mock.timers.tick(50);
    assert.equal(seen.at(-1), "connecting");
    socket.close();
    mock.timers.reset();
  });

  test("a connection without a sign of life is given up", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const { socket, seen, wire, online } = dial();
    await online();
    mock.timers.tick(499);
    wire().says("2");
    mock.timers.tick(499);
    assert.equal(socket.state, "online");
    const dead = wire();
    mock.timers.tick(1);
    assert.equal(seen.at(-1), "waiting: no sign of life");
    assert.equal(dead.readyState, 3);
    dead.says('42["late",{}]'); // a corpse is not listened to
    assert.equal(socket.state, "waiting");
    socket.close();
    mock.timers.reset();
  });

  test("a refusal is final until somebody connects again", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    let token = "old";
    const { socket, seen, wire, online } = dial({ auth: () => ({ token }) });
    wire().says(OPEN);
    await settled();
    wire().says('44{"message":"chat.auth.expired"}');
    mock.timers.tick(1_000_000);
    assert.deepEqual([seen.at(-1), Wire.all.length], ["refused: chat.auth.expired", 1]);
    token = "fresh";
    socket.connect();
    await online();
    assert.equal(wire().sent[0], '40{"token":"fresh"}');
    assert.equal(socket.state, "online");
    socket.close();
    mock.timers.reset();
  });

  test("a draining server is not a refusal", async () => {
    const { socket, wire } = dial();
    wire().says(OPEN);
    await settled();
    wire().says('44{"message":"chat.server.draining"}');
    assert.equal(socket.state, "waiting");
    socket.close();
  });

  test("a disconnect by the server is not answered with a reconnect", async () => {
    const { socket, seen, wire, online } = dial();
    await online();
    wire().says("41");
    assert.equal(seen.at(-1), "refused: client.disconnected");
    socket.close();
  });

  test("other namespaces are not ours", async () => {
    const { socket, wire, online } = dial();
    const heard = [];
    socket.on("x", (data) => heard.push(data));
    await online();
    wire().says('42/other,["x",1]');
    wire().says('42["x",2]');
    assert.deepEqual(heard, [2]);
    socket.close();
  });

  test("whoever stopped listening hears nothing more", async () => {
    const { socket, wire, online } = dial();
    const heard = [];
    const stop = socket.on("x", (data) => heard.push(data));
    await online();
    wire().says('42["x",1]');
    stop();
    wire().says('42["x",2]');
    assert.deepEqual(heard, [1]);
    socket.close();
  });
});

// --- State ---

const AT = "2025-01-31T12:00:00.000Z";
const me = { userId: "me", name: "Me" };
const person = (userId, more = {}) => ({ userId, name: userId.toUpperCase(), role: "member", joinedAt: AT, deliveredSeq: 0, readSeq: 0, presence: { status: "online" }, ...more });
const message = (seq, more = {}) => ({ messageId: `m${seq}`, conversationId: "c", seq, senderId: "you", content: `text ${seq}`, type: "TEXT", status: "SENT", timestamp: AT, revision: 0, reactions: [], ...more });
const conversation = (more = {}) => ({
  conversationId: "c", type: "GROUP", name: "Team", createdBy: "me", createdAt: AT, headSeq: 0, participantCount: 2, participants: [person("me", { role: "admin" }), person("you")],
  lastMessage: null, role: "admin", unreadCount: 0, mentions: 0, readSeq: 0, archived: false, muted: false, pinned: false, ...more,
});
const event = (name, data, now = 0) => ({ type: "event", name, data, now });
const after = (...actions) => actions.reduce(reduce, reduce(EMPTY, { type: "signed-in", me }));
const loaded = (more, ...actions) => after({ type: "conversations", conversations: [conversation(more)], totalUnread: more?.unreadCount ?? 0 }, { type: "page", conversationId: "c", messages: [], cursor: null, hasOlder: false }, ...actions);
const texts = (state) => state.rooms.get("c").messages.map(({ content }) => content);

describe("state", () => {
  test("an unknown action changes nothing, not even its identity", () => {
    const state = loaded();
    assert.equal(reduce(state, { type: "toString" }), state);
    assert.equal(reduce(state, event("constructor", {})), state);
    assert.equal(reduce(state, event("userStoppedTyping", { conversationId: "c", userId: "you" })), state);
  });

  test("a message counts once, however often it comes", () => {
    const once = loaded({}, event("newMessage", message(1)));
    const twice = reduce(once, event("newMessage", message(1)));
    for (const state of [once, twice]) {
      const { unreadCount, headSeq, lastMessage } = state.conversations.get("c");
      assert.deepEqual([unreadCount, headSeq, lastMessage.seq, state.totalUnread], [1, 1, 1, 1]);
      assert.deepEqual(texts(state), ["text 1"]);
    }
  });

  test("system and silent messages do not count, mentions do", () => {
    const state = loaded({}, event("newMessage", message(1, { type: "SYSTEM" })), event("newMessage", message(2, { silent: true })),
      event("newMessage", message(3, { mentions: { users: ["me"], everyone: false } })), event("newMessage", message(4, { mentions: { users: [], everyone: true } })));
    const { unreadCount, mentions } = state.conversations.get("c");
    assert.deepEqual([unreadCount, mentions], [2, 2]);
  });

  test("an own message sets the count to zero", () => {
    const state = loaded({ unreadCount: 3, headSeq: 3 }, event("newMessage", message(4, { senderId: "me" })));
    assert.deepEqual([state.conversations.get("c").unreadCount, state.totalUnread], [0, 0]);
  });

  test("muted and archived conversations stay out of the total", () => {
    for (const setting of [{ muted: true }, { archived: true }]) {
      const state = loaded(setting, event("newMessage", message(1)));
      assert.deepEqual([state.conversations.get("c").unreadCount, state.totalUnread], [1, 0]);
    }
  });

  test("what the server says about unread counts stands", () => {
    const state = loaded({}, event("newMessage", message(1)), event("unread", { conversationId: "c", unreadCount: 7, mentions: 1, totalUnread: 9 }));
    assert.deepEqual([state.conversations.get("c").unreadCount, state.totalUnread], [7, 9]);
  });

  test("a message that overtakes the list is not lost from the count", () => {
    const state = loaded({}, event("newMessage", message(1)), { type: "conversations", conversations: [conversation()] });
    assert.deepEqual([state.conversations.get("c").unreadCount, state.conversations.get("c").headSeq], [1, 1]);
  });

  test("an answer that is older than what happened meanwhile takes nothing back", () => {
    const own = message(1, { senderId: "me" });
    const meanwhile = [
      { name: "message:status", data: { conversationId: "c", userId: "you", status: "DELIVERED", upToSeq: 1 } },
      { name: "user_offline", data: { userId: "you" } },
      { name: "newMessage", data: own },
    ];
    const old = conversation({ headSeq: 1, lastMessage: own });
    const answers = [{ type: "conversation", conversation: old, meanwhile }, { type: "conversations", conversations: [old], meanwhile }];
    for (const answer of answers) {
      for (const before of [after(), loaded({})]) { // told of what is not known yet, or known
        const state = reduce(meanwhile.reduce((next, { name, data }) => reduce(next, event(name, data)), before), answer);
        assert.equal(receiptOf(state, own), "DELIVERED");
        assert.equal(state.presence.get("you").status, "offline");
        assert.deepEqual([state.conversations.get("c").unreadCount, state.totalUnread], [0, 0]);
      }
    }
  });

  test("pages and events meet in order, without doubles", () => {
    const state = loaded({ headSeq: 4 }, event("newMessage", message(5)),
      { type: "page", conversationId: "c", messages: [message(3), message(4)], cursor: "b3", hasOlder: true },
      { type: "page", conversationId: "c", messages: [message(1), message(2), message(3)], cursor: null, hasOlder: false });
    assert.deepEqual(texts(state), ["text 1", "text 2", "text 3", "text 4", "text 5"]);
    assert.equal(state.rooms.get("c").hasOlder, false);
  });

  test("a catch-up fills the room and counts nothing", () => {
    const state = loaded({ headSeq: 3, unreadCount: 3 }, { type: "caught-up", messages: [message(1), message(2), message(3)] });
    assert.deepEqual([texts(state).length, state.conversations.get("c").unreadCount], [3, 3]);
  });

  test("an older version never replaces a newer one", () => {
    const edited = message(1, { content: "new", revision: 2 });
    assert.deepEqual(merge([edited], [message(1, { revision: 1 })]), [edited]);
    const gone = message(1, { content: "", deleted: { by: "you", at: AT } });
    assert.deepEqual(merge([gone], [message(1)]), [gone]);
  });

  test("editing changes the message and the list's preview, and late news loses", () => {
    const edit = (revision, newContent) => event("message:edited", { conversationId: "c", messageId: "m1", newContent, revision, editedAt: AT });
    const state = loaded({}, event("newMessage", message(1)), edit(2, "second"), edit(1, "first"));
    assert.deepEqual(texts(state), ["second"]);
    assert.equal(state.conversations.get("c").lastMessage.content, "second");
  });

  test("deleting for everyone leaves a tombstone, for me nothing", () => {
    const gone = (deleteType) => event("message:deleted", { conversationId: "c", messageId: "m1", seq: 1, deleteType, deletedBy: "you", deletedAt: AT });
    const all = loaded({}, event("newMessage", message(1)), gone("FOR_EVERYONE"));
    assert.deepEqual([texts(all), all.rooms.get("c").messages[0].deleted.by], [[""], "you"]);
    assert.deepEqual(texts(loaded({}, event("newMessage", message(1)), gone("FOR_ME"))), []);
  });

  test("reactions are a set per person and emoji", () => {
    const react = (userId, emoji, on) => event("message:reaction", { conversationId: "c", messageId: "m1", userId, emoji, on });
    const state = loaded({}, event("newMessage", message(1)), react("you", "👍", true), react("you", "👍", true), react("me", "👍", true), react("me", "🎉", true), react("me", "🎉", false));
    assert.deepEqual(state.rooms.get("c").messages[0].reactions, [{ emoji: "👍", users: ["you", "me"] }]);
  });

  test("receipts come from positions, which only rise", () => {
    const own = message(2, { senderId: "me" });
    const status = (name, upToSeq) => event("message:status", { conversationId: "c", userId: "you", status: name, upToSeq });
    const receipt = (...actions) => receiptOf(loaded({ headSeq: 1 }, event("newMessage", own), ...actions), own);
    assert.equal(receipt(), "SENT");
    assert.equal(receipt(status("DELIVERED", 1)), "SENT");
    assert.equal(receipt(status("DELIVERED", 2)), "DELIVERED");
    assert.equal(receipt(status("READ", 2), status("DELIVERED", 1), status("READ", 1)), "READ");
    assert.equal(receipt(event("newMessage", message(3))), "READ", "whoever answers has read");
  });

  test("typing ends by a stop, by a message, by time", () => {
    const start = event("userTyping", { conversationId: "c", userId: "you" }, 1_000);
    const typists = (...actions) => [...(loaded({}, start, ...actions).typing.get("c")?.keys() ?? [])];
    assert.deepEqual(typists(), ["you"]);
    assert.deepEqual(typists(event("userStoppedTyping", { conversationId: "c", userId: "you" })), []);
    assert.deepEqual(typists(event("newMessage", message(1))), []);
    assert.deepEqual(typists({ type: "forget-typists", now: 1_000 + TYPING_MS - 1 }), ["you"]);
    assert.deepEqual(typists({ type: "forget-typists", now: 1_000 + TYPING_MS }), []);
    assert.equal(loaded({}, event("userTyping", { conversationId: "c", userId: "me" }, 0)).typing.size, 0);
  });

  test("presence follows its three events", () => {
    const status = (...names) => loaded({}, ...names.map((name) => event(name, { userId: "you", timestamp: AT }))).presence.get("you").status;
    assert.equal(status("user_offline"), "offline");
    assert.equal(status("user_offline", "user_online"), "online");
    assert.equal(status("user_idle"), "away");
  });

  test("members come, change and go; being removed takes the conversation away", () => {
    const state = loaded({ unreadCount: 2 }, event("participant:added", { conversationId: "c", participantIds: ["new", "you"], timestamp: AT }),
      event("role:updated", { conversationId: "c", targetUserId: "new", role: "moderator" }), event("participant:left", { conversationId: "c", userId: "you" }));
    assert.deepEqual(state.conversations.get("c").participants.map(({ userId, role }) => [userId, role]), [["me", "admin"], ["new", "moderator"]]);
    assert.equal(state.conversations.get("c").participantCount, 2);
    const gone = reduce(state, event("participant:removed", { conversationId: "c", participantIds: ["me"] }));
    assert.deepEqual([gone.conversations.size, gone.rooms.size, gone.totalUnread], [0, 0, 0]);
  });

  test("the outbox empties by acknowledgement or by the message itself, whichever comes first", () => {
    const item = { temporaryId: "t", conversationId: "c", content: "hi" };
    const answer = { messageId: "m1", conversationId: "c", seq: 1, timestamp: AT };
    const arrived = event("newMessage", message(1, { senderId: "me", content: "hi", temporaryId: "t" }));
    for (const order of [[{ type: "sent", item, answer }, arrived], [arrived, { type: "sent", item, answer }]]) {
      const state = loaded({}, { type: "queued", item }, ...order);
      assert.deepEqual([state.outbox, texts(state)], [[], ["hi"]]);
    }
    const failed = loaded({}, { type: "queued", item }, { type: "failed", temporaryId: "t", error: { code: "chat.forbidden" } });
    assert.equal(failed.outbox[0].error.code, "chat.forbidden");
    assert.equal(reduce(failed, { type: "discarded", temporaryId: "t" }).outbox.length, 0);
  });

  test("replies are counted at their root, once", () => {
    const reply = message(2, { thread: { root: "m1", alsoInConversation: false } });
    const state = loaded({}, event("newMessage", message(1)), event("newMessage", reply), event("newMessage", reply));
    assert.equal(state.rooms.get("c").messages[0].replies.replies, 1);
    const gone = reduce(state, event("message:deleted", { conversationId: "c", messageId: "m2", seq: 2, deleteType: "FOR_EVERYONE", deletedBy: "you", deletedAt: AT }));
    assert.equal(gone.rooms.get("c").messages[0].replies.replies, 0);
  });

  test("the list shows pinned ones first, then the newest, and archived ones apart", () => {
    const at = (hour) => ({ lastMessage: message(1, { timestamp: `2025-01-31T${hour}:00:00.000Z` }) });
    const state = after({ type: "conversations", totalUnread: 0, conversations: [
      conversation({ conversationId: "old", ...at("08") }), conversation({ conversationId: "new", ...at("10") }),
      conversation({ conversationId: "pin", pinned: true, ...at("07") }), conversation({ conversationId: "put away", archived: true, ...at("11") }),
    ] });
    assert.deepEqual(listed(state).map(({ conversationId }) => conversationId), ["pin", "new", "old"]);
    assert.deepEqual(listed(state, { archived: true }).map(({ conversationId }) => conversationId), ["put away"]);
  });

  test("a direct conversation is called after the other person", () => {
    const direct = conversation({ type: "PRIVATE", name: "YOU" });
    assert.equal(titleOf(loaded({ type: "PRIVATE" }), direct), "YOU");
  });

  test("system messages are said in the page's words", () => {
    const say = (subType, more) => announcement(loaded(), { content: "?", metadata: { subType, actorId: "me", ...more } });
    assert.equal(say("GROUP_CREATED"), "ME created the group");
    assert.equal(say("PARTICIPANT_ADDED", { userId: "you", count: "1" }), "ME added YOU");
    assert.equal(say("PARTICIPANT_REMOVED", { count: "3" }), "ME removed 3 people");
    assert.equal(say("SOMETHING_NEW"), "?");
    assert.equal(announcement(loaded(), { content: "hello" }), "hello");
  });

  test("ids that are names of object properties are only ids", () => {
    const strange = conversation({ conversationId: "__proto__" });
    const state = after({ type: "conversations", conversations: [strange] }, event("userTyping", { conversationId: "__proto__", userId: "constructor" }, 0));
    assert.equal(state.conversations.get("__proto__").name, "Team");
    assert.deepEqual([...state.typing.get("__proto__").keys()], ["constructor"]);
  });

  test("the store tells its listeners once per change, and not about nothing", () => {
    const store = createStore();
    let told = 0;
    const stop = store.subscribe(() => told++);
    store.dispatch({ type: "signed-in", me });
    store.dispatch({ type: "nothing" });
    stop();
    store.dispatch({ type: "signed-out" });
    assert.equal(told, 1);
  });
});

describe("words", () => {
  test("names, badges, lists", () => {
    assert.deepEqual(["Ada Lovelace", "ben", " émile-zola ", "👩 x", ""].map(initials), ["AL", "B", "ÉZ", "👩X", "?"]);
    assert.deepEqual([0, 7, 99, 100].map(badge), ["0", "7", "99", "99+"]);
    assert.deepEqual([[], ["A"], ["A", "B"], ["A", "B", "C"]].map(people), ["", "A", "A and B", "A, B and 1 more"]);
    assert.deepEqual([1, 2].map((n) => count(n, "reply", "replies")), ["1 reply", "2 replies"]);
    assert.equal(idFromName("  Ada  Lovelace "), "ada-lovelace");
    assert.equal(hue("a"), hue("a"));
  });
  test("days", () => {
    const now = new Date(2025, 0, 31, 12);
    assert.equal(day(new Date(2025, 0, 31, 1).toISOString(), now), "Today");
    assert.equal(day(new Date(2025, 0, 30, 23).toISOString(), now), "Yesterday");
    assert.equal(short(new Date(2025, 0, 30, 23).toISOString(), now), "Yesterday");
    assert.equal(short(undefined, now), "");
  });
  test("spans of time", () => {
    const [s, min, h] = [1_000, 60_000, 3_600_000];
    const said = [0, 999, 12 * s, 59 * s, min, 61 * s, 59 * min + 59 * s, h, h + 59 * s, 3 * h + 20 * min, 23 * h + 59 * min, 24 * h, 52 * h, -5].map(duration);
    assert.deepEqual(said, ["0 s", "0 s", "12 s", "59 s", "1 min", "1 min", "59 min", "1 h", "1 h", "3 h 20 min", "23 h 59 min", "1 d", "2 d 4 h", "0 s"]);
    assert.match(percent(0.934), /^93\s?%$/);
  });
});

describe("health", () => {
  const text = (...lines) => parse(lines.join("\n"));

  test("metrics are read as they are written", () => {
    const read = parse('# HELP a b\n# TYPE a counter\na 1\nb{x="1",y="}, \\"q\\" \\\\ \\n"} 2.5e3\n\nc{} NaN\nd +Inf 1700000000000\nthe host records metrics itself\n');
    assert.deepEqual(read.map(({ name, labels, value }) => [name, Object.fromEntries(labels), value]), [
      ["a", {}, 1], ["b", { x: "1", y: '}, "q" \\ \n' }, 2_500], ["c", {}, NaN], ["d", {}, Infinity],
    ]);
    assert.equal(sum(text('e{k="a"} 1', 'e{k="b"} 2', "ee 9"), "e"), 3);
    assert.equal(sum(text('e{k="a"} 1', 'e{k="b"} 2'), "e", { k: "b" }), 2);
    assert.equal(sum([], "e"), null, "what is not there is not zero");
  });

  /** Reads a counter at each of these times; `[at, value]`. */
  const counted = (...steps) => {
    const readings = new Readings();
    for (const [at, value, uptimeMs] of steps) readings.add({ at, uptimeMs, samples: text(`n_total ${value}`) });
    return readings;
  };
  const rates = (readings) => readings.rates("n_total").map(({ at, value }) => [at, value]);

  test("a rate is what was added between two looks", () => {
    assert.deepEqual(rates(counted([0, 5])), [], "one look says nothing");
    assert.deepEqual(rates(counted([0, 5], [2_000, 5], [4_000, 9], [5_000, 10])), [[2_000, 0], [4_000, 2], [5_000, 1]]);
  });
  test("a counter that fell began anew, and never makes a negative rate", () => {
    assert.deepEqual(rates(counted([0, 100], [2_000, 6])), [[2_000, 3]]);
    const two = (a, b) => text(`n_total{k="a"} ${a}`, `n_total{k="b"} ${b}`);
    const readings = new Readings();
    readings.add({ at: 0, samples: two(10, 10) });
    readings.add({ at: 1_000, samples: two(2, 20) });
    assert.deepEqual(rates(readings), [[1_000, 12]], "each of its labels for itself");
  });
  test("another server begins with nothing, a slow answer does not", () => {
    assert.deepEqual(rates(counted([10_000, 1_000, 10_000], [12_000, 3, 500])), []);
    assert.deepEqual(rates(counted([10_000, 3, 10_000], [16_000, 3, 15_000])), [[16_000, 0]]);
  });
  test("what nobody looked at is not made up, and what is old is forgotten", () => {
    assert.deepEqual(rates(counted([0, 0], [GAP_MS + 1, 100], [GAP_MS + 2_001, 104])), [[GAP_MS + 1, null], [GAP_MS + 2_001, 2]]);
    const long = counted(...Array.from({ length: 200 }, (_, i) => [i * 2_000, i]));
    const kept = rates(long);
    assert.deepEqual([kept.length, kept.at(-1)], [WINDOW_MS / 2_000, [398_000, 0.5]]);
  });
  test("a quantile is of what happened while one looked", () => {
    const buckets = (...counts) => text(...["0.01", "0.1", "1", "+Inf"].map((le, i) => `t_seconds_bucket{event="a",le="${le}"} ${counts[i]}`));
    const readings = new Readings();
    readings.add({ at: 0, samples: buckets(0, 0, 500, 500) });
    assert.equal(readings.quantile(0.95, "t_seconds"), null);
    readings.add({ at: 2_000, samples: buckets(90, 100, 600, 600) });
    assert.ok(Math.abs(readings.quantile(0.95, "t_seconds") - 0.055) < 1e-9);
    readings.add({ at: 4_000, samples: buckets(90, 100, 600, 900) });
    assert.equal(readings.quantile(0.95, "t_seconds"), 1, "beyond the last bound only that is known");
  });
  test("what was refused is counted by its code", () => {
    const readings = new Readings();
    readings.add({ at: 0, samples: text('e_total{event="a",code="ok"} 7', 'e_total{event="a",code="no"} 1') });
    readings.add({ at: 2_000, samples: text('e_total{event="a",code="ok"} 9', 'e_total{event="a",code="no"} 1', 'e_total{event="b",code="no"} 2', 'e_total{event="b",code="late"} 1') });
    assert.deepEqual([...readings.risenBy("e_total", "code")], [["ok", 2], ["no", 2], ["late", 1]]);
  });

  test("what groups have not done comes from health, else from metrics, the oldest first", () => {
    const told = { streams: { deadLetters: 4, topics: [
      { topic: "users", groups: [{ group: "derive", unread: null, pending: 1, oldestMs: 70_000 }] },
      { topic: "files", groups: [{ group: "search", unread: 3, pending: 2, oldestMs: null }, { group: "derive", unread: 0, pending: 0, oldestMs: null }] },
    ] } };
    assert.deepEqual(lag(told, []).map(({ topic, group, unread, oldestMs }) => [topic, group, unread, oldestMs]), [["users", "derive", null, 70_000], ["files", "search", 3, 0], ["files", "derive", 0, 0]]);
    const labels = '{topic="files",group="search"}';
    const measured = text(`chat_stream_unread${labels} 3`, `chat_stream_pending${labels} 2`, `chat_stream_oldest_seconds${labels} 1.5`, 'chat_dead_letters{topic="files"} 2', 'chat_dead_letters{topic="users"} 1');
    assert.deepEqual(lag({}, measured), [{ topic: "files", group: "search", unread: 3, pending: 2, oldestMs: 1_500 }]);
    assert.deepEqual([deadLetters(told, measured), deadLetters({}, measured), deadLetters({}, [])], [4, 3, null]);
    assert.deepEqual(lag({ checks: { streams: { status: "degraded" } } }, measured), [], "what is old is not shown as if it were now");
    assert.deepEqual(lag({}, []), []);
  });
  test("checks are in people's words, the worst first", () => {
    const health = { checks: { messages: { status: "ok" }, redis: { status: "degraded", message: "Disconnected" }, mongo: { status: "down", message: "no answer in time" }, streams: { status: "degraded", message: "derive is 61 s behind on files" }, new: { status: "degraded" } } };
    const [mongo, redis, streams, unknown, messages] = checks(health);
    assert.deepEqual([mongo.title, mongo.reason, mongo.effect], ["MongoDB", "does not answer in time", "Messages cannot be read or written."]);
    assert.deepEqual([redis.title, redis.reason], ["Redis", "does not answer"]);
    assert.equal(streams.reason, "derive is 61 s behind on files");
    assert.deepEqual(unknown, { name: "new", title: "new", state: "degraded", reason: "is not well", effect: "" });
    assert.deepEqual(messages, { name: "messages", title: "Messages", state: "ok" });
    const recovery = (message) => checks({ checks: { recovery: { status: "degraded", message } } })[0].reason;
    assert.deepEqual(["degraded", "resyncing"].map((state) => recovery(`${state} since 2026-01-31T12:00:00.000Z`)), ["waits for Redis", "compares what Redis may have lost with the truth"]);
    assert.deepEqual(checks({}), []);
  });
  test("breakers and the cache", () => {
    assert.deepEqual(breakers(text('chat_breaker_open{breaker="users"} 1', 'chat_breaker_open{breaker="files"} 0')), [{ name: "users", open: true }, { name: "files", open: false }]);
    assert.deepEqual([hitRate({ hits: 3, misses: 1 }), hitRate({ hits: 0, misses: 0 }), hitRate()], [0.75, null, null]);
  });
  test("a chart has a round top, breaks where nobody looked, and ends now", () => {
    assert.deepEqual([0, 0.3, 1, 1.2, 4, 7, 10, 11, 2_400].map(roundUp), [1, 1, 1, 2, 5, 10, 10, 20, 5_000]);
    const now = WINDOW_MS * 2;
    const { top, pieces } = plot([{ at: now - WINDOW_MS, value: 0 }, { at: now - WINDOW_MS / 2, value: null }, { at: now - WINDOW_MS / 4, value: 1 }, { at: now, value: 2 }], { now, width: 100, height: 50 });
    assert.deepEqual([top, pieces], [2, [[[0, 50]], [[75, 25], [100, 0]]]]);
    assert.deepEqual(plot([], { now, width: 1, height: 1 }), { top: 1, pieces: [] });
  });
});
