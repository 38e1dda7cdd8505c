import assert from "node:assert/strict";
import { windowed } from "../client.mjs";
import { direct, group, people, still, texts, tick, topic } from "./topic.mjs";

const check = topic("history");

/** A group with numbered messages; answers their seqs. */
async function numbered(n) {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const seqs = [];
  await windowed(n, 1, async (i) => seqs.push((await ann.send(conversationId, `${i}`)).seq));
  return { ann, bob, conversationId, seqs };
}
const range = (from, to) => Array.from({ length: to - from }, (_, i) => `${from + i}`);

check("pages go back from the newest, without skips or doubles, newest last", async () => {
  const { ann, bob, conversationId } = await numbered(25);
  const first = await bob.ask("messages:fullload", { conversationId, limit: 10 });
  assert.deepEqual([texts(first.messages), first.hasMore], [range(15, 25), true]);
  await ann.send(conversationId, "meanwhile");
  const second = await bob.ask("messages:fullload", { conversationId, limit: 10, cursor: first.nextCursor });
  assert.deepEqual(texts(second.messages), range(5, 15));
  let [page, rest] = [second, []];
  while (page.hasMore) {
    page = await bob.ask("messages:fullload", { conversationId, limit: 10, cursor: page.nextCursor });
    rest = [...texts(page.messages), ...rest];
  }
  assert.deepEqual([rest, page.hasMore], [range(0, 5), false]);
});
check("before, after and around a seq", async () => {
  const { bob, conversationId, seqs } = await numbered(20);
  const load = async (where) => texts((await bob.ask("messages:fullload", { conversationId, limit: 5, ...where })).messages);
  assert.deepEqual(await load({ beforeSeq: seqs[10] }), range(5, 10));
  assert.deepEqual(await load({ afterSeq: seqs[10] }), range(11, 16));
  const forward = await bob.ask("messages:fullload", { conversationId, limit: 5, afterSeq: seqs[10] });
  assert.deepEqual(texts((await bob.ask("messages:fullload", { conversationId, limit: 5, cursor: forward.nextCursor })).messages), range(16, 20));
  const middle = await bob.ask("messages:around", { conversationId, seq: seqs[10], limit: 5 });
  assert.equal(middle.messages.length, 5);
  assert.ok(texts(middle.messages).includes("10"));
  assert.deepEqual([middle.hasBefore, middle.hasAfter], [true, true]);
  const end = await bob.ask("messages:around", { conversationId, seq: seqs[19], limit: 100 });
  assert.deepEqual([texts(end.messages), end.hasAfter], [range(0, 20), false]);
});
check("limits and cursors are checked", async () => {
  const { bob, conversationId } = await numbered(3);
  for (const limit of [0, 101, -1]) assert.match(await bob.refused("messages:fullload", { conversationId, limit }), /^chat\.(page|request)\.invalid$/, `${limit}`);
  for (const limit of ["5", 1.5, {}]) assert.equal(await bob.refused("messages:fullload", { conversationId, limit }), "chat.request.invalid", `${limit}`);
  assert.equal(await bob.refused("messages:fullload", { conversationId, cursor: "made up" }), "chat.cursor.invalid");
  assert.equal(await bob.refused("messages:fullload", { conversationId, cursor: 7 }), "chat.request.invalid");
});
check("the old names answer the same", async () => {
  const { bob, conversationId } = await numbered(25);
  const full = await bob.ask("messages:fullload", { conversationId, limit: 20 });
  assert.deepEqual(await bob.ask("messages:quickload", { conversationId }), full);
  assert.deepEqual(await bob.ask("getMessages", { conversationId, page: 1, limit: 20 }), full);
  const list = still(await bob.ask("getConversations"));
  for (const name of ["conversations:quickload", "conversations:fullload"]) assert.deepEqual(still(await bob.ask(name)), list, name);
  const one = still(await bob.ask("getConversation", { conversationId }));
  for (const name of ["conversation:load", "getGroupInfo"]) assert.deepEqual(still(await bob.ask(name, { conversationId })), one, name);
});
check("the list of conversations: last activity first, in pages, with what a row needs", async () => {
  const [ann, ...others] = await people("ann", "b", "c", "d");
  const made = [];
  for (const other of others) {
    made.push(await direct(other, ann));
    await tick(ann);
  }
  await ann.send(made[0], "back on top");
  const { conversations } = await ann.ask("getConversations");
  assert.deepEqual(conversations.map(({ conversationId }) => conversationId), [made[0], made[2], made[1]]);
  const [top] = conversations;
  assert.deepEqual([top.type, top.lastMessage.content, top.unreadCount, top.participantCount, top.headSeq], ["PRIVATE", "back on top", 0, 2, top.lastMessage.seq]);
  const other = top.participants.find(({ userId }) => userId === others[0].userId);
  assert.equal(other.presence.status, "online");
  const first = await ann.ask("getConversations", { limit: 2 });
  const second = await ann.ask("getConversations", { limit: 2, cursor: first.nextCursor });
  assert.deepEqual([...first.conversations, ...second.conversations].map(({ conversationId }) => conversationId), [made[0], made[2], made[1]]);
  assert.deepEqual([first.hasMore, second.hasMore], [true, false]);
});

const search = topic("search");

search("folds case and accents, wants all words, takes the last as a beginning, newest first", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const other = await group(ann, bob);
  for (const content of ["Un café brûlant à Genève", "cafe noir", "le CAFÉ des brumes", "decaffeinated"]) await ann.send(conversationId, content);
  await tick(ann);
  await ann.send(other, "Café ailleurs");
  const find = async (text, more) => texts((await bob.ask("search", { text, ...more })).messages);
  assert.deepEqual(await find("cafe"), ["Café ailleurs", "le CAFÉ des brumes", "cafe noir", "Un café brûlant à Genève"]);
  assert.deepEqual(await find("CAFÉ br"), ["le CAFÉ des brumes", "Un café brûlant à Genève"]);
  assert.deepEqual(await find("caf noir"), []);
  assert.deepEqual(await find("cafe", { conversationId: other }), ["Café ailleurs"]);
  const first = await bob.ask("search", { text: "cafe", limit: 3 });
  const second = await bob.ask("search", { text: "cafe", limit: 3, cursor: first.nextCursor });
  assert.deepEqual([texts(first.messages).length, texts(second.messages), second.hasMore], [3, ["Un café brûlant à Genève"], false]);
});
search("finds nothing that is not one's own to read", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await direct(ann, bob);
  await ann.send(conversationId, "hidden treasure");
  assert.deepEqual((await eve.ask("search", { text: "treasure" })).messages, []);
  assert.equal(await eve.refused("search", { text: "treasure", conversationId }), "chat.forbidden");
});
search("operators are words, and too little is refused", async () => {
  const [ann, bob] = await people("ann", "bob");
  await ann.send({ receiverId: bob.userId }, "a plain sentence");
  for (const text of ["", "a", "   ", '"-(', "*"]) assert.equal(await bob.refused("search", { text }), "chat.search.too_short", text);
  for (const text of [".*", "^plain$", '{"$ne":""}', "plain -sentence"]) assert.ok((await bob.answer("search", { text })).ok !== undefined, text);
  assert.equal(await bob.refused("search", { text: { $ne: "" } }), "chat.request.invalid");
});
