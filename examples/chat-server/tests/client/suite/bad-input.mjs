import assert from "node:assert/strict";
import { Bare, Client, barrier, fresh, http } from "../client.mjs";
import { direct, entry, group, history, people, still, texts, topic } from "./topic.mjs";

const check = topic("bad input");

/** Every request that names something, as it looks with these names. */
const naming = ({ conversationId, messageId, fileId }) => ({
  sendMessage: { conversationId, content: "x" }, editMessage: { messageId, newContent: "x" }, deleteMessage: { messageId, deleteType: "FOR_EVERYONE" },
  reactToMessage: { messageId, emoji: "👍", on: true }, pinMessage: { messageId, on: true }, messageReaders: { messageId },
  markMessageDelivered: { conversationId, upToSeq: 1 }, markMessageRead: { conversationId, upToSeq: 1 }, markUnread: { conversationId, fromSeq: 1 },
  "messages:fullload": { conversationId }, "messages:quickload": { conversationId }, getMessages: { conversationId }, "messages:around": { conversationId, seq: 1 }, getThread: { messageId },
  search: { text: "anything", conversationId }, getConversation: { conversationId }, "conversation:load": { conversationId }, getGroupInfo: { conversationId },
  joinConversation: { conversationId }, leaveConversation: { conversationId }, joinGroup: { conversationId, accept: true }, leaveGroup: { conversationId }, leaveConversationPermanent: { conversationId },
  updateConversation: { conversationId, name: "x" }, archiveConversation: { conversationId, on: true }, muteConversation: { conversationId, on: true }, pinConversation: { conversationId, on: true },
  addParticipant: { conversationId, participantId: "x" }, removeParticipant: { conversationId, participantId: "x" }, setUserRole: { conversationId, targetUserId: "x", role: "admin" },
  typing: { conversationId }, stopTyping: { conversationId }, getConversationOnlineUsers: { conversationId }, subscribeToPresence: { conversationId }, unsubscribeFromPresence: { conversationId },
  registerFile: { conversationId, fileName: "f", mimeType: "text/plain", size: 1 }, downloadFile: { fileId }, deleteFile: { fileId },
});

