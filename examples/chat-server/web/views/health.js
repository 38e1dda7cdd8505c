// How the server is doing: what is wrong and what that means, the numbers, and how they move while one looks.

import { h, icon, keyed } from "../dom.js";
import { count, duration, moment, number, percent } from "../format.js";
import { Readings, breakers, checks, deadLetters, hitRate, lag, parse, sum } from "../health.js";
import { chart } from "./chart.js";

const EVERY_MS = 2_000;
const MESSAGES = "Messages per second";

const OVERALL = { ok: "All well", degraded: "Degraded", down: "Down" };
const STATES = { ok: "well", degraded: "degraded", down: "down" };

/** The numbers worth a tile; what answers null is not shown. */
const TILES = [
  ["People online", ({ health, samples }) => known(health, "presence", health.users?.online ?? sum(samples, "chat_users_online"), health.users)],
  ["Sockets of this server", ({ health, samples }) => health.sockets ?? sum(samples, "chat_sockets")],
  ["Requests per second", ({ readings }) => readings.rates("chat_events_total").at(-1)?.value],
  ["19 of 20 answered within", ({ readings }) => within(readings.quantile(0.95, "chat_event_seconds"))],
  ["Waiting to be published", ({ health, samples }) => known(health, "outbox", health.outbox?.pending ?? sum(samples, "chat_outbox_pending"), health.outbox)],
  ["Dead letters", ({ health, samples }) => known(health, "streams", deadLetters(health, samples), health.streams)],
  ["Profiles from the cache", ({ health }) => { const rate = hitRate(health.profileCache); return rate === null ? null : percent(rate); }],
  ["Running for", ({ health }) => (health.uptimeMs === undefined ? null : duration(health.uptimeMs))],
];

/** A number of something that does not answer is old: nobody knows it. What is degraded and `told` all the same counts. */
const known = (health, check, value, told) => (health.checks?.[check] && health.checks[check].status !== "ok" && !told ? "not known" : value);

const within = (seconds) => (seconds === null ? null : `${number(seconds * 1_000)} ms`);

