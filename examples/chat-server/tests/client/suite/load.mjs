import assert from "node:assert/strict";
import { Bare, Client, DEADLINE, deadline, fresh, http, tokenFor, windowed } from "../client.mjs";
import { direct, group, history, people, topic, written } from "./topic.mjs";

const check = topic("load");

check("the first event, sent at once, is never lost: 100 connections", async () => {
  const token = await tokenFor(fresh("ann"));
  for (let round = 0; round < 10; round++) {
    const clients = Array.from({ length: 10 }, () => new Client("ann", token));
    await Promise.all(clients.map(async (client) => {
      const answer = client.answer("getConversations", {}); // before the connection is there
      assert.equal((await answer).ok, true);
    }));
    for (const client of clients) client.close();
  }
  for (let i = 0; i < 20; i++) { // and straight after CONNECT, on a bare wire
    const bare = await Bare.open(token);
    bare.text('420["heartbeat",{}]');
    await bare.frame((text) => text.startsWith("430["));
    bare.close();
  }
});
check("2 000 events of one socket are handled and answered in order", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const answered = [];
  const answers = await windowed(2_000, 64, async (i) => {
    const answer = await ann.answer("sendMessage", { conversationId, content: `${i}` });
    answered.push(i);
    return answer;
  });
  assert.deepEqual(answered, answers.map((_, i) => i), "answers in the order of the questions");
  for (const { ok, error } of answers) assert.ok(ok || error.code === "chat.rate_limited", JSON.stringify(error));
  const seqs = answers.filter(({ ok }) => ok).map(({ data }) => data.seq);
  assert.ok(seqs.length >= 1_000);
  assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b), "handled in order");
});
check("5 000 events in a burst: each is answered, and what was accepted is kept", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const conversationId = await direct(ann, bob);
  const aside = await group(bob, cid);
  const burst = Array.from({ length: 5_000 }, (_, i) => deadline(`answer ${i}`, new Promise((resolve) => ann.socket.emit("sendMessage", { conversationId, content: `b${i}` }, resolve)), 6 * DEADLINE));
  const { messageId } = await bob.send(aside, "others go on");
  await cid.hears("newMessage", { messageId });
  const answers = await Promise.all(burst);
  const refusals = answers.filter(({ ok }) => !ok).map(({ error }) => error);
  assert.ok(refusals.every(({ code }) => code === "chat.rate_limited" || code === "chat.queue.full"), JSON.stringify(refusals.find(({ code }) => !/rate_limited|queue.full/.test(code))));
  assert.ok(refusals.every(({ code, retryAfterMs }) => code !== "chat.rate_limited" || retryAfterMs > 0));
  const accepted = answers.filter(({ ok }) => ok).map(({ data }) => data.messageId);
  assert.ok(accepted.length > 0);
  const kept = written(await history(bob, conversationId)).filter(({ content }) => content.startsWith("b")).map((message) => message.messageId);
  assert.deepEqual(kept, accepted, "exactly these, in this order");
}, { timeout: 12 * DEADLINE });
check("a client that never reads harms nobody", async () => {
  const [ann, bob, sleeper] = await people("ann", "bob", "sleeper");
  const conversationId = await group(ann, bob, sleeper);
  sleeper.close();
  const bare = await Bare.open(sleeper.token);
  bare.sleep();
  const text = "z".repeat(10_000);
  await windowed(800, 16, (i) => ann.send(conversationId, `${i}${text}`.slice(0, 10_000)));
  const { messageId } = await ann.send(conversationId, "the last one");
  await bob.hears("newMessage", { messageId });
  assert.equal(written(bob.all("newMessage", { conversationId })).length, 801);
  assert.equal((await http("GET", "/health")).body.status, "ok");
  const awake = await Client.connect(sleeper.userId, { token: sleeper.token });
  const { messages } = await awake.ask("messages:fullload", { conversationId, limit: 1 });
  assert.equal(messages[0].content, "the last one", "the same person is served on another socket");
});
check("50 people come and go, and nobody is left behind", async () => {
  const [ann] = await people("ann");
  const crowd = await windowed(50, 10, () => Client.connect(fresh("crowd")));
  const conversationId = await group(ann, ...crowd);
  const { messageId } = await ann.send(conversationId, "hello, crowd");
  await Promise.all(crowd.map((person) => person.hears("newMessage", { messageId })));
  for (const person of crowd) person.close();
  await ann.hears("user_offline", {}, 50);
  assert.equal(new Set(ann.all("user_offline").map(({ userId }) => userId)).size, 50);
  assert.equal((await ann.ask("getConversationOnlineUsers", { conversationId })).onlineCount, 1);
});
