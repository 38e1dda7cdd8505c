// Two people click through the page in a real browser; the screenshots are kept as artefacts.
//
//   CHAT_URL        the running server, started with --dev (default http://127.0.0.1:3000)
//   CHAT_OTHER_URLS more servers of the same chat: people go to one after the other
//   CHAT_ARTIFACTS  where screenshots go (default: a new folder in the system's temporary folder)

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { chromium } from "playwright-core";
import { Client, closeAll } from "./client.mjs";

const URLS = [process.env.CHAT_URL ?? "http://127.0.0.1:3000", ...(process.env.CHAT_OTHER_URLS?.split(",") ?? [])];
const ARTIFACTS = process.env.CHAT_ARTIFACTS ?? mkdtempSync(join(tmpdir(), "chat-page-"));
const RUN = Date.now().toString(36).slice(-4); // names are people: a run has its own
const DEADLINE = Number(process.env.CHAT_DEADLINE_MS ?? 10_000);
mkdirSync(ARTIFACTS, { recursive: true });

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const problems = []; // console errors, policy violations, uncaught exceptions: there must be none
after(async () => {
  await closeAll();
  await browser.close();
  console.log(`# screenshots: ${ARTIFACTS}`);
});

/** One person with a browser of their own. */
class Person {
  static count = 0;

  constructor(name) {
    this.name = name;
    this.url = URLS[Person.count++ % URLS.length];
    this.fullName = `${name} ${RUN}`;
  }

  async open(options = {}) {
    this.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", reducedMotion: "reduce", locale: "en-GB", ...options });
    this.context.setDefaultTimeout(DEADLINE);
    await this.context.routeWebSocket(/socket\.io/, (wire) => this.carry(wire));
    this.page = await this.context.newPage();
    this.page.on("console", (message) => message.type() === "error" && problems.push(`${this.name}: ${message.text()}`));
    this.page.on("pageerror", (error) => problems.push(`${this.name}: ${error.stack}`));
    await this.page.goto(this.url);
    return this;
  }

  /** Stands between the page and the server, so that a test can cut the wire. */
  carry(wire) {
    if (this.offline) return wire.close({ code: 1012 });
    const server = wire.connectToServer();
    this.wires = [...(this.wires ?? []), wire, server];
    server.onMessage((message) => (this.held ? this.held.push(() => wire.send(message)) : wire.send(message)));
  }

  /** Keeps back what the server says until it is let go. */
  hold() {
    this.held = [];
  }

  letGo() {
    const held = this.held;
    this.held = null;
    for (const pass of held) pass();
  }

  cut() {
    this.offline = true;
    for (const wire of this.wires.splice(0)) wire.close({ code: 1012 });
  }

  mend() {
    this.offline = false;
  }

  async signIn() {
    await this.page.getByLabel("Your name").fill(this.fullName);
    await this.page.getByRole("button", { name: "Start chatting" }).click();
    await this.page.getByRole("button", { name: "New conversation" }).waitFor();
    return this;
  }

  shot(name) {
    return this.page.screenshot({ path: join(ARTIFACTS, `${name}.png`) });
  }

  get composer() {
    return this.page.getByRole("textbox", { name: "Write a message" });
  }

  async say(text) {
    await this.composer.fill(text);
    await this.composer.press("Enter");
    await this.message(text).waitFor();
  }

  /** The message with this text in the main view. */
  message(text) {
    return this.page.getByRole("log", { name: "Messages" }).locator("li.message").filter({ has: this.page.locator(".text", { hasText: text }) });
  }

  entry(title) {
    return this.page.getByRole("list", { name: "Conversations" }).getByRole("link").filter({ has: this.page.locator(".title", { hasText: title }) });
  }

  badge(title) {
    return this.entry(title).locator(".badge");
  }

  /** What can be done with a message, as somebody with a mouse does it. */
  async act(text, action, choice) {
    await this.message(text).hover();
    await this.message(text).getByRole("button", { name: action }).click();
    if (choice) await this.page.getByRole("menuitem", { name: choice }).click();
  }

  async startDirect(other) {
    await this.page.getByRole("button", { name: "New conversation" }).click();
    await this.page.getByLabel("Person").fill(other.fullName);
    await this.page.getByRole("button", { name: "Start", exact: true }).click();
    await this.composer.waitFor();
  }