export function healthPanel(app) {
  const readings = new Readings();
  const status = h("p", { role: "status" });
  const age = h("p", { class: "age" });
  const banner = h("div", { class: "health-status" }, status, age);
  const wrong = section("What is wrong", h("ul", { class: "reasons" }));
  const figure = h("figure", { class: "tile" });
  const tiles = h("dl", { class: "tiles" });
  const backends = section("Checks", h("ul", { class: "checks" }));
  const nodes = section("Servers", table("Servers", ["Server", "Sockets", "Since"]));
  const log = section("Event log", table("What services that follow the events have not done yet", ["Topic and group", "Unread", "Open", "Oldest"]));
  const refused = section("Refused in the last 2 minutes", h("ul", { class: "checks" }));
  const every = h("details", { class: "every", on: { toggle: () => shown && fillEvery() } }, h("summary", { text: "Every number" }), table("Every number", ["Metric", "Value"]));
  let shown = null; // { health, samples, at }: the last answer
  let [timer, looking, answers, closed] = [null, false, true, false];

  const clock = setInterval(tellAge, 1_000);
  document.addEventListener("visibilitychange", seen);
  look();

  async function look() {
    clearTimeout(timer);
    looking = true;
    try {
      const { health, metrics, ms } = await app.chat.health();
      if (closed) return;
      shown = { health, samples: parse(metrics), readings, ms, at: performance.now() };
      readings.add({ at: shown.at, uptimeMs: health.uptimeMs, samples: shown.samples });
      answers = true;
      draw();
    } catch {
      answers = false;
    }
    looking = false;
    tell();
    if (!closed && document.visibilityState === "visible") timer = setTimeout(look, EVERY_MS);
  }

  /** Nobody asks for what nobody sees. */
  function seen() {
    clearTimeout(timer);
    if (document.visibilityState === "visible" && !looking) look();
  }

  function tell() {
    const state = !answers ? "silent" : shown.health.status;
    banner.className = `health-status ${state}`;
    const text = answers ? OVERALL[state] ?? state : "The server does not answer.";
    // A screen reader says what changes here: nothing is written twice.
    if (status.textContent !== text) status.replaceChildren(icon(state === "ok" ? "check" : "alert"), text);
    tellAge();
  }

  function tellAge() {
    if (!shown) age.textContent = answers ? "" : "There is nothing to show yet.";
    else if (answers) age.textContent = `answered in ${Math.round(shown.ms)} ms`;
    else age.textContent = `What you see is ${duration(performance.now() - shown.at)} old.`;
  }

  function draw() {
    const { health, samples } = shown;
    const all = checks(health);
    const ill = [...all.filter(({ state }) => state !== "ok"), ...breakers(samples).filter(({ open }) => open).map(({ name }) => ({ name, title: `Breaker “${name}”`, state: "degraded", reason: "is open", effect: "What is behind it is not asked until it has rested." }))];
    wrong.hidden = !ill.length;
    fill(wrong.querySelector("ul"), ill, ({ title, reason }) => `${title} ${reason}`, (row, { title, state, reason, effect }) => {
      row.className = state;
      row.replaceChildren(icon("alert"), h("span", {}, h("strong", { text: `${title}: ${reason}.` }), ` ${effect}`));
    });

    const points = readings.rates("chat_messages_sent_total");
    const now = points.at(-1)?.value;
    figure.replaceChildren(h("figcaption", {}, h("span", { class: "tile-title", text: `${MESSAGES}, on this server` }), h("strong", { text: number(now ?? 0) })), chart(MESSAGES, points, shown.at));
    const tile = TILES.map(([title, value]) => ({ title, value: value(shown) })).filter(({ value }) => value !== null && value !== undefined);
    fill(tiles, tile, ({ title }) => title, (place, { title, value }) => place.replaceChildren(h("dt", { class: "tile-title", text: title }), h("dd", { text: typeof value === "number" ? number(value) : value })), ({ value }) => value, () => h("div", { class: "tile" }));

    const open = breakers(samples).map(({ name, open }) => ({ title: `Breaker “${name}”`, state: open ? "degraded" : "ok", said: open ? "open" : "closed" }));
    fill(backends.querySelector("ul"), [...all, ...open], ({ title }) => title, (row, { title, state, said }) => row.replaceChildren(h("span", { text: title }), h("span", { class: `state ${state}` }, icon(state === "ok" ? "check" : "alert"), said ?? STATES[state] ?? state)));

    nodes.hidden = !health.nodes?.length;
    rows(nodes, health.nodes ?? [], ({ node }) => node, ({ node, sockets, startedAt }) => [node, number(sockets ?? 0), startedAt ? moment(startedAt) : "–"]);
    const late = lag(health, samples);
    log.hidden = !late.length;
    rows(log, late, ({ topic, group }) => `${topic} ${group}`, ({ topic, group, unread, pending, oldestMs }) => [[topic, h("small", { text: group })], unread === null ? "not known" : number(unread), number(pending), oldestMs ? duration(oldestMs) : "–"]);
    const codes = [...readings.risenBy("chat_events_total", "code")].filter(([code]) => code !== "ok").sort(([, a], [, b]) => b - a);
    refused.hidden = !codes.length;
    fill(refused.querySelector("ul"), codes, ([code]) => code, (row, [code, times]) => row.replaceChildren(h("span", { text: code }), h("span", { text: count(times, "time", "times") })));
    fillEvery();
  }

  function fillEvery() {
    if (!every.open) return;
    const named = shown.samples.filter(({ name }) => !name.endsWith("_bucket"));
    const about = (labels) => [...labels].map(([label, value]) => `${label}=${value}`).join(" ");
    rows(every, named, ({ name, labels }) => `${name} ${about(labels)}`, ({ name, labels, value }) => [[name, labels.size > 0 && h("small", { text: about(labels) })], number(value)]);
  }

  return {
    title: "Health",
    content: [banner, wrong, figure, tiles, backends, nodes, log, refused, every],
    render() {},
    close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(clock);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}

const section = (title, ...content) => h("section", { class: "about-health", "aria-label": title, hidden: true }, h("h3", { text: title }), ...content);

const table = (name, columns) =>
  h("table", { class: "metrics", "aria-label": name }, h("thead", {}, h("tr", {}, columns.map((text, i) => h("th", { scope: "col", class: i ? "value" : "", text })))), h("tbody"));

/** Keeps the children of a list that stay, so that nothing moves away under a reader. */
function fill(list, items, key, write, stamp = Object.values, create = () => h("li")) {
  list.closest("section")?.toggleAttribute("hidden", !items.length);
  keyed(list, items, { key, stamp: (item) => [stamp(item)].flat(), create, fill: write });
}

function rows(place, items, key, cells) {
  keyed(place.querySelector("tbody"), items, {
    key,
    stamp: (item) => [JSON.stringify(item, (_, value) => (value instanceof Map ? [...value] : value))],
    create: () => h("tr"),
    fill: (row, item) => {
      const [head, ...rest] = cells(item);
      row.replaceChildren(h("th", { scope: "row" }, head), ...rest.map((text) => h("td", { class: "value", text })));
    },
  });
}
