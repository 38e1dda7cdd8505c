// How the server is doing: its checks, its numbers, and how they move while one looks.

import { h, icon, sparkline } from "../dom.js";
import { number } from "../format.js";

const EVERY_MS = 2_000;
const KEPT = 60; // readings behind a line

/** The numbers worth a tile; rates are per second. */
const TILES = [
  { title: "Sockets", name: "chat_sockets" },
  { title: "People online", name: "chat_users_online" },
  { title: "Messages / s", name: "chat_messages_sent_total", rate: true },
  { title: "Events / s", name: "chat_events_total", rate: true },
];

export function healthPanel(app) {
  const readings = new Map(); // name -> [{ at, value }]
  const status = h("p", { class: "health-status", role: "status" });
  const tiles = h("div", { class: "tiles" });
  const checks = h("dl", { class: "checks" });
  const table = h("table", { class: "metrics" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "Metric" }), h("th", { scope: "col", class: "value", text: "Value" }))), h("tbody"));
  let timer = null;
  let closed = false;
  look();

  async function look() {
    try {
      const { health, metrics, ms } = await app.chat.health();
      if (!closed) show(health, parse(metrics), ms);
    } catch {
      status.className = "health-status down";
      status.replaceChildren(icon("alert"), "The server does not answer.");
    }
    if (!closed) timer = setTimeout(look, EVERY_MS);
  }

  function show(health, samples, ms) {
    status.className = `health-status ${health.status}`;
    status.replaceChildren(icon(health.status === "ok" ? "check" : "alert"), `${{ ok: "All well", degraded: "Degraded", down: "Down" }[health.status] ?? health.status} · answered in ${Math.round(ms)} ms`);
    const sums = new Map();
    for (const { name, value } of samples) sums.set(name, (sums.get(name) ?? 0) + value);
    tiles.replaceChildren(...TILES.filter(({ name }) => sums.has(name)).map((tile) => draw(tile, sums.get(tile.name))));
    const entries = [
      ...Object.entries(health.checks ?? {}).map(([name, check]) => [name, check.message ? `${check.status}: ${check.message}` : check.status ?? String(check), check.status]),
      ...Object.entries(health.profileCache ?? {}).map(([name, value]) => [`profiles: ${name}`, number(value)]),
    ];
    checks.replaceChildren(...entries.flatMap(([name, text, state]) => [h("dt", { text: name }), h("dd", { class: state ?? "", text })]));
    table.tBodies[0].replaceChildren(...samples.filter(({ name }) => !name.endsWith("_bucket")).map(({ name, labels, value }) =>
      h("tr", {}, h("th", { scope: "row" }, name, labels && h("small", { text: labels })), h("td", { class: "value", text: number(value) }))));
  }

  function draw({ title, name, rate }, value) {
    const kept = [...(readings.get(name) ?? []), { at: performance.now(), value }].slice(-KEPT);
    readings.set(name, kept);
    const values = rate ? kept.slice(1).map((reading, i) => Math.max(0, ((reading.value - kept[i].value) * 1_000) / (reading.at - kept[i].at))) : kept.map((reading) => reading.value);
    return h("div", { class: "tile" }, h("span", { class: "tile-title", text: title }), h("strong", { text: values.length ? number(values.at(-1)) : "–" }), values.length > 1 ? sparkline(values) : "");
  }

  return {
    title: "Health",
    content: [status, tiles, checks, table],
    render() {},
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** Reads Prometheus text: `[{ name, labels, value }]`. */
export function parse(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line) ?? [];
    return name ? [{ name, labels, value: Number(value) }] : [];
  });
}
