import assert from "node:assert/strict";
import { barrier } from "../client.mjs";
import { direct, entry, group, people, texts, topic } from "./topic.mjs";

const check = topic("settings");

check("archive, mute and pin are one's own, on all one's devices", async () => {
  const [ann, bob] = await people("ann", "bob");
  const phone = await bob.device();
  const conversationId = await group(ann, bob);
  const until = new Date(Date.now() + 3_600_000).toISOString();
  for (const [event, key, more] of [["archiveConversation", "archived"], ["pinConversation", "pinned"], ["muteConversation", "muted", { until }]]) {
    for (const on of [true, false]) {
      assert.equal((await bob.ask(event, { conversationId, on, ...more }))[key], on, event);
      await phone.hears("conversation:updated", ({ changes }) => changes[key] === on);
      const { [key]: value, mutedUntil } = await entry(bob, conversationId);
      assert.equal(value, on, event);
      if (key === "muted" && on) assert.equal(new Date(mutedUntil).getTime(), new Date(until).getTime());
      assert.equal((await entry(ann, conversationId))[key], false, "nobody else's");
    }
  }
  await barrier(bob, ann);
  assert.equal(ann.all("conversation:updated").length, 0);
});
check("name and picture are everybody's, and an admin's to change", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await group(ann, bob);
  await ann.ask("updateConversation", { conversationId, name: "Renamed", avatar: "https://example.com/a.png" });
  for (const [key, value] of [["name", "Renamed"], ["avatar", "https://example.com/a.png"]]) {
    assert.equal((await bob.hears("conversation:updated", ({ changes }) => changes[key] === value)).updatedBy, ann.userId);
  }
  assert.deepEqual([(await entry(bob, conversationId)).name, (await entry(bob, conversationId)).avatar], ["Renamed", "https://example.com/a.png"]);
  assert.equal(await bob.refused("updateConversation", { conversationId, name: "Mine" }), "chat.forbidden");
  assert.equal(await ann.refused("updateConversation", { conversationId, name: "x".repeat(101) }), "chat.conversation.invalid");
});

const files = topic("files");

files("are registered, attached, downloaded, counted, deleted", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { file } = await ann.ask("registerFile", { conversationId, fileName: "plan.pdf", mimeType: "application/pdf", size: 12_345 });
  assert.deepEqual([file.conversationId, file.uploadedBy, file.fileName, file.originalName, file.mimeType, file.size, file.downloads], [conversationId, ann.userId, "plan.pdf", "plan.pdf", "application/pdf", 12_345, 0]);
  const { messageId } = await ann.send(conversationId, "the plan", { attachments: [{ fileId: file.fileId }], type: "FILE" });
  const { attachments } = await bob.hears("newMessage", { messageId });
  assert.deepEqual(attachments.map(({ fileId, name, mimeType, size }) => [fileId, name, mimeType, size]), [[file.fileId, "plan.pdf", "application/pdf", 12_345]]);
  for (const downloads of [1, 2]) assert.equal((await bob.ask("downloadFile", { fileId: file.fileId })).file.downloads, downloads);
  assert.equal(await bob.refused("deleteFile", { fileId: file.fileId }), "chat.forbidden");
  await ann.ask("deleteFile", { fileId: file.fileId });
  await bob.hears("file:deleted", { fileId: file.fileId, conversationId, deletedBy: ann.userId });
  assert.equal(await bob.refused("downloadFile", { fileId: file.fileId }), "chat.forbidden");
});
files("the old single-file fields attach too, and what was registered counts", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { file } = await ann.ask("registerFile", { conversationId, fileName: "a.png", mimeType: "image/png", size: 1 });
  const { messageId } = await ann.send(conversationId, "look", { fileId: file.fileId, fileName: "evil.exe", fileSize: 9, mimeType: "x/y", fileUrl: "https://evil.example" });
  assert.deepEqual((await bob.hears("newMessage", { messageId })).attachments.map(({ name, size, url }) => [name, size, url]), [["a.png", 1, undefined]]);
});
files("belong to their conversation, and to nobody outside", async () => {
  const [ann, bob, eve] = await people("ann", "bob", "eve");
  const conversationId = await direct(ann, bob);
  const { file } = await ann.ask("registerFile", { conversationId, fileName: "a", mimeType: "text/plain", size: 1 });
  for (const event of ["downloadFile", "deleteFile"]) {
    assert.equal(await eve.refused(event, { fileId: file.fileId }), "chat.forbidden");
    assert.equal(await eve.refused(event, { fileId: "no-such-file" }), "chat.forbidden");
  }
  const elsewhere = await direct(ann, eve);
  assert.match(await ann.refused("sendMessage", { conversationId: elsewhere, content: "x", fileId: file.fileId }), /^chat\.(file\.not_found|forbidden)$/);
  for (const bad of [{ fileName: "" }, { fileName: "x".repeat(256) }, { size: 100 * 1_048_576 + 1 }]) {
    assert.equal(await ann.refused("registerFile", { conversationId, fileName: "a", mimeType: "text/plain", size: 1, ...bad }), "chat.file.invalid");
  }
  assert.deepEqual(texts((await bob.ask("messages:fullload", { conversationId })).messages), ["hello"]);
});
