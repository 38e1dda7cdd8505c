// Where one writes: Enter sends, Shift+Enter breaks the line, Escape takes a reply or an edit back.

import { h, icon, iconButton } from "../dom.js";

/** The longest text the server takes, in characters. */
const MAX_CHARS = 10_000;

/**
 * `send(text, context)` and `edit(message, text)` do what their names say; `typing(on)` hears about every key;
 * `editLast()` is asked for when the arrow up is pressed in an empty field.
 */
export function composer({ id, label, send, edit, typing = () => {}, editLast = () => {} }) {
  let context = null; // { kind: "reply" | "edit", message, title, text }
  const text = h("textarea", { id, rows: "1", "aria-label": label, placeholder: label, autocomplete: "off", on: { input: changed, keydown: pressed, blur: () => typing(false) } });
  const about = h("div", { class: "context", hidden: true });
  const left = h("span", { class: "left", role: "status" });
  const button = h("button", { class: "send", "aria-label": "Send", title: "Send" }, icon("send"));
  const root = h("form", { class: "composer", on: { submit } }, about, h("div", { class: "compose-line" }, text, left, button));
  changed();

  function changed() {
    if (!CSS.supports("field-sizing", "content")) text.rows = Math.min(7, text.value.split("\n").length);
    const remaining = MAX_CHARS - [...text.value].length;
    left.textContent = remaining < 500 ? String(remaining) : "";
    left.classList.toggle("over", remaining < 0);
    button.disabled = !text.value.trim() || remaining < 0;
    if (document.activeElement === text) typing(Boolean(text.value.trim()) && context?.kind !== "edit");
  }

  function pressed(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      root.requestSubmit();
    } else if (event.key === "Escape" && context) {
      event.preventDefault();
      cancel();
    } else if (event.key === "ArrowUp" && !text.value && !context) {
      event.preventDefault();
      editLast();
    }
  }

  function submit(event) {
    event.preventDefault();
    if (button.disabled) return;
    const [content, done] = [text.value.trim(), context];
    fill("");
    show(null);
    typing(false);
    if (done?.kind === "edit") edit(done.message, content);
    else send(content, done?.message);
    text.focus();
  }

  function show(next) {
    context = next;
    about.hidden = !next;
    about.replaceChildren(...(next
      ? [icon(next.kind), h("span", { class: "grow" }, h("strong", { text: next.title }), h("span", { class: "quote", text: next.text })), iconButton("close", "Cancel", cancel)]
      : []));
  }

  function cancel() {
    if (context?.kind === "edit") fill("");
    show(null);
    text.focus();
  }

  function fill(value) {
    text.value = value;
    changed();
  }

  return {
    root,
    focus: () => text.focus(),
    reply(message, title) {
      show({ kind: "reply", message, title, text: message.content });
      text.focus();
    },
    edit(message) {
      show({ kind: "edit", message, title: "Edit message", text: message.content });
      fill(message.content);
      text.focus();
    },
    /** Puts a draft away, or takes one out. */
    draft: () => (context?.kind === "edit" ? "" : text.value),
    restore(value = "") {
      show(null);
      fill(value);
    },
  };
}
