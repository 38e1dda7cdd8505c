// What the numbers of a server say: read, compared with what was read before, put into words. Nothing here draws.

/** For how long readings are kept: what a chart shows. */
export const WINDOW_MS = 120_000;
/** Two readings further apart say nothing about the time between them: nobody looked. */
export const GAP_MS = 15_000;

/** Reads Prometheus text: `[{ name, labels, value }]`, labels as a `Map`. */
export function parse(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, , labels = "", value] = /^([a-zA-Z_:][\w:]*)(\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+([^\s]+)/.exec(line) ?? [];
    const number = { "+Inf": Infinity, "-Inf": -Infinity, NaN }[value] ?? Number(value);
    if (!name || (Number.isNaN(number) && value !== "NaN")) return [];
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, raw]) => [label, raw.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char))]);
    return [{ name, labels: new Map(pairs), value: number }];
  });
}

/** The samples of a metric, and of those the ones with these labels. */
export const pick = (samples, name, where = {}) =>
  samples.filter((sample) => sample.name === name && Object.entries(where).every(([label, value]) => sample.labels.get(label) === value));

/** Their sum; null when there is none. */
export function sum(samples, name, where) {
  const found = pick(samples, name, where);
  return found.length ? found.reduce((all, { value }) => all + value, 0) : null;
}

/** How much a counter has risen. One that fell began anew. */
const risen = (before, now) => (now < before ? now : now - before);

/**
 * What was read lately, as `{ at, samples }`; `at` is in milliseconds of a clock that never goes back. A server that began
 * after the one before is another one (restarted, or a second one behind the same address): what was read is forgotten.
 */
export class Readings {
  #kept = [];
  #began = null;

  add({ at, uptimeMs, samples }) {
    const began = at - (uptimeMs ?? 0);
    if (uptimeMs !== undefined && this.#began !== null && Math.abs(began - this.#began) > 5_000) this.#kept = [];
    if (uptimeMs !== undefined) this.#began = began;
    this.#kept = [...this.#kept.filter((reading) => at - reading.at <= WINDOW_MS), { at, samples }];
  }

  /** A gauge over time: `[{ at, value }]`. */
  values(name) {
    return this.#kept.flatMap(({ at, samples }) => {
      const value = sum(samples, name);
      return value === null ? [] : [{ at, value }];
    });
  }

  /** A counter over time, per second between each two readings. A value of null is where nobody looked. */
  rates(name, where) {
    const points = [];
    for (const [before, now] of this.#pairs()) {
      if (now.at - before.at > GAP_MS) points.push({ at: now.at, value: null });
      else points.push({ at: now.at, value: (this.#rise(name, where, before, now) * 1_000) / (now.at - before.at) });
    }
    return points;
  }

  /** How much a counter has risen since the first reading, by one of its labels; what has not risen is left out. */
  risenBy(name, label) {
    const found = new Map();
    for (const [before, now] of this.#pairs()) {
      const known = new Map(pick(before.samples, name).map((sample) => [key(sample), sample.value]));
      for (const sample of pick(now.samples, name)) {
        const more = risen(known.get(key(sample)) ?? 0, sample.value);
        if (more > 0) found.set(sample.labels.get(label), (found.get(sample.labels.get(label)) ?? 0) + more);
      }
    }
    return found;
  }

  /** Within how many seconds this share of what a histogram measured was done, since the first reading; null without any. */
  quantile(share, name, where) {
    const buckets = new Map();
    for (const [before, now] of this.#pairs()) {
      const known = new Map(pick(before.samples, `${name}_bucket`, where).map((sample) => [key(sample), sample.value]));
      for (const sample of pick(now.samples, `${name}_bucket`, where)) {
        const bound = { "+Inf": Infinity }[sample.labels.get("le")] ?? Number(sample.labels.get("le"));
        buckets.set(bound, (buckets.get(bound) ?? 0) + risen(known.get(key(sample)) ?? 0, sample.value));
      }
    }
    const sorted = [...buckets].sort(([a], [b]) => a - b);
    const wanted = share * (sorted.at(-1)?.[1] ?? 0);
    if (!wanted) return null;
    let [low, below] = [0, 0];
    for (const [bound, count] of sorted) {
      if (count >= wanted) return bound === Infinity ? low : low + ((bound - low) * (wanted - below)) / (count - below || 1);
      [low, below] = [bound, count];
    }
    return low;
  }

  #pairs() {
    return this.#kept.slice(1).map((now, i) => [this.#kept[i], now]);
  }

  /** Label by label, since a sum hides that one of its counters began anew. */
  #rise(name, where, before, now) {
    const known = new Map(pick(before.samples, name, where).map((sample) => [key(sample), sample.value]));
    return pick(now.samples, name, where).reduce((all, sample) => all + risen(known.get(key(sample)) ?? 0, sample.value), 0);
  }
}

