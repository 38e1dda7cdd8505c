import assert from "node:assert/strict";
import { Client, barrier, deadline, fresh } from "../client.mjs";
import { direct, group, people, topic } from "./topic.mjs";

const check = topic("presence");

/** How one person sees another in a conversation. */
async function seen(viewer, conversationId, person) {
  const { conversation } = await viewer.ask("getConversation", { conversationId });
  return conversation.participants.find(({ userId }) => userId === person.userId).presence;
}

check("two devices: online once, offline once, after the last has gone", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  bob.close();
  await ann.hears("user_offline", { userId: bob.userId });
  ann.forget();
  const phone = await Client.connect(bob.userId, { token: bob.token });
  const online = await ann.hears("user_online", { userId: bob.userId });
  assert.equal(online.status, "online");
  const tablet = await phone.device();
  assert.equal((await seen(ann, conversationId, bob)).devices, 2);
  phone.close();
  await barrier(tablet, ann);
  assert.equal((await seen(ann, conversationId, bob)).status, "online", "one device is enough");
  tablet.close();
  await ann.hears("user_offline", { userId: bob.userId });
  assert.equal(ann.all("user_online", { userId: bob.userId }).length, 1);
  assert.equal(ann.all("user_offline", { userId: bob.userId }).length, 1);
  assert.equal((await seen(ann, conversationId, bob)).status, "offline");
});
check("only people who share a conversation hear of it, and nobody of themselves", async () => {
  const [ann, bob, stranger] = await people("ann", "bob", "stranger");
  await direct(ann, bob);
  await direct(ann, stranger);
  bob.close();
  await ann.hears("user_offline", { userId: bob.userId });
  const back = await Client.connect(bob.userId, { token: bob.token });
  await ann.hears("user_online", { userId: bob.userId });
  await barrier(ann, stranger, back);
  assert.equal(stranger.heard.filter(({ data }) => data?.userId === bob.userId).length, 0);
  assert.equal(back.heard.filter(({ name, data }) => name.startsWith("user_") && data.userId === bob.userId).length, 0);
});
check("away, do not disturb, invisible: others see what one chooses", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  await bob.ask("setStatus", { status: "away" });
  await ann.hears("user_idle", { userId: bob.userId });
  await bob.ask("setStatus", { status: "dnd" });
  await ann.hears("user_online", { userId: bob.userId, status: "dnd" });
  await bob.ask("setStatus", { status: "invisible" });
  await ann.hears("user_offline", { userId: bob.userId });
  assert.equal((await seen(ann, conversationId, bob)).status, "offline");
  assert.equal((await seen(bob, conversationId, bob)).status, "invisible", "oneself sees the truth");
  assert.equal((await ann.ask("getConversationOnlineUsers", { conversationId })).onlineCount, 1);
  await bob.ask("setStatus", { status: "online" });
  await ann.hears("user_online", { userId: bob.userId, status: "online" });
  assert.equal(await bob.refused("setStatus", { status: "asleep" }), "chat.request.invalid");
});
check("an invisible person comes and goes unseen", async () => {
  const [ann, bob] = await people("ann", "bob");
  await direct(ann, bob);
  await bob.ask("setStatus", { status: "invisible" });
  await ann.hears("user_offline", { userId: bob.userId });
  ann.forget();
  bob.close();
  const back = await Client.connect(bob.userId, { token: bob.token });
  await barrier(back, ann);
  assert.equal(ann.heard.filter(({ name, data }) => name.startsWith("user_") && data.userId === bob.userId).length, 0);
});
check("who may know when somebody was last here is that person's choice", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  await bob.ask("setPrivacy", { lastSeen: "nobody" });
  bob.close();
  assert.equal((await ann.hears("user_offline", { userId: bob.userId })).lastActive, undefined);
  assert.equal((await seen(ann, conversationId, bob)).lastActive, undefined);
  ann.forget();
  const back = await Client.connect(bob.userId, { token: bob.token });
  await back.ask("setPrivacy", { lastSeen: "everyone" });
  back.close();
  await ann.hears("user_offline", { userId: bob.userId });
  assert.match((await seen(ann, conversationId, bob)).lastActive, /Z$/);
  assert.equal(await ann.refused("setPrivacy", { lastSeen: "enemies" }), "chat.request.invalid");
});
check("who is online in a conversation, by all three names", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob, { userId: fresh("absent"), hears: async () => {} });
  for (const event of ["getConversationOnlineUsers", "subscribeToPresence", "unsubscribeFromPresence"]) {
    const { online, onlineCount, totalCount, userRole } = await ann.ask(event, { conversationId });
    assert.deepEqual([new Set(online.map(({ userId }) => userId)), onlineCount, totalCount, userRole], [new Set([ann.userId, bob.userId]), 2, 3, "admin"], event);
  }
  const { conversations } = await bob.ask("getConversationsWithPresence");
  assert.deepEqual(conversations.map((one) => [one.conversationId, one.onlineCount, one.totalCount]), [[conversationId, 2, 3]]);
});
check("the whole platform's numbers are for its admins", async () => {
  const [ann] = await people("ann");
  assert.equal(await ann.refused("getPresenceDashboard"), "chat.forbidden");
});
check("heartbeat and ping answer", async () => {
  const [ann] = await people("ann");
  for (const event of ["heartbeat", "ping"]) assert.match((await ann.ask(event, { clientTime: 1 })).serverTime, /Z$/);
});

const typing = topic("typing");

typing("starts once, renews silently, and ends by itself exactly once after 6 s", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await ann.device();
  const conversationId = await group(ann, bob);
  assert.equal((await ann.ask("typing", { conversationId })).expiresInMs, 6_000);
  const started = Date.now();
  for (let i = 0; i < 3; i++) await ann.ask("typing", { conversationId, event: "typing:refresh" });
  await bob.hears("userTyping", { userId: ann.userId, conversationId });
  await deadline("the timeout", bob.hears("userStoppedTyping", { userId: ann.userId, conversationId }), 12_000);
  assert.ok(Date.now() - started > 5_000, `ended after ${Date.now() - started} ms`);
  await ann.ask("stopTyping", { conversationId });
  await barrier(ann, bob);
  assert.deepEqual([bob.all("userTyping").length, bob.all("userStoppedTyping").length], [1, 1]);
  for (const device of [ann, phone]) assert.equal(device.all("userTyping").length, 0, "nobody hears of one's own typing");
});
typing("a stop ends it exactly once", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.ask("typing", { conversationId });
  for (let i = 0; i < 3; i++) await ann.ask("stopTyping", { conversationId });
  await bob.hears("userStoppedTyping", { userId: ann.userId, conversationId });
  await barrier(ann, bob);
  assert.equal(bob.all("userStoppedTyping").length, 1);
});
typing("a message ends it, and no second end follows", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.ask("typing", { conversationId });
  await ann.send(conversationId, "done");
  await bob.hears("userStoppedTyping", { userId: ann.userId, conversationId });
  await ann.ask("stopTyping", { conversationId });
  await barrier(ann, bob);
  assert.equal(bob.all("userStoppedTyping").length, 1);
});
typing("going offline ends it", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.ask("typing", { conversationId });
  await bob.hears("userTyping", { userId: ann.userId });
  ann.close();
  await bob.hears("userStoppedTyping", { userId: ann.userId, conversationId });
});
typing("is for members", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await group(ann, bob);
  for (const event of ["typing", "stopTyping"]) assert.equal(await eve.refused(event, { conversationId }), "chat.forbidden");
  await barrier(ann, bob);
  assert.equal(bob.all("userTyping").length, 0);
});
