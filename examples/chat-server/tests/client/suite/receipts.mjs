import assert from "node:assert/strict";
import { Client, barrier } from "../client.mjs";
import { direct, entry, group, history, people, topic } from "./topic.mjs";

const check = topic("receipts");

check("delivered, then read: told once per advance, with who and how far", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  const sent = [];
  for (const content of ["1", "2", "3"]) sent.push(await ann.send(conversationId, content));
  const [first, , third] = sent;
  const delivered = await bob.ask("markMessageDelivered", { conversationId, messageId: third.messageId });
  assert.deepEqual([delivered.upToSeq, delivered.changed], [third.seq, true]);
  const told = await ann.hears("message:status", { userId: bob.userId, status: "DELIVERED" });
  assert.deepEqual([told.conversationId, told.messageId, told.upToSeq], [conversationId, third.messageId, third.seq]);
  assert.equal((await bob.ask("markMessageDelivered", { conversationId, upToSeq: first.seq })).changed, false, "positions only rise");
  await bob.ask("markMessageRead", { conversationId, messageId: first.messageId });
  await bob.ask("markMessageRead", { conversationId, messageId: first.messageId });
  await bob.ask("markMessageRead", { conversationId, upToSeq: 1_000_000 });
  await ann.hears("message:status", { userId: bob.userId, status: "READ", upToSeq: third.seq });
  await barrier(bob, ann);
  assert.deepEqual(ann.all("message:status", { userId: bob.userId, conversationId }).map(({ status, upToSeq }) => [status, upToSeq]),
    [["DELIVERED", third.seq], ["READ", first.seq], ["READ", third.seq]]);
});
check("who has read a message can be asked, and read implies delivered", async () => {
  const [ann, bob, cid, dan] = await people("ann", "bob", "cid", "dan");
  const conversationId = await group(ann, bob, cid, dan);
  const { messageId, seq } = await ann.send(conversationId, "news");
  await bob.ask("markMessageRead", { conversationId, upToSeq: seq });
  await cid.ask("markMessageDelivered", { conversationId, upToSeq: seq });
  const { readBy, deliveredTo } = await dan.ask("messageReaders", { messageId });
  assert.deepEqual([readBy, new Set(deliveredTo)], [[bob.userId], new Set([bob.userId, cid.userId])]);
  const { participants } = (await ann.ask("getConversation", { conversationId })).conversation;
  const of = (person) => participants.find(({ userId }) => userId === person.userId);
  assert.deepEqual([of(bob).readSeq, of(bob).deliveredSeq, of(cid).deliveredSeq, of(ann).readSeq], [seq, seq, seq, seq]);
});
check("a message's status is what all others have done", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  const { messageId, seq } = await ann.send(conversationId, "news");
  const status = async () => (await history(ann, conversationId)).find((message) => message.messageId === messageId).status;
  assert.equal(await status(), "SENT");
  await bob.ask("markMessageRead", { conversationId, upToSeq: seq });
  assert.equal(await status(), "SENT");
  await cid.ask("markMessageDelivered", { conversationId, upToSeq: seq });
  assert.equal(await status(), "DELIVERED");
  await cid.ask("markMessageRead", { conversationId, upToSeq: seq });
  assert.equal(await status(), "READ");
});
check("unread: others' messages count, one's own set it to zero, totals are sums", async () => {
  const [ann, bob] = await people("ann", "bob");
  const [one, two] = [await group(ann, bob), await direct(ann, bob)];
  for (const content of ["1", "2"]) await ann.send(one, content);
  const list = await bob.ask("getConversations");
  assert.deepEqual([list.totalUnreadMessages, list.unreadConversations], [3, 2]);
  assert.deepEqual([(await entry(bob, one)).unreadCount, (await entry(bob, two)).unreadCount], [2, 1]);
  assert.equal((await entry(ann, one)).unreadCount, 0);
  await bob.send(one, "answer");
  const after = await entry(bob, one);
  assert.deepEqual([after.unreadCount, after.totalUnreadMessages], [0, 1]);
});
check("reading on one device clears the badge on the other", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await bob.device();
  const conversationId = await group(ann, bob);
  await ann.send(conversationId, "1");
  const { seq } = await ann.send(conversationId, "2");
  const answer = await bob.ask("markMessageRead", { conversationId, upToSeq: seq });
  assert.deepEqual([answer.unreadCount, answer.mentions, answer.totalUnread], [0, 0, 0]);
  const told = await phone.hears("unread", { conversationId });
  assert.deepEqual([told.unreadCount, told.mentions, told.totalUnread], [0, 0, 0]);
  await barrier(bob, ann);
  assert.equal(ann.all("unread").length, 0, "somebody else's badge is nobody's business");
});
check("reading a part leaves the rest", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  const sent = [];
  for (const content of ["1", "2", "3", "4"]) sent.push(await ann.send(conversationId, content));
  assert.equal((await bob.ask("markMessageRead", { conversationId, upToSeq: sent[2].seq })).unreadCount, 1);
  assert.equal((await bob.ask("markMessageRead", { conversationId, upToSeq: sent[0].seq })).unreadCount, 1, "never back up");
});
check("marking unread is the only way back", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await bob.device();
  const conversationId = await group(ann, bob);
  const sent = [];
  for (const content of ["1", "2", "3"]) sent.push(await ann.send(conversationId, content));
  await bob.ask("markMessageRead", { conversationId, upToSeq: sent[2].seq });
  const answer = await bob.ask("markUnread", { conversationId, fromSeq: sent[1].seq });
  assert.deepEqual([answer.unreadCount, answer.totalUnread], [2, 2]);
  await phone.hears("unread", { conversationId, unreadCount: 2, totalUnread: 2 });
  assert.equal((await entry(bob, conversationId)).unreadCount, 2);
  assert.equal((await bob.ask("markMessageRead", { conversationId, upToSeq: sent[2].seq })).unreadCount, 0, "and reading works again");
});
check("mentions are counted and cleared by reading", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await group(ann, bob, cid);
  await ann.send(conversationId, "hey bob", { mentions: { users: [bob.userId] } });
  const { seq } = await ann.send(conversationId, "everybody!", { mentions: { users: [], everyone: true } });
  assert.deepEqual([(await entry(bob, conversationId)).mentions, (await entry(cid, conversationId)).mentions], [2, 1]);
  assert.equal((await bob.ask("markMessageRead", { conversationId, upToSeq: seq })).mentions, 0);
});
check("muted and archived conversations count for themselves, not in the total", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.send(conversationId, "1");
  for (const event of ["muteConversation", "archiveConversation"]) {
    bob.forget();
    await bob.ask(event, { conversationId, on: true });
    await bob.hears("unread", { conversationId, totalUnread: 0 });
    const muted = await entry(bob, conversationId);
    assert.deepEqual([muted.unreadCount, muted.totalUnreadMessages], [1, 0]);
    await bob.ask(event, { conversationId, on: false });
    assert.equal((await entry(bob, conversationId)).totalUnreadMessages, 1);
  }
});
check("counts survive a reconnect", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.send(conversationId, "1");
  bob.close();
  await ann.send(conversationId, "2");
  const back = await Client.connect(bob.userId, { token: bob.token });
  assert.equal((await entry(back, conversationId)).unreadCount, 2);
});
