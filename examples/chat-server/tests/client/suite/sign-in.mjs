import assert from "node:assert/strict";
import { Client, SECRET, fresh, inSeconds, mint, tokenFor } from "../client.mjs";
import { topic } from "./topic.mjs";

const check = topic("sign-in");
const minted = { skip: SECRET ? false : "CHAT_JWT_SECRET is not set" };

/** Tries to connect; says why it was refused. */
async function refusal(token, options) {
  const client = new Client("nobody", token, options);
  const error = await client.connected().then(() => assert.fail("was let in"), (error) => error);
  assert.equal(client.socket.active, false, "a refused client does not try again by itself");
  return error.message;
}

for (const nsp of ["/", "/chat"]) {
  check(`without a token: refused (${nsp})`, async () => {
    assert.equal(await refusal(undefined, { nsp }), "chat.auth.required");
    assert.equal(await refusal(undefined, { nsp, auth: {} }), "chat.auth.required");
  });
  check(`with garbage: refused (${nsp})`, async () => {
    for (const token of ["garbage", "a.b.c", "", "....", "x".repeat(5_000)]) assert.match(await refusal(token, { nsp }), /^chat\.auth\.(invalid|required)$/, token);
  });
}
check("a token that is no text: refused", async () => {
  for (const token of [1, {}, [], true]) assert.match(await refusal(token), /^chat\.(auth\.(invalid|required)|request\.invalid)$/);
});
check("expired: refused as such", async () => assert.equal(await refusal(mint({ exp: inSeconds(-3_600) })), "chat.auth.expired"), minted);
check("unsigned (alg none): refused", async () => {
  assert.equal(await refusal(mint({}, { alg: "none" })), "chat.auth.invalid");
  assert.equal(await refusal(`${mint({}, { alg: "none" })}${mint().split(".")[2]}`), "chat.auth.invalid");
}, minted);
check("wrong audience, issuer, secret, or a claim missing: refused", async () => {
  const wrong = { audience: { aud: "other" }, issuer: { iss: "other" }, "no audience": { aud: undefined }, "no issuer": { iss: undefined }, "no expiry": { exp: undefined }, "no subject": { sub: undefined } };
  for (const [what, claims] of Object.entries(wrong)) assert.equal(await refusal(mint(claims)), "chat.auth.invalid", what);
  assert.equal(await refusal(mint({}, { secret: "another secret of thirty-two bytes!!" })), "chat.auth.invalid");
}, minted);
check("a changed payload: refused", async () => {
  const [head, , signature] = (await tokenFor(fresh("honest"))).split(".");
  const payload = Buffer.from(JSON.stringify({ sub: "root", iss: "chat", aud: "chat", exp: inSeconds(600) })).toString("base64url");
  assert.equal(await refusal(`${head}.${payload}.${signature}`), "chat.auth.invalid");
});
check("a subject that is no id: refused", async () => {
  for (const sub of ["", "x".repeat(129), "two\nlines"]) assert.equal(await refusal(mint({ sub })), "chat.auth.invalid");
}, minted);

check("accepted, on both namespaces and both transports", async () => {
  for (const options of [{ nsp: "/" }, { nsp: "/chat" }, { transports: ["polling"] }, { transports: ["polling", "websocket"] }]) {
    const client = await Client.connect(fresh("guest"), options);
    const { userId, expiresAt } = await client.ask("authenticate");
    assert.equal(userId, client.userId);
    assert.ok(new Date(expiresAt) > new Date());
  }
});
check("both namespaces are one chat", async () => {
  const [ann, bob] = [await Client.connect(fresh("ann"), { nsp: "/" }), await Client.connect(fresh("bob"), { nsp: "/chat" })];
  const { messageId } = await ann.send({ receiverId: bob.userId }, "across");
  await bob.hears("newMessage", { messageId, content: "across" });
});
check("authenticate answers the token's identity, whatever the payload says", async () => {
  const client = await Client.connect(fresh("ann"));
  for (const payload of [{}, { userId: "root" }, { token: await tokenFor(fresh("other")) }, { userId: "root", matricule: "1", nom: "R", prenom: "T" }]) {
    assert.equal((await client.ask("authenticate", payload)).userId, client.userId);
  }
});
check("a token made outside is as good as the server's own", async () => {
  const userId = fresh("guest");
  const client = await Client.connect(userId, { token: mint({ sub: userId, name: "A Guest" }) });
  assert.equal((await client.ask("authenticate")).name, "A Guest");
}, minted);
check("the end of a token ends its socket, and says so first", async () => {
  const userId = fresh("brief");
  const client = await Client.connect(userId, { token: mint({ sub: userId, exp: inSeconds(2) }) });
  await client.hears("auth:expired");
  await client.hears("(disconnect)", (reason) => reason === "io server disconnect");
}, minted);
check("a device may introduce itself", async () => {
  const token = await tokenFor(fresh("ann"));
  const client = await Client.connect("ann", { token, auth: { token, device: { id: "phone-1", name: "Ann's phone", platform: "android" } } });
  await client.ask("heartbeat");
  assert.equal(await refusal(token, { auth: { token, device: { id: "x".repeat(129) } } }), "chat.request.invalid");
});
