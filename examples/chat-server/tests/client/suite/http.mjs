import assert from "node:assert/strict";
import { SECRET, fresh, http, mint, tokenFor } from "../client.mjs";
import { people, topic } from "./topic.mjs";

const check = topic("http");
const minted = { skip: SECRET ? false : "CHAT_JWT_SECRET is not set" };

check("a profile is one's own to change, everybody's to read", async () => {
  const [ann, bob] = [fresh("ann"), fresh("bob")];
  const [a, b] = [await tokenFor(ann, "Ann Example"), await tokenFor(bob, "Bob")];
  const before = await http("GET", `/users/${ann}`, { token: b });
  assert.deepEqual([before.status, before.body.id, before.body.fullName], [200, ann, "Ann Example"]);
  const changed = await http("PUT", `/users/${ann}`, { token: a, body: { fullName: "Ann E.", ministere: "Culture", sexe: "F" } });
  assert.deepEqual([changed.status, changed.body.fullName, changed.body.ministere, changed.body.sexe], [200, "Ann E.", "Culture", "F"]);
  const cleared = await http("PUT", `/users/${ann}`, { token: a, body: { ministere: null } });
  assert.deepEqual([cleared.body.ministere ?? null, cleared.body.fullName], [null, "Ann E."]);
  const denied = await http("PUT", `/users/${ann}`, { token: b, body: { fullName: "Hacked" } });
  assert.deepEqual([denied.status, denied.body.error.code], [403, "chat.forbidden"]);
  assert.equal((await http("GET", `/users/${ann}`, { token: b })).body.fullName, "Ann E.");
});
check("profiles come in batches, and a miss is a miss", async () => {
  const [ann, bob, ghost] = [fresh("ann"), fresh("bob"), fresh("ghost")];
  const token = await tokenFor(ann, "Ann");
  await tokenFor(bob, "Bob");
  const { status, body } = await http("GET", `/batch?ids=${[ann, ghost, bob].map(encodeURIComponent).join(",")}`, { token });
  assert.deepEqual([status, body.users.map(({ fullName }) => fullName).sort(), body.missing], [200, ["Ann", "Bob"], [ghost]]);
  const missing = await http("GET", `/users/${ghost}`, { token });
  assert.deepEqual([missing.status, missing.body.error.code], [404, "chat.user.not_found"]);
});
check("ids with every kind of character have profiles", async () => {
  for (const name of ["a:b", "a*b", "a{}b", "a b", "a/b", "a%b", "é?#"]) {
    const userId = fresh(name);
    const token = await tokenFor(userId, "Odd");
    assert.equal((await http("GET", `/users/${encodeURIComponent(userId)}`, { token })).body.id, userId, name);
  }
});
check("profiles want a token, a valid one", async () => {
  for (const token of [undefined, "garbage"]) {
    for (const [method, path] of [["GET", "/batch?ids=a"], ["GET", "/users/a"], ["PUT", "/users/a"]]) {
      const { status, body } = await http(method, path, { token, body: method === "PUT" ? {} : undefined });
      assert.equal(status, 401, `${method} ${path}`);
      assert.match(body.error.code, /^chat\.auth\./);
    }
  }
});
check("a platform admin changes anybody's profile", async () => {
  const ann = fresh("ann");
  await tokenFor(ann, "Ann");
  const { status, body } = await http("PUT", `/users/${ann}`, { token: mint({ roles: ["admin"] }), body: { fullName: "By admin" } });
  assert.deepEqual([status, body.fullName], [200, "By admin"]);
}, minted);
check("a new name is what others are shown", async () => {
  const [ann, bob] = await people("ann", "bob");
  await http("PUT", `/users/${encodeURIComponent(ann.userId)}`, { token: ann.token, body: { fullName: "Ann the Great" } });
  await ann.send({ receiverId: bob.userId }, "hi");
  const { conversations } = await bob.ask("getConversations");
  assert.equal(conversations[0].name, "Ann the Great");
  assert.equal(conversations[0].participants.find(({ userId }) => userId === ann.userId).name, "Ann the Great");
});
check("health, readiness, metrics", async () => {
  const health = await http("GET", "/health");
  assert.deepEqual([health.status, health.body.status], [200, "ok"]);
  assert.ok(Object.keys(health.body.checks).length > 0);
  assert.equal(typeof health.body.profileCache, "object");
  assert.equal((await http("GET", "/ready")).status, 200);
  const metrics = await http("GET", "/metrics");
  assert.match(metrics.headers.get("content-type"), /^text\/plain/);
  for (const name of ["chat_sockets", "chat_messages_sent_total"]) assert.match(metrics.text, new RegExp(`^${name}[ {]`, "m"));
  for (const [, name] of metrics.text.matchAll(/^# TYPE (chat_\w+)/gm)) assert.match(metrics.text, new RegExp(`^# HELP ${name} \\S`, "m"), `${name} says what it is`);
  const { sockets, users, outbox } = health.body;
  assert.deepEqual([sockets, users.online, users.sessions, outbox.pending].map(Number.isInteger), [true, true, true, true], "the numbers of the health view");
});
check("the page is served whole, under a strict policy", async () => {
  const page = await http("GET", "/");
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html/);
  const policy = page.headers.get("content-security-policy");
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) assert.ok(policy.includes(rule), rule);
  assert.ok(!policy.includes("unsafe"));
  const seen = new Set();
  const follow = async (path, from) => {
    if (seen.has(path)) return;
    seen.add(path);
    const { status, headers, text } = await http("GET", path);
    assert.equal(status, 200, `${path}, named in ${from}`);
    assert.equal(headers.get("x-content-type-options"), "nosniff", path);
    if (!path.endsWith(".js")) return;
    assert.match(headers.get("content-type"), /javascript/, path);
    for (const [, name] of text.matchAll(/from "(\.[^"]+)"/g)) await follow(new URL(name, `http://x${path}`).pathname, path);
  };
  for (const [, path] of page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)) await follow(path, "/");
  assert.ok(seen.size > 10, "the page is made of modules");
});
check("nothing else is served", async () => {
  for (const path of ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/views/../../Cargo.toml", "/nothing", "/views/", "/PROTOCOL.md"]) assert.equal((await http("GET", path)).status, 404, path);
});
check("development sign-in refuses what is no id", async () => {
  assert.equal((await http("GET", "/dev")).status, 204);
  for (const body of [{ userId: "", name: "x" }, { userId: "x".repeat(129), name: "x" }, { userId: "a\nb", name: "x" }]) {
    const answer = await http("POST", "/dev/token", { body });
    assert.deepEqual([answer.status, answer.body.error.code], [400, "chat.id.invalid"]);
  }
});