const key = ({ labels }) => [...labels].flat().join("\u0000");

/** The share of profiles that were in the cache; null before anybody asked. */
export function hitRate({ hits = 0, misses = 0 } = {}) {
  return hits + misses ? hits / (hits + misses) : null;
}

/** What groups have not done yet, the oldest first: `[{ topic, group, unread, pending, oldestMs }]`, unread null when not known. */
export function lag(health, samples) {
  const told = health.streams?.topics?.flatMap(({ topic, groups = [] }) => groups.map((group) => ({ topic, group: group.group, unread: group.unread ?? null, pending: group.pending, oldestMs: group.oldestMs ?? 0 })));
  const measured = () => pick(samples, "chat_stream_pending").map(({ labels, value }) => {
    const where = { topic: labels.get("topic"), group: labels.get("group") };
    return { ...where, unread: sum(samples, "chat_stream_unread", where), pending: value, oldestMs: (sum(samples, "chat_stream_oldest_seconds", where) ?? 0) * 1_000 };
  });
  // While the streams do not answer, what was measured is old.
  const silent = !told && health.checks?.streams && health.checks.streams.status !== "ok";
  return (told ?? (silent ? [] : measured())).sort((a, b) => b.oldestMs - a.oldestMs || (b.unread ?? 0) - (a.unread ?? 0) || a.topic.localeCompare(b.topic) || a.group.localeCompare(b.group));
}

/** Events that were given up; null where there is no such thing. */
export const deadLetters = (health, samples) => health.streams?.deadLetters ?? sum(samples, "chat_dead_letters");

/** Breakers, and whether each is open. */
export const breakers = (samples) => pick(samples, "chat_breaker_open").map(({ labels, value }) => ({ name: labels.get("breaker"), open: value > 0 }));

/** What each check is called, and what it means for people when it is not well. */
const CHECKS = {
  messages: ["Messages", "Messages cannot be read or written."],
  outbox: ["Outbox", "What is written reaches others late."],
  events: ["Event log", "What others write may arrive late."],
  presence: ["Presence", "Who is online is not known, or old."],
  profiles: ["Profiles", "Names may be missing or old."],
  redis: ["Redis", "Nothing that was written is lost; what is live may wait until it is back."],
  mongo: ["MongoDB", "Messages cannot be read or written."],
  streams: ["Streams", "Services that follow the events lag behind."],
  recovery: ["Recovery", "Counts and presence may be old until that is done."],
};

/** What the server says in a word or a code. */
const WORDS = {
  Disconnected: "does not answer",
  "no answer in time": "does not answer in time",
  "chat.unavailable": "is away",
  "chat.timeout": "takes too long",
};

const inWords = (message) => {
  if (/^degraded since /.test(message)) return "waits for Redis";
  if (/^resyncing since /.test(message)) return "compares what Redis may have lost with the truth";
  return WORDS[message] ?? message ?? "is not well";
};

/** Every check, the worst first: `{ name, title, state, reason?, effect? }`. */
export function checks(health) {
  const order = ["down", "degraded", "ok"];
  return Object.entries(health.checks ?? {})
    .map(([name, { status, message }]) => {
      const [title, effect] = CHECKS[name] ?? [name, ""];
      return status === "ok" ? { name, title, state: status } : { name, title, state: status, reason: inWords(message), effect };
    })
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
}

/** The smallest round number that is not below: 1, 2, 5, 10, 20, 50… */
export function roundUp(value) {
  if (!(value > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Where points lie in a drawing: pieces of line, broken where a value is null, and what the top of the drawing is worth. */
export function plot(points, { now, width, height }) {
  const top = roundUp(Math.max(0, ...points.map(({ value }) => value ?? 0)));
  const pieces = [[]];
  for (const { at, value } of points) {
    if (value === null) pieces.push([]);
    else pieces.at(-1).push([width * (1 - (now - at) / WINDOW_MS), height * (1 - value / top)]);
  }
  return { top, pieces: pieces.filter((piece) => piece.length) };
}
