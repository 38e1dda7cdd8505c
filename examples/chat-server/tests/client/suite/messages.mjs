import assert from "node:assert/strict";
import { barrier, windowed } from "../client.mjs";
import { direct, entry, group, history, people, texts, topic, written } from "./topic.mjs";

const check = topic("messages");

check("a direct message reaches both, and its temporaryId only its sender", async () => {
  const [ann, bob] = await people("ann", "bob");
  const tablet = await ann.device();
  const sent = await ann.send({ receiverId: bob.userId }, "hello", { temporaryId: "t-1" });
  assert.equal(sent.temporaryId, "t-1");
  assert.match(sent.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  const { messageId, conversationId, seq } = sent;
  for (const device of [ann, tablet]) assert.equal((await device.hears("newMessage", { messageId })).temporaryId, "t-1");
  const heard = await bob.hears("newMessage", { messageId });
  assert.equal(heard.temporaryId, undefined);
  const { senderId, content, type, status, timestamp } = heard;
  assert.deepEqual([heard.conversationId, heard.seq, senderId, content, type, status, timestamp], [conversationId, seq, ann.userId, "hello", "TEXT", "SENT", sent.timestamp]);
  const names = bob.heard.map(({ name }) => name);
  assert.ok(names.indexOf("conversation:created") < names.indexOf("newMessage"), "the conversation is announced first");
});
check("two people have one direct conversation, even if both begin at once", async () => {
  const [ann, bob] = await people("ann", "bob");
  const sent = await Promise.all([ann, bob, ann, bob].map((person, i) => person.send({ receiverId: (person === ann ? bob : ann).userId }, `${i}`)));
  assert.equal(new Set(sent.map(({ conversationId }) => conversationId)).size, 1);
  assert.equal(new Set(sent.map(({ seq }) => seq)).size, 4);
  assert.equal((await ann.ask("getConversations")).conversations.length, 1);
});
check("200 messages of two writers: everybody sees the same gapless order", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  const write = (person, letter) => windowed(100, 16, (i) => person.send(conversationId, `${letter}${i}`));
  const [a, b] = await Promise.all([write(ann, "a"), write(bob, "b")]);
  for (const own of [a, b]) assert.deepEqual(own.map(({ seq }) => seq), own.map(({ seq }) => seq).sort((x, y) => x - y), "a writer's own order");
  const last = Math.max(...[...a, ...b].map(({ seq }) => seq));
  const stored = await history(ann, conversationId);
  assert.deepEqual(stored.map(({ seq }) => seq), Array.from({ length: last }, (_, i) => i + 1), "no gap");
  for (const person of [ann, bob, cid]) {
    await person.hears("newMessage", { conversationId, seq: last });
    const heard = person.all("newMessage", { conversationId });
    assert.deepEqual(heard.map(({ seq }) => seq), stored.filter(({ seq }) => seq >= heard[0].seq).map(({ seq }) => seq), `${person.userId} in order, each once`);
    assert.deepEqual(texts(heard), texts(stored));
  }
});
check("the same temporaryId is one message; with other content a conflict", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const again = { conversationId, content: "once", temporaryId: "same" };
  const answers = await Promise.all([1, 2, 3].map(() => ann.ask("sendMessage", again)));
  answers.push(await (await ann.device()).ask("sendMessage", again));
  assert.equal(new Set(answers.map(({ messageId }) => messageId)).size, 1);
  assert.equal(await ann.refused("sendMessage", { ...again, content: "other" }), "chat.client_key.conflict");
  await bob.ask("sendMessage", again); // another sender's keys are another matter
  await barrier(ann, bob);
  assert.equal(bob.all("newMessage", { conversationId, senderId: ann.userId }).length, 1);
  assert.deepEqual(texts(await history(bob, conversationId)), ["once", "once"]);
});
check("text is kept exactly as written", async () => {
  const [ann, bob] = await people("ann", "bob");
  for (const content of ["  spaces  ", "two\nlines\ttab", "👩‍👩‍👧 é\u0301 \u202e ا", "<b>&amp;</b>", '{"$ne":null}', "\u0000\u0001", "a".repeat(10_000), "👍".repeat(10_000)]) {
    const { messageId } = await ann.send({ receiverId: bob.userId }, content);
    assert.equal((await bob.hears("newMessage", { messageId })).content, content);
  }
});
check("an edit changes text and revision for everybody, once per edit", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { messageId } = await ann.send(conversationId, "first");
  const { revision, editedAt } = await ann.ask("editMessage", { messageId, newContent: "second", expectedRevision: 0 });
  assert.equal(revision, 1);
  for (const person of [ann, bob]) {
    const heard = await person.hears("message:edited", { messageId });
    assert.deepEqual([heard.conversationId, heard.newContent, heard.revision, heard.editedBy, heard.editedAt], [conversationId, "second", 1, ann.userId, editedAt]);
  }
  assert.equal(await ann.refused("editMessage", { messageId, newContent: "stale", expectedRevision: 0 }), "chat.edit.conflict");
  assert.equal(await bob.refused("editMessage", { messageId, newContent: "mine now" }), "chat.forbidden");
  assert.equal(await ann.refused("editMessage", { messageId, newContent: " " }), "chat.message.empty");
  assert.equal(await ann.refused("editMessage", { messageId, newContent: "x".repeat(10_001) }), "chat.message.too_long");
  const stored = (await history(bob, conversationId)).at(-1);
  assert.deepEqual([stored.content, stored.revision, stored.editedAt], ["second", 1, editedAt]);
  await barrier(ann, bob);
  assert.equal(bob.all("message:edited").length, 1);
});
check("deleted for me: gone for me alone, on all my devices", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { messageId } = await ann.send(conversationId, "secret");
  await bob.hears("newMessage", { messageId });
  const tablet = await bob.device();
  await bob.ask("deleteMessage", { messageId, deleteType: "FOR_ME" });
  await tablet.hears("message:deleted", { messageId, deleteType: "FOR_ME" });
  await barrier(bob, ann);
  assert.equal(ann.all("message:deleted").length, 0);
  assert.ok(!texts(await history(bob, conversationId)).includes("secret"));
  assert.ok(texts(await history(ann, conversationId)).includes("secret"));
  assert.deepEqual((await bob.ask("search", { text: "secret" })).messages, []);
});
check("deleted for everyone: a tombstone keeps the place, the text is nowhere", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { messageId, seq } = await ann.send(conversationId, "regrettable words");
  await bob.hears("newMessage", { messageId });
  await ann.ask("deleteMessage", { messageId, deleteType: "FOR_EVERYONE" });
  for (const person of [ann, bob]) {
    const heard = await person.hears("message:deleted", { messageId });
    assert.deepEqual([heard.conversationId, heard.seq, heard.deleteType, heard.deletedBy], [conversationId, seq, "FOR_EVERYONE", ann.userId]);
  }
  await ann.ask("deleteMessage", { messageId, deleteType: "FOR_EVERYONE" }); // again: the same
  for (const person of [ann, bob]) {
    const stored = (await history(person, conversationId)).find((message) => message.messageId === messageId);
    assert.deepEqual([stored.seq, stored.content, stored.deleted.by], [seq, "", ann.userId]);
    assert.deepEqual((await person.ask("search", { text: "regrettable" })).messages, []);
  }
  assert.equal(await ann.refused("editMessage", { messageId, newContent: "back" }), "chat.message.deleted");
  assert.equal(await bob.refused("reactToMessage", { messageId, emoji: "👍", on: true }), "chat.message.deleted");
  await barrier(ann, bob);
  assert.equal(bob.all("message:deleted").length, 1);
});
check("only the sender and moderators delete for everyone", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  const { messageId } = await bob.send(conversationId, "by bob");
  assert.equal(await cid.refused("deleteMessage", { messageId, deleteType: "FOR_EVERYONE" }), "chat.forbidden");
  await ann.ask("setUserRole", { conversationId, targetUserId: cid.userId, role: "moderator" });
  await cid.ask("deleteMessage", { messageId, deleteType: "FOR_EVERYONE" });
  await bob.hears("message:deleted", { messageId, deletedBy: cid.userId });
});
check("a deleted unread message lowers the count by exactly one, once", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const sent = [];
  for (const content of ["1", "2", "3"]) sent.push(await ann.send(conversationId, content));
  assert.equal((await entry(bob, conversationId)).unreadCount, 3);
  for (let i = 0; i < 2; i++) await ann.ask("deleteMessage", { messageId: sent[1].messageId, deleteType: "FOR_EVERYONE" });
  const told = await bob.hears("unread", { conversationId });
  assert.deepEqual([told.unreadCount, told.totalUnread], [2, 2]);
  assert.equal((await entry(bob, conversationId)).unreadCount, 2);
});
check("reactions are a set per person and emoji; a repeat is no news", async () => {
  const [ann, bob] = await people("ann", "bob");
  const { messageId, conversationId } = await ann.send({ receiverId: bob.userId }, "nice?");
  const react = (person, emoji, on) => person.ask("reactToMessage", { messageId, emoji, on });
  assert.equal((await react(bob, "👍", true)).count, 1);
  assert.equal((await react(bob, "👍", true)).count, 1);
  assert.equal((await react(ann, "👍", true)).count, 2);
  await react(ann, "👩‍👩‍👧", true);
  await react(bob, ":custom_1:", true);
  assert.equal((await react(ann, "👍", false)).count, 1);
  await react(ann, "👍", false);
  await ann.hears("message:reaction", { messageId, userId: ann.userId, emoji: "👍", on: false, count: 1 });
  await barrier(ann, bob);
  assert.deepEqual(bob.all("message:reaction", { messageId }).map(({ userId, emoji, on }) => [userId === bob.userId, emoji, on]), [
    [true, "👍", true], [false, "👍", true], [false, "👩‍👩‍👧", true], [true, ":custom_1:", true], [false, "👍", false],
  ]);
  const { reactions } = (await history(bob, conversationId)).find((message) => message.messageId === messageId);
  assert.deepEqual(reactions, [{ emoji: "👍", users: [bob.userId] }, { emoji: "👩‍👩‍👧", users: [ann.userId] }, { emoji: ":custom_1:", users: [bob.userId] }]);
  for (const emoji of ["", "no", "👍👍", "<b>", "a".repeat(40)]) assert.equal(await bob.refused("reactToMessage", { messageId, emoji, on: true }), "chat.message.invalid", emoji);
});
check("a reply quotes a message of the same conversation, and no other", async () => {
  const [ann, bob] = await people("ann", "bob");
  const first = await ann.send({ receiverId: bob.userId }, "question");
  const reply = await bob.send(first.conversationId, "answer", { replyTo: first.messageId });
  assert.equal((await ann.hears("newMessage", { messageId: reply.messageId })).replyTo, first.messageId);
  const elsewhere = await group(ann, bob);
  for (const replyTo of [first.messageId, "no-such-message"]) assert.equal(await bob.refused("sendMessage", { conversationId: elsewhere, content: "x", replyTo }), "chat.message.not_found");
});
check("thread replies hang on their root, in order, and are counted there", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const root = await ann.send(conversationId, "root");
  const first = await bob.send(conversationId, "r1", { thread: { root: root.messageId } });
  await ann.send(conversationId, "r2", { thread: { root: first.messageId, alsoInConversation: true } }); // a reply to a reply joins the thread
  for (let i = 3; i <= 5; i++) await bob.send(conversationId, `r${i}`, { thread: { root: root.messageId } });
  const heard = await bob.hears("newMessage", { content: "r2" });
  assert.deepEqual(heard.thread, { root: root.messageId, alsoInConversation: true });
  const page = await ann.ask("getThread", { messageId: root.messageId, limit: 3 });
  assert.deepEqual([page.root.content, texts(page.messages), page.hasMore, page.root.replies.replies], ["root", ["r1", "r2", "r3"], true, 5]);
  const rest = await ann.ask("getThread", { messageId: first.messageId, limit: 3, cursor: page.nextCursor });
  assert.deepEqual([rest.root.messageId, texts(rest.messages), rest.hasMore], [root.messageId, ["r4", "r5"], false]);
  await bob.ask("deleteMessage", { messageId: first.messageId, deleteType: "FOR_EVERYONE" });
  assert.equal((await ann.ask("getThread", { messageId: root.messageId })).root.replies.replies, 4);
  const elsewhere = await group(ann, bob);
  assert.equal(await bob.refused("sendMessage", { conversationId: elsewhere, content: "x", thread: { root: root.messageId } }), "chat.message.not_found");
});
check("pins are told to everybody and listed; members of a group may not pin", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const { messageId } = await bob.send(conversationId, "important");
  assert.equal(await bob.refused("pinMessage", { messageId, on: true }), "chat.forbidden");
  await ann.ask("pinMessage", { messageId, on: true });
  await bob.hears("conversation:updated", ({ changes }) => changes.pinnedMessage?.messageId === messageId && changes.pinnedMessage.on);
  assert.deepEqual(texts((await bob.ask("getConversation", { conversationId })).pinnedMessages), ["important"]);
  await ann.ask("pinMessage", { messageId, on: false });
  await bob.hears("conversation:updated", ({ changes }) => changes.pinnedMessage?.on === false);
  assert.deepEqual((await bob.ask("getConversation", { conversationId })).pinnedMessages, []);
  const small = await ann.send({ receiverId: bob.userId }, "between us");
  await bob.ask("pinMessage", { messageId: small.messageId, on: true });
});
check("types, metadata and silence travel along; SYSTEM is the server's", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const { messageId } = await ann.send(conversationId, "47.37,8.54", { type: "LOCATION", silent: true, metadata: { zoom: "12" } });
  const heard = await bob.hears("newMessage", { messageId });
  assert.deepEqual([heard.type, heard.silent, heard.metadata], ["LOCATION", true, { zoom: "12" }]);
  assert.equal((await entry(bob, conversationId)).unreadCount, 0, "silent messages are not unread");
  for (const type of ["SYSTEM", "NOTHING", 7]) assert.match(await ann.refused("sendMessage", { conversationId, content: "x", type }), /^chat\.(request|message)\.invalid$/);
});
check("one person's devices all see what that person does", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await ann.device();
  const conversationId = await direct(ann, bob);
  const { messageId } = await phone.send(conversationId, "from the phone");
  await ann.hears("newMessage", { messageId });
  await ann.ask("editMessage", { messageId, newContent: "from both" });
  await phone.hears("message:edited", { messageId, newContent: "from both" });
  assert.equal(written(phone.all("newMessage", { messageId })).length, 1);
});
