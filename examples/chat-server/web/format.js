// How times, names and numbers read.

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const PERCENT = new Intl.NumberFormat(undefined, { style: "percent" });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const startOfDay = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
const daysAgo = (date, now) => Math.round((startOfDay(now) - startOfDay(date)) / 86_400_000);

/** 14:05 */
export const time = (iso) => TIME.format(new Date(iso));

/** The whole moment, for tooltips. */
export const moment = (iso) => FULL.format(new Date(iso));

/** One text per day: what a separator between two days says. */
export function day(iso, now = new Date()) {
  const date = new Date(iso);
  const ago = daysAgo(date, now);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return ago < 7 && ago > 0 ? DAY.format(date) : DATE.format(date);
}

/** As short as a list wants it. */
export function short(iso, now = new Date()) {
  if (!iso) return "";
  const ago = daysAgo(new Date(iso), now);
  if (ago <= 0) return time(iso);
  return ago === 1 ? "Yesterday" : DATE.format(new Date(iso));
}

/** "seen 5 min ago" */
export function since(iso, now = Date.now()) {
  const minutes = Math.floor((now - new Date(iso)) / 60_000);
  if (minutes < 1) return "a moment ago";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 1_440 ? `${Math.floor(minutes / 60)} h ago` : short(iso);
}

/** A badge: 99+ at most. */
export const badge = (count) => (count > 99 ? "99+" : String(count));

/** A number to read. */
export const number = (value) => (Math.abs(value) >= 100_000 ? COMPACT : NUMBER).format(value);

/** 93% */
export const percent = (share) => PERCENT.format(share);

/** 12 s, 5 min, 3 h 20 min, 2 d 4 h */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const parts = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const at = parts.findIndex(([, size]) => seconds >= size);
  if (at < 0 || at > 1) return `${Math.floor(seconds / (parts[at]?.[1] ?? 1))} ${parts[at]?.[0] ?? "s"}`;
  const [[unit, size], [smaller, fraction]] = parts.slice(at, at + 2);
  const rest = Math.floor((seconds % size) / fraction);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

/** Up to two letters that stand for a name. */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0] ?? "?"];
  return letters.map((word) => [...word][0].toUpperCase()).join("");
}

/** One of eight hues, always the same for the same id. */
export function hue(id) {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return `hue-${hash % 8}`;
}

/** "Anna", "Anna and Ben", "Anna, Ben and 3 more" */
export function people(names) {
  if (names.length < 2) return names[0] ?? "";
  if (names.length === 2) return `${names[0]} and ${names[1]}`;
  return `${names[0]}, ${names[1]} and ${names.length - 2} more`;
}

/** 1 → "1 reply", 2 → "2 replies" */
export const count = (n, one, many) => `${n} ${n === 1 ? one : many}`;

/** The id the development sign-in gives a name: the same name is the same person. */
export const idFromName = (name) => name.trim().toLowerCase().replace(/\s+/gu, "-");
