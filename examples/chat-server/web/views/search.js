// Finding what was said, here or everywhere.

import { h, keyed, roving } from "../dom.js";
import { short } from "../format.js";
import { nameOf, titleOf } from "../store.js";
import { face } from "./parts.js";

const PATIENCE_MS = 250; // wait for the next key before asking

export function searchPanel(app, { conversationId: only }) {
  let hits = [];
  let cursor = null;
  let asked = 0; // an answer to an older question is thrown away
  let timer = null;
  const here = only ?? app.route.conversationId;
  const text = h("input", { type: "search", id: "search-text", autofocus: true, autocomplete: "off", placeholder: "Search messages", "aria-label": "Search messages", maxlength: "256", on: { input: later, keydown: down } });
  const scope = h("input", { type: "checkbox", id: "search-here", checked: Boolean(only), on: { change: () => ask() } });
  const note = h("p", { class: "hint", role: "status" });
  const list = h("ul", { class: "hits", "aria-label": "Found" });
  const more = h("button", { type: "button", class: "quiet", text: "More", hidden: true, on: { click: () => ask(cursor) } });
  const form = h("form", { class: "search-form", on: { submit: (event) => (event.preventDefault(), ask()) } }, text,
    here && h("label", { class: "option", for: "search-here" }, scope, "Only in this conversation"));
  const adjust = roving(list, "button");

  function later() {
    clearTimeout(timer);
    timer = setTimeout(ask, PATIENCE_MS);
  }

  function down(event) {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    list.querySelector("button")?.focus();
  }

  async function ask(from) {
    clearTimeout(timer);
    const question = ++asked;
    const words = text.value.trim();
    if (words.length < 2) return answered({ messages: [] }, words ? "Two letters or more." : "");
    try {
      const answer = await app.chat.search(words, scope.checked ? here : undefined, from || undefined);
      if (question === asked) answered(answer, answer.messages.length || from ? "" : "Nothing found.", from);
    } catch (error) {
      if (question === asked) answered({ messages: [] }, error.message);
    }
  }

  function answered({ messages, nextCursor, hasMore }, words, from) {
    hits = from ? [...hits, ...messages] : messages;
    cursor = nextCursor;
    more.hidden = !hasMore;
    note.textContent = words;
    app.refresh();
  }

  function render(state) {
    keyed(list, hits, {
      key: ({ messageId }) => messageId,
      stamp: (message) => [message, nameOf(state, message.senderId)],
      create: (message) => h("li", {}, h("button", { type: "button", class: "hit", tabindex: "-1", on: { click: () => app.show(message.conversationId, message.seq) } })),
      fill: (row, message) => {
        const conversation = state.conversations.get(message.conversationId);
        row.firstChild.replaceChildren(
          face(state, message.senderId, { presence: false, size: "small" }),
          h("span", { class: "about" },
            h("span", { class: "line" }, h("span", { class: "title", text: nameOf(state, message.senderId) }), h("time", { class: "when", text: short(message.timestamp) })),
            h("span", { class: "found" }, marked(message.content, text.value)),
            conversation && h("span", { class: "preview", text: titleOf(state, conversation) })));
      },
    });
    adjust();
  }

  return { title: "Search", content: [form, note, list, more], render, close: () => clearTimeout(timer) };
}

/** The text with the searched words marked, whatever their case and accents. */
function marked(content, query) {
  const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const terms = fold(query).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return content.split(/([\p{L}\p{N}\p{M}]+)/u).map((part, i) =>
    (i % 2 && terms.some((term) => fold(part).startsWith(term)) ? h("mark", { text: part }) : part));
}
