// A thread: the message that began it, and the replies to it.

import { h, roving } from "../dom.js";
import { merge, nameOf } from "../store.js";
import { composer } from "./composer.js";
import { messageList, rows } from "./message.js";

export function threadPanel(app, { conversationId, root }) {
  const { chat } = app;
  let loaded = []; // the root and its replies, as they were when loaded
  let problem = "";
  const note = h("p", { class: "hint", role: "status", text: "Loading…" });
  const list = h("ol", { class: "messages" });
  const log = h("div", { class: "log", role: "log", "aria-label": "Thread" }, note, list);
  const also = h("input", { type: "checkbox", id: "thread-also" });
  const writer = composer({
    id: "thread-text",
    label: "Reply in the thread",
    send: (content, answered) => {
      const alsoInConversation = also.checked;
      chat.send({ conversationId, content, replyTo: answered?.messageId, thread: { root, alsoInConversation } });
      also.checked = false;
    },
    edit: (message, content) => app.attempt(chat.edit(message.messageId, content, message.revision)),
  });
  const messages = messageList(app, list, {
    reply: (message) => writer.reply(message, `Reply to ${nameOf(app.store.get(), message.senderId)}`),
    edit: (message) => writer.edit(message),
  });
  const adjust = roving(list, "li.message");
  load();

  async function load() {
    let cursor;
    try {
      do {
        const page = await chat.thread(root, cursor);
        loaded = merge(loaded, [page.root, ...page.messages]);
        cursor = page.hasMore ? page.nextCursor : undefined;
      } while (cursor);
    } catch (error) {
      problem = error.message;
    }
    note.textContent = problem;
    note.hidden = !problem;
    app.refresh();
    requestAnimationFrame(() => writer.focus());
  }

  function render(state) {
    const room = state.rooms.get(conversationId)?.messages ?? [];
    const live = room.filter((message) => message.messageId === root || message.thread?.root === root);
    const all = merge(loaded, live);
    const outbox = state.outbox.filter((item) => item.thread?.root === root);
    const end = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    messages.render(state, rows({ messages: all, outbox }));
    adjust();
    if (end) log.scrollTop = log.scrollHeight;
  }

  const choice = h("label", { class: "option also", for: "thread-also" }, also, "Also show in the conversation");
  return { title: "Thread", content: [log, writer.root, choice], render };
}