  async startGroup(name, members) {
    await this.page.getByRole("button", { name: "New conversation" }).click();
    const dialog = this.page.getByRole("dialog");
    await dialog.getByLabel("Kind").selectOption("group");
    await dialog.getByLabel("Name").fill(name);
    await dialog.getByLabel("Members").fill(members.map((person) => person.fullName).join(", "));
    await this.page.getByRole("button", { name: "Start", exact: true }).click();
    await this.page.getByRole("heading", { name, level: 1 }).waitFor();
  }
}

/** Waits until the locator's text is this. */
async function reads(locator, text) {
  const deadline = Date.now() + DEADLINE;
  for (;;) {
    const now = (await locator.count()) === 1 ? (await locator.textContent()).trim() : null;
    if (now === text) return;
    if (Date.now() > deadline) assert.equal(now, text);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const gone = (locator) => locator.waitFor({ state: "detached" });
const ada = new Person("Ada");
const ben = new Person("Ben");
const cleo = new Person("Cleo");
let broken = false;

/** Steps build on each other: after a failure the rest is skipped, with a picture of where it stood. */
function step(name, run) {
  test(name, { timeout: 6 * DEADLINE }, async (t) => {
    if (broken) return t.skip("an earlier step failed");
    try {
      await run();
    } catch (error) {
      broken = true;
      for (const person of [ada, ben, cleo]) await person.page?.screenshot({ path: join(ARTIFACTS, `failed-${person.name}.png`) }).catch(() => {});
      throw error;
    }
  });
}

step("the door asks for a name", async () => {
  await ada.open();
  await ada.page.getByRole("heading", { name: "Chat" }).waitFor();
  await ada.shot("01-sign-in");
  await ada.signIn();
  await (await ben.open()).signIn();
  await ada.shot("02-empty");
});

step("a first message makes the conversation and raises the other's badge", async () => {
  await ada.startDirect(ben);
  ada.hold();
  await ada.say("Good morning, Ben!");
  await reads(ben.badge(ada.fullName), "1");
  await ada.composer.fill("Did you see the sunrise?");
  ada.letGo();
  await ada.page.waitForURL(/#\/c\//);
  await ada.message("Good morning, Ben!").getByRole("img", { name: "Delivered" }).waitFor();
  assert.equal(await ada.composer.inputValue(), "Did you see the sunrise?", "what is being written goes along");
  await ada.composer.press("Enter");
  await ada.message("Did you see the sunrise?").waitFor();
  await reads(ben.badge(ada.fullName), "2");
  assert.match(await ben.page.title(), /^\(2\)/);
  await ben.shot("03-unread");
});

step("receipts go from delivered to read when the other looks", async () => {
  await ada.message("sunrise").getByRole("img", { name: "Delivered" }).waitFor();
  await ben.entry(ada.fullName).click();
  await ben.message("sunrise").waitFor();
  await ada.message("sunrise").getByRole("img", { name: "Read" }).waitFor();
  await gone(ben.badge(ada.fullName));
});

step("typing shows, and ends with the message", async () => {
  await ben.composer.pressSequentially("It was all pink");
  await ada.page.getByText(`${ben.fullName} is typing`).waitFor();
  await ada.shot("04-typing");
  await ben.composer.press("Enter");
  await ada.message("all pink").waitFor();
  await gone(ada.page.getByText(`${ben.fullName} is typing`));
});

step("reactions appear on both sides and come off again", async () => {
  await ada.act("all pink", "React");
  await ada.page.getByRole("menuitem", { name: "React with ❤️" }).click();
  await reads(ben.message("all pink").locator(".chip .count"), "1");
  await ben.message("all pink").locator(".chip").click();
  await reads(ada.message("all pink").locator(".chip .count"), "2");
  await ada.message("all pink").locator(".chip").click();
  await reads(ben.message("all pink").locator(".chip .count"), "1");
});

step("an edit reaches the other side", async () => {
  await ada.act("Good morning", "More", "Edit");
  await ada.composer.fill("Good morning, dear Ben!");
  await ada.composer.press("Enter");
  await ben.message("Good morning, dear Ben!").getByText("edited").waitFor();
});

step("the arrow up edits one's last message, and Escape leaves it as it was", async () => {
  await ada.composer.press("ArrowUp");
  await ada.page.getByText("Edit message").waitFor();
  assert.equal(await ada.composer.inputValue(), "Did you see the sunrise?");
  await ada.composer.press("Escape");
  assert.equal(await ada.composer.inputValue(), "");
});

step("a reply quotes what it answers", async () => {
  await ben.act("sunrise", "Reply");
  await ben.say("From the very top of the hill.");
  await ada.message("very top").getByRole("button", { name: "Did you see the sunrise?" }).waitFor();
});

step("deleting asks first, and leaves a tombstone for everyone", async () => {
  await ada.say("This is a mistake");
  await ben.message("This is a mistake").waitFor();
  await ada.act("This is a mistake", "More", "Delete…");
  await ada.page.getByRole("radio", { name: "For everyone" }).check();
  await ada.shot("05-delete");
  await ada.page.getByRole("button", { name: "Delete", exact: true }).click();
  await ben.message("This message was deleted.").waitFor();
  await gone(ben.message("This is a mistake"));
});

step("deleting for oneself leaves the other's copy alone", async () => {
  await ben.say("Only I forget this");
  await ada.message("Only I forget this").waitFor();
  await ben.act("Only I forget this", "More", "Delete…");
  await ben.page.getByRole("radio", { name: "Only for me" }).check();
  await ben.page.getByRole("button", { name: "Delete", exact: true }).click();
  await gone(ben.message("Only I forget this"));
  assert.equal(await ada.message("Only I forget this").count(), 1);
});

step("a group reaches its members, and counts while they look elsewhere", async () => {
  await (await cleo.open()).signIn();
  await ada.startGroup("Sunrise walkers", [ben, cleo]);
  await ben.entry("Sunrise walkers").waitFor();
  await cleo.entry("Sunrise walkers").waitFor();
  await ada.say("Saturday, six o'clock, at the bridge?");
  await ada.say("I bring coffee and the good biscuits.");
  await reads(ben.badge("Sunrise walkers"), "2");
  await cleo.entry("Sunrise walkers").click();
  await cleo.say("Count me in. Is the path dry again? Last week my boots needed two days next to the stove.");
  await reads(ben.badge("Sunrise walkers"), "3");
  await ben.entry("Sunrise walkers").click();
  await ben.page.getByText("New", { exact: true }).waitFor();
  await ben.shot("06-group-new-line");
  await ben.say("Dry since Tuesday 🌤️ see https://example.com/path?now=1.");
  await ada.page.getByRole("link", { name: "https://example.com/path?now=1", exact: true }).waitFor();
  await ada.message("biscuits").getByRole("img", { name: "Read" }).waitFor();
});

step("who has read a message can be asked", async () => {
  await ada.act("biscuits", "More", "Who has read this");
  await ada.page.getByRole("heading", { name: "Read by 2" }).waitFor();
  await ada.page.keyboard.press("Escape");
});

step("a thread stays in its panel and is counted at its root", async () => {
  await ben.act("biscuits", "Thread (T)");
  const write = ben.page.getByRole("textbox", { name: "Reply in the thread" });
  await write.fill("The almond ones?");
  await write.press("Enter");
  await ada.message("biscuits").getByRole("button", { name: "1 reply" }).click();
  await ada.page.getByRole("log", { name: "Thread" }).getByText("The almond ones?").waitFor();
  assert.equal(await ada.message("The almond ones?").count(), 0);
  const answer = ada.page.getByRole("textbox", { name: "Reply in the thread" });
  await answer.fill("What else!");
  await answer.press("Enter");
  await ben.page.getByRole("log", { name: "Thread" }).getByText("What else!").waitFor();
  await ada.shot("07-thread");
});

step("a pinned message stands on top", async () => {
  await ada.act("Saturday, six", "More", "Pin");
  await ben.page.locator(".pins").getByText("Saturday, six").waitFor();
});

step("the members panel shows roles, and an admin changes them", async () => {
  await ada.page.getByRole("button", { name: "Members" }).click();
  const member = ada.page.getByRole("list", { name: "Members" }).getByRole("listitem").filter({ hasText: ben.fullName });
  await member.getByRole("button", { name: `Manage ${ben.fullName}` }).click();
  await ada.page.getByRole("menuitemradio", { name: "Moderator" }).click();
  await member.getByText("moderator").waitFor();
  await ada.shot("08-members");
});

step("search finds words whatever their case and accents, and leads to the message", async () => {
  await ada.page.keyboard.press("Control+k");
  await ada.page.getByRole("searchbox", { name: "Search messages" }).fill("SUNRÏS");
  const hit = ada.page.getByRole("list", { name: "Found" }).getByRole("button").filter({ hasText: "Did you see the sunrise?" });
  await hit.waitFor();
  await ada.shot("09-search");
  await hit.click();
  await ada.page.getByRole("heading", { name: ben.fullName, level: 1 }).waitFor();
  await ada.message("Did you see").and(ada.page.locator(":focus")).waitFor();
});

step("presence follows the other's comings and goings", async () => {
  const dot = (status) => ada.entry(ben.fullName).getByRole("img", { name: status });
  await dot("Online").waitFor();
  await ben.page.getByRole("button", { name: /Change status/ }).click();
  await ben.page.getByRole("menuitemradio", { name: "Do not disturb" }).click();
  await dot("Do not disturb").waitFor();
  await ben.context.close();
  await dot("Offline").waitFor();
  await (await ben.open()).signIn();
  await dot("Do not disturb").waitFor();
  await ben.page.getByRole("button", { name: /Change status/ }).click();
  await ben.page.getByRole("menuitemradio", { name: "Online" }).click();
  await dot("Online").waitFor();
});

step("a reload keeps the sign-in and the place", async () => {
  await ada.page.reload();
  await ada.message("Did you see the sunrise?").waitFor();
});

step("text is only ever text", async () => {
  const nasty = "<img src=x onerror=alert(1)><b>bold</b> javascript:alert(2)";
  await ada.say(nasty);
  await ben.entry(ada.fullName).click();
  await ben.message(nasty).waitFor();
  assert.equal(await ben.page.locator(".log img:not([role]), .log b").count(), 0);
});

step("the keyboard alone is enough", async () => {
  await ada.entry("Sunrise walkers").focus();
  for (const key of ["Home", "End", "ArrowUp", "ArrowDown", "Enter"]) await ada.page.keyboard.press(key);
  await ada.page.getByRole("heading", { name: "Sunrise walkers", level: 1 }).waitFor();
  await ada.composer.and(ada.page.locator(":focus")).waitFor();
  await ada.page.keyboard.type("Written without a mouse");
  await ada.page.keyboard.press("Enter");
  await ada.message("Written without a mouse").getByRole("img", { name: /^(Sent|Delivered|Read)$/ }).waitFor();
  await ada.message("Written without a mouse").focus();
  await ada.page.keyboard.press("ArrowUp");
  await ada.page.keyboard.press("ArrowDown");
  await ada.page.keyboard.press("r");
  await ada.page.getByText("Reply to").waitFor();
  await ada.page.keyboard.press("Escape");
  await gone(ada.page.locator(".context:not([hidden])"));
});

step("a lost connection comes back, with what was missed and what was written meanwhile", async () => {
  await ada.entry(ben.fullName).click();
  await ada.message("Did you see the sunrise?").waitFor();
  await ben.entry(ada.fullName).click();
  ada.cut();
  await ada.page.getByText("Reconnecting…").waitFor();
  await ada.composer.fill("I wrote this in a tunnel.");
  await ada.composer.press("Enter");
  await ada.message("in a tunnel").getByRole("img", { name: "Sending" }).waitFor();
  const missed = ["Are you still there?", "Hello?", "I'll just keep talking."];
  for (const text of missed) await ben.say(text);
  await ben.act("all pink", "React");
  await ben.page.getByRole("menuitem", { name: "React with 🎉" }).click();
  await ada.shot("10-offline");
  ada.mend();
  await ben.message("in a tunnel").waitFor();
  await ada.message("in a tunnel").getByRole("img", { name: "Read" }).waitFor();
  const last = (person) => person.page.getByRole("log", { name: "Messages" }).locator("li.message .text").allTextContents().then((all) => all.slice(-4));
  assert.deepEqual(await last(ada), [...missed, "I wrote this in a tunnel."]);
  assert.deepEqual(await last(ben), await last(ada));
  await ada.message("all pink").getByRole("button", { name: /🎉/ }).waitFor();
});

step("older messages come in above, and what one reads stays in place", async () => {
  const friend = await Client.connect(`dora-${RUN}`, { name: `Dora ${RUN}` });
  const receiverId = ada.fullName.toLowerCase().replaceAll(" ", "-");
  for (let i = 1; i <= 130; i++) await friend.send({ receiverId }, `Number ${i}. ${"And on it goes. ".repeat(i % 5)}`);
  await reads(ada.badge(friend.name), "99+");
  await ada.entry(friend.name).click();
  const log = ada.page.getByRole("log", { name: "Messages" });
  await ada.message("Number 130.").waitFor();
  const place = (scroll) => log.evaluate((element, scroll) => {
    if (scroll) element.scrollTo(0, 150);
    return element.querySelector('[data-seq="84"]').getBoundingClientRect().top;
  }, scroll);
  const before = await place(true);
  await ada.message("Number 31.").waitFor({ state: "attached" });
  const now = await place(false);
  assert.ok(Math.abs(now - before) < 2, `nothing jumps: from ${before} to ${now}`);
  await log.evaluate((element) => element.scrollTo(0, 0));
  await ada.message("Number 1.").waitFor({ state: "attached" });
  await ada.page.getByRole("button", { name: "Newest" }).click();
  await gone(ada.badge(friend.name));
  friend.close();
});

const health = (person) => person.page.getByRole("complementary", { name: "Health" });
const tile = (person, title) => health(person).locator(".tile").filter({ hasText: title }).locator("dd");

step("health shows the server's checks and numbers, and how they move", async () => {
  await ada.page.getByRole("button", { name: "Health" }).click();
  await reads(health(ada).getByRole("status"), "All well");
  const checks = health(ada).getByRole("region", { name: "Checks" }).getByRole("listitem");
  for (const name of ["Messages", "Outbox", "Event log", "Presence", "Profiles"]) await reads(checks.filter({ hasText: new RegExp(`^${name}`) }).locator(".state"), "well");
  assert.equal(await health(ada).getByRole("region", { name: "What is wrong" }).count(), 0);
  await reads(tile(ada, "People online"), "3");
  const sockets = [ada, ben, cleo].filter((person) => person.url === ada.url).length;
  await reads(tile(ada, "Sockets of this server"), String(sockets));
  await health(ada).getByText(/^answered in \d+ ms$/).waitFor();
  const chart = health(ada).getByRole("img", { name: /^Messages per second in the last 2 minutes/ });
  await chart.waitFor();
  const neighbour = [ben, cleo].find((person) => person.url === ada.url); // a server counts what it takes
  for (const nth of ["first", "second", "third"]) await neighbour.say(`A ${nth} one to be counted.`);
  await health(ada).getByRole("img", { name: /at most (0\.\d*[1-9]|[1-9])/ }).waitFor();
  assert.ok((await chart.locator("path.line").count()) >= 1);
  await tile(ada, "19 of 20 answered within").getByText(/ ms$/).waitFor();
  await ada.shot("11-health");
  await health(ada).getByText("Every number").click();
  await health(ada).getByRole("row", { name: `chat_sockets ${sockets}`, exact: true }).waitFor();
  await health(ada).getByText("Every number").click();
});

step("health asks only while it is looked at", async () => {
  let asked = 0;
  const count = (request) => (asked += request.url().endsWith("/health") ? 1 : 0);
  const turn = (to) => ada.page.evaluate((to) => {
    Object.defineProperty(document, "visibilityState", { value: to, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, to);
  await turn("hidden");
  ada.page.on("request", count);
  await ada.page.waitForTimeout(2_500);
  assert.equal(asked, 0, "nobody looks");
  const next = ada.page.waitForRequest("**/health");
  await turn("visible");
  await next;
  ada.page.off("request", count);
});

step("health says how old it is when the server does not answer", async () => {
  if (!process.env.CHAT_SERVER_PID) return;
  const pid = Number(process.env.CHAT_SERVER_PID);
  const before = await tile(ada, "People online").textContent();
  process.kill(pid, "SIGSTOP");
  try {
    await reads(health(ada).getByRole("status"), "The server does not answer.");
    await health(ada).getByText(/^What you see is \d+ s old\.$/).waitFor();
    assert.equal(await tile(ada, "People online").textContent(), before, "what was known stays");
    await ada.shot("11-health-silent");
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await reads(health(ada).getByRole("status"), "All well");
});

step("health says what is wrong, and what that means", async () => {
  if (!process.env.CHAT_REDIS_PID) return;
  const pid = Number(process.env.CHAT_REDIS_PID);
  const wrong = health(ada).getByRole("region", { name: "What is wrong" });
  process.kill(pid, "SIGSTOP");
  try {
    await reads(health(ada).getByRole("status"), "Degraded");
    await wrong.getByText(/^Redis: does not answer\. Nothing that was written is lost/).waitFor();
    await reads(health(ada).getByRole("region", { name: "Checks" }).getByRole("listitem").filter({ hasText: /^Redis/ }).locator(".state"), "degraded");
    await reads(tile(ada, "People online"), "not known");
    await health(ada).evaluate((panel) => panel.querySelector(".panel-content").scrollTo(0, 0));
    await ada.shot("11-health-degraded");
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await reads(health(ada).getByRole("status"), "All well");
  await gone(wrong.locator("li"));
});

/** Text in the panel whose contrast with what is behind it is below 4.5. */
const faint = (person) => health(person).evaluate((panel) => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)).reduce((all, value, i) => all + value * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...panel.querySelectorAll("*")].filter((element) => element.getClientRects().length && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())).flatMap((element) => {
    const style = getComputedStyle(element);
    const [a, b] = [light(channels(element instanceof SVGElement ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${element.textContent}: ${ratio.toFixed(2)}`] : [];
  });
});

step("health is readable by day and by night", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await ada.page.emulateMedia({ colorScheme });
    await ada.page.waitForTimeout(100);
    assert.deepEqual(await faint(ada), [], colorScheme);
  }
  await ada.shot("11-health-dark");
  await ada.page.emulateMedia({ colorScheme: "light" });
  await ada.page.getByRole("complementary").getByRole("button", { name: "Close" }).click();
});

step("the page is readable in the dark", async () => {
  await ada.page.emulateMedia({ colorScheme: "dark" });
  await ada.entry("Sunrise walkers").click();
  await ada.message("Count me in").waitFor();
  await ada.page.waitForTimeout(100);
  await ada.shot("12-dark");
});

step("the page is readable on a phone", async () => {
  const fits = async () => assert.ok(await ben.page.evaluate(() => document.documentElement.scrollWidth) <= 360, "nothing wider than the screen");
  await ben.page.setViewportSize({ width: 360, height: 740 });
  await ben.page.getByRole("button", { name: "Conversations" }).click();
  await ben.entry("Sunrise walkers").waitFor();
  await fits();
  await ben.shot("13-phone-list");
  await ben.entry("Sunrise walkers").click();
  await ben.message("Count me in").waitFor();
  await fits();
  await ben.shot("14-phone-room");
  await ben.page.getByRole("button", { name: "Members" }).click();
  await ben.page.getByRole("list", { name: "Members" }).waitFor();
  await fits();
  await ben.shot("15-phone-members");
  await ben.page.keyboard.press("Escape");
  await ben.page.getByRole("button", { name: "Conversations" }).click();
  await ben.page.getByRole("button", { name: "Health" }).click();
  await reads(health(ben).getByRole("status"), "All well");
  await health(ben).getByRole("img", { name: /now/ }).waitFor();
  await fits();
  await ben.shot("15-phone-health");
  await ben.page.keyboard.press("Escape");
  await ben.entry("Sunrise walkers").click();
  await ben.page.emulateMedia({ colorScheme: "dark" });
  await ben.shot("16-phone-dark");
});

step("leaving ends it: the conversation disappears, and the others see who left", async () => {
  await cleo.page.getByRole("button", { name: "Conversation", exact: true }).click();
  await cleo.page.getByRole("menuitem", { name: "Leave…" }).click();
  await cleo.page.getByRole("button", { name: "Leave", exact: true }).click();
  await gone(cleo.entry("Sunrise walkers"));
  await ada.page.getByText("2 members").waitFor();
});

test("no policy was violated and nothing complained", () => assert.deepEqual(problems, []));