check("empty and blank texts have their code", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  for (const content of ["", " ", "\n\t ", "\u00a0\u2003"]) assert.equal(await ann.refused("sendMessage", { conversationId, content }), "chat.message.empty", JSON.stringify(content));
  assert.deepEqual(texts(await history(bob, conversationId)), ["hello"]);
});
check("10 000 characters fit, 10 001 do not, whatever their size in bytes", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  for (const one of ["a", "é", "👍"]) {
    await ann.send(conversationId, one.repeat(10_000));
    assert.equal(await ann.refused("sendMessage", { conversationId, content: one.repeat(10_001) }), "chat.message.too_long");
  }
});
check("a lone surrogate escape is refused, and the socket lives on", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const bare = await Bare.open(ann.token);
  const broken = ["\\ud800", "x\\udc00y", "\\ud83d\\ud83d", "\\uD800\\u0041"];
  for (const [id, escape] of broken.entries()) {
    bare.text(`42${id}["sendMessage",{"conversationId":${JSON.stringify(conversationId)},"content":"${escape}"}]`);
    const answer = JSON.parse((await bare.frame((text) => text.startsWith(`43${id}[`))).slice(3));
    assert.deepEqual([answer[0].ok, answer[0].error?.code], [false, "chat.request.invalid"], escape);
  }
  bare.text(`429["sendMessage",{"conversationId":${JSON.stringify(conversationId)},"content":"\\ud83d\\ude00"}]`);
  await bare.frame((text) => text.startsWith("439[") && text.includes('"ok":true'));
  await bob.hears("newMessage", { content: "😀" });
  assert.deepEqual(texts(await history(bob, conversationId)), ["hello", "😀"]);
});
check("ids are opaque: colons, stars, braces and blanks reach nobody else's", async () => {
  const ids = ["a:b", "a*", "*", "{a}", "{}", "a b", "..", "a/b", "__proto__", "é", "x".repeat(100)].map(fresh);
  const odd = await Promise.all(ids.map((id) => Client.connect(id)));
  const [ann] = await people("ann");
  for (const person of odd) {
    const { messageId, conversationId } = await ann.send({ receiverId: person.userId }, `for ${person.userId}`);
    assert.equal((await person.hears("newMessage", { messageId })).content, `for ${person.userId}`);
    assert.equal((await entry(person, conversationId)).unreadCount, 1);
  }
  await barrier(ann, ...odd);
  for (const person of odd) assert.deepEqual(new Set(person.all("newMessage").map(({ content }) => content)), new Set([`for ${person.userId}`, "barrier"]), person.userId);
});
check("an id that is empty, 129 bytes or holds a control character has its code, in every request", async () => {
  const [ann] = await people("ann");
  for (const id of ["", "x".repeat(129), "é".repeat(65), "two\nlines", "nul\u0000", "del\u007f"]) {
    for (const [event, payload] of Object.entries(naming({ conversationId: id, messageId: id, fileId: id }))) {
      assert.equal(await ann.refused(event, payload), "chat.id.invalid", `${event} ${JSON.stringify(id)}`);
    }
    assert.equal(await ann.refused("sendMessage", { receiverId: id, content: "x" }), "chat.id.invalid");
    assert.equal(await ann.refused("createGroup", { name: "x", members: [id] }), "chat.id.invalid");
    assert.equal(await ann.refused("catchUp", { positions: { [id]: 0 } }), "chat.id.invalid");
  }
});
check("an id of the wrong type has its code, in every request", async () => {
  const [ann] = await people("ann");
  for (const id of [7, null, {}, ["x"], true]) {
    for (const [event, payload] of Object.entries(naming({ conversationId: id, messageId: id, fileId: id }))) {
      if (id === null && ["search", "sendMessage"].includes(event)) continue; // there, null is the same as absent
      assert.equal(await ann.refused(event, payload), "chat.request.invalid", `${event} ${JSON.stringify(id)}`);
    }
  }
});
check("the unknown and the invisible are both forbidden, in every request", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await group(ann, bob);
  const { messageId } = await ann.send(conversationId, "private");
  const { file } = await ann.ask("registerFile", { conversationId, fileName: "f", mimeType: "text/plain", size: 1 });
  for (const person of [ann, bob]) await person.hears("newMessage", { messageId });
  const facts = async () => still([await ann.ask("getConversation", { conversationId }), await history(ann, conversationId)]);
  const before = await facts();
  for (const person of [ann, bob]) person.forget();
  for (const ids of [{ conversationId, messageId, fileId: file.fileId }, { conversationId: "no-such", messageId: "no-such", fileId: "no-such" }]) {
    for (const [event, payload] of Object.entries(naming(ids))) assert.equal(await eve.refused(event, payload), "chat.forbidden", `${event} ${JSON.stringify(payload)}`);
  }
  await barrier(eve, ann, bob);
  for (const person of [ann, bob]) assert.deepEqual(person.heard.filter(({ data }) => data?.conversationId === conversationId), [], "members notice nothing");
  assert.deepEqual(await facts(), before, "nothing has changed");
});
check("a non-member's message changes nothing of somebody's conversation", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await direct(ann, bob);
  const before = still(await entry(bob, conversationId));
  for (const more of [{}, { receiverId: bob.userId }, { receiverId: ann.userId, temporaryId: "t" }, { senderId: ann.userId }]) {
    assert.equal(await eve.refused("sendMessage", { conversationId, content: "let me in", ...more }), "chat.forbidden");
  }
  assert.deepEqual(still(await entry(bob, conversationId)), before);
  assert.deepEqual(new Set(before.participants.map(({ userId }) => userId)), new Set([ann.userId, bob.userId]));
  assert.deepEqual(texts(await history(ann, conversationId)), ["hello"]);
});
check("a forged identity in a payload is ignored", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const forged = { userId: ann.userId, senderId: ann.userId, sub: ann.userId, matricule: ann.userId, readerId: ann.userId };
  const { messageId, conversationId } = await eve.send({ receiverId: bob.userId }, "I am Ann", forged);
  assert.equal((await bob.hears("newMessage", { messageId })).senderId, eve.userId);
  await bob.ask("markMessageRead", { conversationId, upToSeq: 1, ...forged });
  assert.equal((await eve.hears("message:status", { conversationId })).userId, bob.userId);
  const private_ = await group(ann, bob);
  assert.equal(await eve.refused("messages:fullload", { conversationId: private_, ...forged }), "chat.forbidden");
});
check("an unknown event is answered", async () => {
  const [ann] = await people("ann");
  for (const event of ["no:such:event", "constructor", "__proto__", "toString", "", "x".repeat(1_000), "newMessage", "SendMessage"]) {
    assert.equal(await ann.refused(event, {}), "chat.request.unknown", event);
  }
});
check("payloads that are no objects are answered", async () => {
  const [ann] = await people("ann");
  for (const payload of [7, "text", true, [], [{}], Buffer.from("binary")]) {
    for (const event of ["sendMessage", "getConversations", "catchUp", "createGroup", "setStatus"]) {
      const answer = await ann.answer(event, payload);
      assert.equal(answer.error?.code, "chat.request.invalid", `${event} ${JSON.stringify(payload)}`);
    }
  }
  assert.equal((await ann.answer("sendMessage", {}, "a second argument")).error.code, "chat.request.invalid");
  assert.equal((await ann.answer("getConversations")).ok, true, "no payload is an empty one");
  assert.equal((await ann.answer("getConversations", null)).ok, true);
});
check("fields of the wrong type are answered", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { messageId } = await ann.send(conversationId, "x");
  const wrong = [
    ["sendMessage", { conversationId, content: 7 }], ["sendMessage", { conversationId, content: { $gt: "" } }], ["sendMessage", { conversationId }], ["sendMessage", { content: "x" }],
    ["sendMessage", { conversationId, content: "x", temporaryId: 7 }], ["sendMessage", { conversationId, content: "x", mentions: "all" }], ["sendMessage", { conversationId, content: "x", attachments: {} }],
    ["editMessage", { messageId }], ["deleteMessage", { messageId, deleteType: "FOR_NOBODY" }], ["reactToMessage", { messageId, emoji: "👍" }], ["reactToMessage", { messageId, emoji: "👍", on: "yes" }],
    ["markMessageRead", { conversationId }], ["markMessageRead", { conversationId, upToSeq: -1 }], ["markMessageRead", { conversationId, upToSeq: 1.5 }], ["markMessageRead", { conversationId, upToSeq: "1" }],
    ["markUnread", { conversationId }], ["catchUp", {}], ["catchUp", { positions: [] }], ["catchUp", { positions: { [conversationId]: "0" } }], ["messages:around", { conversationId }],
    ["createGroup", { members: [] }], ["createGroup", { name: "x", members: "bob" }], ["muteConversation", { conversationId }], ["muteConversation", { conversationId, on: true, until: "soon" }], ["search", {}],
  ];
  for (const [event, payload] of wrong) assert.equal(await ann.refused(event, payload), "chat.request.invalid", `${event} ${JSON.stringify(payload)}`);
});
check("an event without an acknowledgement is handled all the same", async () => {
  const [ann, bob] = await people("ann", "bob");
  ann.socket.emit("sendMessage", { receiverId: bob.userId, content: "no answer, please" });
  await bob.hears("newMessage", { content: "no answer, please" });
});
check("an event above 64 KiB is refused, and the socket lives on", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  assert.equal(await ann.refused("sendMessage", { conversationId, content: "x", padding: "x".repeat(70_000) }), "chat.payload.too_large");
  await ann.send(conversationId, "fine");
});
check("a 10 MB frame ends its socket, and nobody else notices", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await group(ann, bob, eve);
  eve.socket.emit("sendMessage", { conversationId, content: "x".repeat(10_000_000) });
  await eve.hears("(disconnect)", () => true);
  const { messageId } = await ann.send(conversationId, "unharmed");
  await bob.hears("newMessage", { messageId });
  for (const person of [ann, bob]) assert.equal(person.heard.filter(({ name }) => name === "(disconnect)").length, 0);
  assert.equal((await http("GET", "/health")).body.status, "ok");
  assert.deepEqual(texts(await history(bob, conversationId)), ["unharmed"]);
  const back = await Client.connect(eve.userId, { token: eve.token });
  await back.send(conversationId, "and back again");
});
check("garbage frames end their own socket only", async () => {
  const [ann, bob] = await people("ann", "bob");
  for (const garbage of ["49", "42[", "42{}", "hello", "4", "420[", '451-["x",{"_placeholder":true,"num":5}]', '42["sendMessage"'.padEnd(5_000, "[")]) {
    const bare = await Bare.open(ann.token);
    bare.text(garbage);
    bare.text('427["heartbeat",{}]');
    await bare.frame((text) => text.startsWith("437[")).catch((error) => assert.ok(bare.closed, `${garbage.slice(0, 20)}: ${error.message}`));
    bare.close();
  }
  const { messageId } = await ann.send({ receiverId: bob.userId }, "unharmed");
  await bob.hears("newMessage", { messageId });
});
