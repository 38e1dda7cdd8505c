// Elements without markup: text goes in as text, so nothing a user wrote is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element. In `props`, `class` and `text` say what they say, `on` holds listeners, `data` the dataset;
 * a boolean switches an attribute, everything else is an attribute.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The drawings the page uses, as 24 × 24 strokes. */
const PATHS = {
  send: "M5 12h13M12 5l7 7-7 7",
  back: "M19 12H6M12 19l-7-7 7-7",
  close: "M6 6l12 12M18 6L6 18",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16.2 16.2L21 21",
  people: "M9 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 5a3.3 3.3 0 0 1 0 6.2M18 14.4c2.2.8 3.5 2.8 3.5 5.6",
  pulse: "M3 12h4l2.5-7 5 14 2.5-7h4",
  plus: "M12 5v14M5 12h14",
  pin: "M9 3h6M10 3v6l-4 5h12l-4-5V3M12 14v7",
  bell: "M6 17V11a6 6 0 1 1 12 0v6l1.5 2h-15zM10 21h4",
  mute: "M6 17V11a6 6 0 0 1 9.5-4.9M18 11v6l1.5 2h-15L6 17M10 21h4M4 3l17 18",
  archive: "M3.5 5h17v4h-17zM5 9v10.5h14V9M10 13h4",
  reply: "M10 7L4 12l6 5M4.5 12H14c3.5 0 6 2 6 6",
  thread: "M4 5h16v11h-9l-5 4v-4H4zM8 9h8M8 12h5",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  edit: "M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19z",
  trash: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5M14 11v5",
  smile: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM8.5 14c1.8 2.6 5.2 2.6 7 0M9 9.5v.5M15 9.5v.5",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  unread: "M4 6h16v12H4zM4.5 6.5L12 13l7.5-6.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  checks: "M2 12.5l4.5 4.5L16 7.5M12.5 16.5l.5.5L22.5 7.5",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 2",
  alert: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01",
  down: "M12 5v13M6 12.5l6 6 6-6",
  leave: "M10 4H5v16h5M10 12h10M16 8l4 4-4 4",
};

/** A drawing; decoration unless it gets a label. */
export function icon(name, label) {
  const about = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return s("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, ...about }, s("path", { d: PATHS[name] }));
}

/** Makes an element of a drawing. */
export function s(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) element.setAttribute(name, value);
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button with a drawing; its label is its tooltip and its name. */
export function iconButton(name, label, onClick, props = {}) {
  return h("button", { type: "button", ...props, class: `icon-button ${props.class ?? ""}`, "aria-label": label, title: label, on: { click: onClick } }, icon(name));
}

/**
 * Brings the children of `parent` in line with `items`. A child is kept while its `key` stays; its contents are
 * made anew only when `stamp` says that what it shows has changed. The focus stays where it was.
 */
export function keyed(parent, items, { key, stamp, create, fill }) {
  const known = parent.keyed ?? new Map();
  const next = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    const entry = known.get(id) ?? { element: create(item), stamp: null };
    const now = stamp(item);
    if (!same(entry.stamp, now)) {
      const focus = entry.element.contains(document.activeElement) ? document.activeElement.dataset?.focus : undefined;
      fill(entry.element, item);
      entry.stamp = now;
      if (focus) entry.element.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    }
    if (entry.element === place) place = place.nextSibling;
    else parent.insertBefore(entry.element, place);
    next.set(id, entry);
    known.delete(id);
  }
  for (const { element } of known.values()) element.remove();
  parent.keyed = next;
}

const same = (a, b) => a !== null && a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

/** Arrow keys, Home and End move the one tab stop among the children of a list. */
export function roving(list, selector) {
  const items = () => [...list.querySelectorAll(selector)];
  const only = (chosen) => {
    for (const item of items()) item.tabIndex = item === chosen ? 0 : -1;
  };
  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) only(item);
  });
  list.addEventListener("keydown", (event) => {
    if (!event.target.matches(selector)) return;
    const all = items();
    const at = all.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, to))]?.focus();
  });
  return () => {
    const all = items();
    if (!all.some((item) => item.tabIndex === 0)) only(all.at(0));
  };
}
