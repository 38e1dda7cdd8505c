import assert from "node:assert/strict";
import { Client, windowed } from "../client.mjs";
import { direct, group, people, texts, topic, written } from "./topic.mjs";

const check = topic("catch-up");

check("who was away gets exactly what was missed, in order", async () => {
  const [ann, bob, cid] = await people("ann", "bob", "cid");
  const [one, two] = [await group(ann, bob, cid), await direct(cid, bob)];
  await ann.send(one, "before");
  const before = await bob.hears("newMessage", { conversationId: one, content: "before" });
  const positions = { [one]: before.seq, [two]: bob.all("newMessage", { conversationId: two }).at(-1).seq };
  bob.close();
  const missed = Array.from({ length: 60 }, (_, i) => `m${i}`);
  for (const [i, text] of missed.entries()) await (i % 2 ? ann : cid).send(one, text);
  for (const text of ["d0", "d1"]) await cid.send(two, text);
  const edited = await ann.send(one, "rough");
  await ann.ask("editMessage", { messageId: edited.messageId, newContent: "smooth" });
  const gone = await ann.send(one, "gone");
  await ann.ask("deleteMessage", { messageId: gone.messageId, deleteType: "FOR_EVERYONE" });

  const back = await Client.connect(bob.userId, { token: bob.token });
  const { messages, discontinuity, forbidden, hasMore } = await back.ask("catchUp", { positions });
  assert.deepEqual([discontinuity, forbidden, hasMore], [[], [], false]);
  const of = (conversationId) => messages.filter((message) => message.conversationId === conversationId);
  assert.deepEqual(texts(of(one)), [...missed, "smooth", ""], "as they are now");
  assert.deepEqual(texts(of(two)), ["d0", "d1"]);
  for (const conversationId of [one, two]) {
    const seqs = of(conversationId).map(({ seq }) => seq);
    assert.deepEqual(seqs, seqs.map((_, i) => positions[conversationId] + 1 + i), "from the next one on, without a gap");
  }
  const { messageId } = await ann.send(one, "after");
  await back.hears("newMessage", { messageId });
  const now = { [one]: Math.max(...of(one).map(({ seq }) => seq)) + 1, [two]: Math.max(...of(two).map(({ seq }) => seq)) };
  assert.deepEqual((await back.ask("catchUp", { positions: now })).messages, [], "nothing twice");
});
check("what arrives while catching up is not lost between the two", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  bob.close();
  const total = 150;
  const writing = windowed(total, 8, (i) => ann.send(conversationId, `${i}`));
  const back = await Client.connect(bob.userId, { token: bob.token });
  const caught = (await back.ask("catchUp", { positions: { [conversationId]: 0 } })).messages;
  const sent = await writing;
  await back.hears("newMessage", { messageId: sent.at(-1).messageId });
  const seen = new Set([...written(caught), ...back.all("newMessage", { conversationId })].map(({ messageId }) => messageId));
  for (const { messageId, seq } of sent) assert.ok(seen.has(messageId), `seq ${seq}`);
});
check("above 1 000 in all it goes on, above 500 in one it says so", async () => {
  const [ann, bob] = await people("ann", "bob");
  const sizes = [501, 400, 400, 400];
  const rooms = [];
  for (const size of sizes) {
    const conversationId = await group(ann, bob);
    await windowed(size, 32, (i) => ann.send(conversationId, `${i}`));
    rooms.push(conversationId);
  }
  let positions = Object.fromEntries(rooms.map((conversationId) => [conversationId, 0]));
  const got = new Map();
  const lost = new Set();
  for (let calls = 0; ; calls++) {
    assert.ok(calls < 5);
    const answer = await bob.ask("catchUp", { positions });
    for (const conversationId of answer.discontinuity) lost.add(conversationId);
    for (const { conversationId, seq } of answer.messages) {
      assert.equal(seq, positions[conversationId] + 1);
      positions[conversationId] = seq;
      got.set(conversationId, (got.get(conversationId) ?? 0) + 1);
    }
    assert.ok(answer.messages.length <= 1_000);
    if (!answer.hasMore) break;
    positions = Object.fromEntries(Object.entries(positions).filter(([conversationId]) => !lost.has(conversationId)));
  }
  assert.deepEqual([...lost], [rooms[0]]);
  for (const conversationId of rooms.slice(1)) assert.ok(got.get(conversationId) >= 400);
  const { messages } = await bob.ask("messages:fullload", { conversationId: rooms[0], limit: 100 });
  assert.equal(messages.length, 100, "and then it is loaded by pages");
});
check("a conversation one may not see is forbidden, existing or not, and spoils nothing", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const theirs = await group(ann, bob);
  await ann.send(theirs, "private");
  const own = await direct(ann, eve);
  const { messages, forbidden } = await eve.ask("catchUp", { positions: { [theirs]: 0, "no-such-conversation": 3, [own]: 0 } });
  assert.deepEqual(texts(messages), ["hello"]);
  assert.deepEqual(new Set(forbidden), new Set([theirs, "no-such-conversation"]));
});
