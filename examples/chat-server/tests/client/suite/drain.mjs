import assert from "node:assert/strict";
import { deadline, http } from "../client.mjs";
import { direct, people, topic } from "./topic.mjs";

const check = topic("drain");
const pid = Number(process.env.CHAT_SERVER_PID);

check("SIGTERM: clients are told, then the transport closes; nothing acknowledged is lost before", async () => {
  const [ann, bob] = await people("ann", "bob");
  const conversationId = await direct(ann, bob);
  const { messageId } = await ann.send(conversationId, "just before");
  await bob.hears("newMessage", { messageId });
  process.kill(pid, "SIGTERM");
  await Promise.all([ann, bob].map((person) => person.hears("server:draining")));
  const ready = await http("GET", "/ready").then(({ status }) => status, () => "gone");
  assert.ok(ready === 503 || ready === "gone", `/ready answers ${ready}`);
  for (const person of [ann, bob]) {
    await person.hears("(disconnect)", (reason) => /^transport (close|error)$/.test(reason)); // not "io server disconnect": clients come back by themselves
    const names = person.heard.map(({ name }) => name);
    assert.ok(names.indexOf("server:draining") < names.indexOf("(disconnect)"));
  }
  await deadline("the process to end", new Promise((resolve) => {
    const look = setInterval(() => {
      try {
        process.kill(pid, 0);
      } catch {
        clearInterval(look);
        resolve();
      }
    }, 50);
  }), 15_000);
}, { skip: pid ? false : "CHAT_SERVER_PID is not set" });
