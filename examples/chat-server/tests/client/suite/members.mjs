import assert from "node:assert/strict";
import { Client, barrier, fresh } from "../client.mjs";
import { direct, entry, group, history, people, texts, topic } from "./topic.mjs";

const check = topic("members");

/** Somebody's role, as everybody sees it. */
async function roleOf(viewer, conversationId, person) {
  const { conversation } = await viewer.ask("getConversation", { conversationId });
  return conversation.participants.find(({ userId }) => userId === person.userId)?.role;
}

check("a group: its maker is admin, everybody hears of it, repeats are one", async () => {
  const [ann, bob] = await people("ann", "bob");
  const { conversationId } = await ann.ask("createGroup", { name: "Team", members: [bob.userId, bob.userId, ann.userId] });
  for (const person of [ann, bob]) {
    const heard = await person.hears("conversation:created", { conversationId });
    assert.deepEqual([heard.name, heard.type, heard.createdBy, new Set(heard.participants)], ["Team", "GROUP", ann.userId, new Set([ann.userId, bob.userId])]);
  }
  const { conversation } = await bob.ask("getConversation", { conversationId });
  assert.deepEqual([conversation.name, conversation.type, conversation.participantCount, conversation.role, conversation.unreadCount], ["Team", "GROUP", 2, "member", 0]);
  assert.deepEqual([await roleOf(bob, conversationId, ann), await roleOf(bob, conversationId, bob)], ["admin", "member"]);
});
check("a group id of one's own makes one group, however often", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const groupId = fresh("my:group*{}");
  const wish = { name: "Mine", members: [bob.userId], groupId };
  for (let i = 0; i < 2; i++) assert.equal((await ann.ask("createGroup", wish)).conversationId, groupId);
  assert.equal(await ann.refused("createGroup", { ...wish, name: "Other" }), "chat.conflict");
  assert.match(await eve.refused("createGroup", { ...wish, members: [] }), /^chat\.(forbidden|conflict)$/);
  assert.equal((await bob.ask("getConversation", { conversationId: groupId })).conversation.name, "Mine");
  assert.equal(await eve.refused("getConversation", { conversationId: groupId }), "chat.forbidden");
});
check("names have 1 to 100 characters", async () => {
  const [ann] = await people("ann");
  for (const name of ["", "   ", "x".repeat(101)]) assert.equal(await ann.refused("createGroup", { name, members: [] }), "chat.conversation.invalid");
  await ann.ask("createGroup", { name: "é".repeat(100), members: [] });
});
check("roles are given by admins, seen by everybody, and told once", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  for (let i = 0; i < 2; i++) await ann.ask("setUserRole", { conversationId, targetUserId: bob.userId, role: "moderator" });
  for (const person of [ann, bob, cid]) {
    const heard = await person.hears("role:updated", { conversationId });
    assert.deepEqual([heard.targetUserId, heard.role, heard.updatedBy], [bob.userId, "moderator", ann.userId]);
  }
  assert.equal(await roleOf(cid, conversationId, bob), "moderator");
  await barrier(ann, cid);
  assert.equal(cid.all("role:updated").length, 1);
  for (const person of [bob, cid]) assert.equal(await person.refused("setUserRole", { conversationId, targetUserId: cid.userId, role: "admin" }), "chat.forbidden");
  assert.equal(await ann.refused("setUserRole", { conversationId, targetUserId: bob.userId, role: "king" }), "chat.request.invalid");
  assert.equal(await ann.refused("setUserRole", { conversationId, targetUserId: fresh("outsider"), role: "admin" }), "chat.room.not_member");
});
check("the last admin stays while others are in", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  assert.equal(await ann.refused("leaveGroup", { conversationId }), "chat.member.last_admin");
  assert.equal(await ann.refused("setUserRole", { conversationId, targetUserId: ann.userId, role: "member" }), "chat.member.last_admin");
  await ann.ask("setUserRole", { conversationId, targetUserId: bob.userId, role: "admin" });
  await ann.ask("leaveGroup", { conversationId });
  assert.equal(await roleOf(bob, conversationId, bob), "admin");
  await bob.ask("leaveGroup", { conversationId }); // nobody is left behind
});
check("somebody removed gets nothing more, and may nothing more", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const phone = await bob.device();
  const conversationId = await group(ann, bob, cid);
  const { messageId, seq } = await ann.send(conversationId, "before");
  await bob.hears("newMessage", { messageId });
  assert.deepEqual((await ann.ask("removeParticipant", { conversationId, participantId: bob.userId })).removed, [bob.userId]);
  for (const person of [ann, bob, phone, cid]) {
    const heard = await person.hears("participant:removed", { conversationId });
    assert.deepEqual([heard.participantIds, heard.removedBy], [[bob.userId], ann.userId]);
  }
  for (const device of [bob, phone]) device.forget();
  await ann.send(conversationId, "after");
  await cid.ask("typing", { conversationId });
  await cid.ask("reactToMessage", { messageId, emoji: "👍", on: true });
  await ann.ask("updateConversation", { conversationId, name: "Without Bob" });
  await cid.hears("conversation:updated", { conversationId });
  await barrier(ann, bob);
  for (const device of [bob, phone]) assert.deepEqual(device.heard.filter(({ data }) => data?.conversationId === conversationId), []);
  const requests = {
    sendMessage: { conversationId, content: "x" }, "messages:fullload": { conversationId }, "messages:around": { conversationId, seq }, getConversation: { conversationId },
    getThread: { messageId }, editMessage: { messageId, newContent: "x" }, deleteMessage: { messageId }, reactToMessage: { messageId, emoji: "👍", on: true }, messageReaders: { messageId },
    markMessageRead: { conversationId, upToSeq: seq }, typing: { conversationId }, muteConversation: { conversationId, on: true }, addParticipant: { conversationId, participantId: bob.userId },
    search: { text: "before", conversationId }, leaveGroup: { conversationId }, registerFile: { conversationId, fileName: "f", mimeType: "text/plain", size: 1 },
  };
  for (const [event, payload] of Object.entries(requests)) assert.equal(await bob.refused(event, payload), "chat.forbidden", event);
  assert.deepEqual((await bob.ask("search", { text: "before" })).messages, []);
  assert.equal((await bob.ask("getConversations")).conversations.some((one) => one.conversationId === conversationId), false);
  const back = await Client.connect(bob.userId, { token: bob.token });
  await ann.send(conversationId, "still after");
  await barrier(ann, back);
  assert.equal(back.all("newMessage", { conversationId }).length, 0, "nor after a reconnect");
});
check("sends racing with a removal: none accepted afterwards, none seen by the removed afterwards", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const attempts = Array.from({ length: 50 }, (_, i) => bob.answer("sendMessage", { conversationId, content: `${i}` }));
  await ann.ask("removeParticipant", { conversationId, participantId: bob.userId });
  const stored = texts(await history(ann, conversationId)).length;
  assert.equal(await bob.refused("sendMessage", { conversationId, content: "late" }), "chat.forbidden");
  const answers = await Promise.all(attempts);
  assert.ok(answers.every(({ ok, error }) => ok || error.code === "chat.forbidden"));
  assert.equal(answers.filter(({ ok }) => ok).length, stored);
  assert.equal(texts(await history(ann, conversationId)).length, stored);
});
check("members may not remove; moderators may remove members, not admins", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  assert.equal(await cid.refused("removeParticipant", { conversationId, participantId: bob.userId }), "chat.forbidden");
  await ann.ask("setUserRole", { conversationId, targetUserId: bob.userId, role: "moderator" });
  assert.equal(await bob.refused("removeParticipant", { conversationId, participantId: ann.userId }), "chat.forbidden");
  await bob.ask("removeParticipant", { conversationId, participantId: [cid.userId] });
  assert.deepEqual((await bob.ask("removeParticipant", { conversationId, participantId: cid.userId })).removed, [], "already out");
});
check("a newcomer is announced, may read the past, and has nothing unread", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob);
  for (const content of ["1", "2"]) await ann.send(conversationId, content);
  assert.deepEqual((await ann.ask("addParticipant", { conversationId, participantId: [cid.userId, bob.userId] })).added, [cid.userId]);
  await cid.hears("conversation:created", { conversationId });
  for (const person of [ann, bob, cid]) assert.deepEqual((await person.hears("participant:added", { conversationId })).participantIds, [cid.userId]);
  assert.deepEqual(texts(await history(cid, conversationId)), ["1", "2"]);
  assert.equal((await entry(cid, conversationId)).unreadCount, 0);
  await ann.send(conversationId, "3");
  await cid.hears("newMessage", { content: "3" });
  assert.equal((await entry(cid, conversationId)).unreadCount, 1);
  assert.deepEqual((await ann.ask("addParticipant", { conversationId, participantId: cid.userId })).added, [], "already in");
});
check("leaving is told to the others and to one's own devices", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await bob.device();
  for (const event of ["leaveGroup", "leaveConversationPermanent"]) {
    const conversationId = await group(ann, bob);
    await bob.ask(event, { conversationId });
    for (const person of [ann, bob, phone]) assert.equal((await person.hears("participant:left", { conversationId })).userId, bob.userId);
    assert.equal(await bob.refused("sendMessage", { conversationId, content: "x" }), "chat.forbidden");
  }
});
check("joining and leaving a view changes no membership", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await group(ann, bob);
  assert.equal((await bob.ask("joinConversation", { conversationId })).conversation.conversationId, conversationId);
  await bob.ask("joinGroup", { conversationId, accept: true });
  await bob.ask("leaveConversation", { conversationId });
  const { messageId } = await ann.send(conversationId, "still in?");
  await bob.hears("newMessage", { messageId });
  for (const event of ["joinConversation", "joinGroup", "leaveConversation"]) assert.equal(await eve.refused(event, { conversationId }), "chat.forbidden", event);
});
check("200 members fit, one more does not, nor when many are added at once", async () => {
  const [ann] = await people("ann");
  const ids = (n) => Array.from({ length: n }, () => fresh("m"));
  assert.equal(await ann.refused("createGroup", { name: "Big", members: ids(200) }), "chat.member.limit");
  const { conversationId } = await ann.ask("createGroup", { name: "Big", members: ids(190) });
  const answers = await Promise.all(ids(30).map((participantId) => ann.answer("addParticipant", { conversationId, participantId })));
  assert.equal(answers.filter(({ ok }) => ok).length, 9);
  assert.ok(answers.every(({ ok, error }) => ok || error.code === "chat.member.limit"));
  assert.equal((await ann.ask("getConversation", { conversationId })).conversation.participantCount, 200);
});
check("a broadcast list: admins write, recipients read and react", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const { conversationId } = await ann.ask("createBroadcast", { name: "News", recipients: [bob.userId], admins: [cid.userId] });
  await bob.hears("conversation:created", { conversationId, type: "BROADCAST" });
  const { messageId } = await cid.send(conversationId, "hear, hear");
  await bob.hears("newMessage", { messageId });
  await bob.ask("reactToMessage", { messageId, emoji: "👏", on: true });
  assert.equal(await bob.refused("sendMessage", { conversationId, content: "me too" }), "chat.forbidden");
});
check("a direct conversation has two people, for ever", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const invalid = /^chat\.(conversation\.invalid|forbidden)$/;
  assert.match(await ann.refused("addParticipant", { conversationId, participantId: fresh("third") }), invalid);
  assert.match(await ann.refused("removeParticipant", { conversationId, participantId: bob.userId }), invalid);
  assert.match(await ann.refused("leaveGroup", { conversationId }), invalid);
  assert.equal(await ann.refused("sendMessage", { receiverId: ann.userId, content: "me" }), "chat.conversation.invalid");
});
