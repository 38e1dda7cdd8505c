// One message: its text, what hangs on it, and what can be done with it.

import { h, icon, iconButton, keyed } from "../dom.js";
import { count, day, hue, moment, people, time } from "../format.js";
import { announcement, isInConversation, nameOf, receiptOf } from "../store.js";
import { face, openDialog, openMenu } from "./parts.js";

const EMOJIS = ["👍", "❤️", "😂", "🎉", "😮", "😢", "🙏", "👀"];
const GROUP_MS = 5 * 60_000; // messages of one person this close together share a face
const RECEIPTS = { SENT: ["check", "Sent"], DELIVERED: ["checks", "Delivered"], READ: ["checks", "Read"] };

/** What a list of messages shows: separators, messages in groups, and what is still on its way. */
export function rows({ messages, outbox = [], newFrom = Infinity }) {
  const all = [];
  let before = null;
  for (const message of messages) {
    const today = day(message.timestamp);
    if (!before || day(before.timestamp) !== today) all.push({ kind: "day", key: `day ${today}`, text: today });
    const first = message.seq >= newFrom && !(before?.seq >= newFrom);
    if (first) all.push({ kind: "new", key: "new", text: "New" });
    const follows = !first && before?.senderId === message.senderId && before.type !== "SYSTEM" && all.at(-1)?.kind === "message"
      && new Date(message.timestamp) - new Date(before.timestamp) < GROUP_MS;
    all.push({ kind: "message", key: `seq ${message.seq}`, message, follows });
    before = message;
  }
  for (const item of outbox) all.push({ kind: "pending", key: `out ${item.temporaryId}`, item });
  return all;
}

/**
 * Draws rows into a list and adds the toolbar of whichever message is under the pointer or has the focus.
 * `actions` is what the room offers: `reply`, `thread`, `edit`, `jump`; a missing one is not shown.
 */
export function messageList(app, list, actions) {
  const { chat } = app;
  const bar = h("div", { class: "actions", role: "toolbar", "aria-label": "Message actions" });
  let shown = []; // what the list shows now

  const find = (element) => {
    const row = element.closest?.("li.message");
    return row && list.contains(row) ? { row, message: shown.find(({ key }) => key === row.dataset.key)?.message } : {};
  };
  const offer = ({ target }) => {
    const { row, message } = find(target);
    if (!row || !message || row.contains(bar) || message.deleted || message.type === "SYSTEM") return;
    if (document.querySelector(":popover-open")) return;
    bar.replaceChildren(...buttons(message));
    row.querySelector(".bubble")?.append(bar);
  };
  list.addEventListener("pointerover", offer);
  list.addEventListener("focusin", offer);
  list.addEventListener("pointerleave", () => bar.contains(document.activeElement) || document.querySelector(":popover-open") || bar.remove());
  list.addEventListener("keydown", (event) => {
    const { row, message } = find(event.target);
    if (event.target !== row || !message || message.deleted || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { r: actions.reply, t: actions.thread, e: mine(message) ? actions.edit : undefined, Delete: remove, Enter: () => bar.querySelector("button")?.focus() }[event.key];
    if (!act) return;
    event.preventDefault();
    act(message);
  });

  const mine = (message) => message.senderId === app.store.get().me.userId;

  function buttons(message) {
    return [
      iconButton("smile", "React", (event) => pick(event.currentTarget, message), { "aria-haspopup": "menu" }),
      actions.reply && iconButton("reply", "Reply (R)", () => actions.reply(message)),
      actions.thread && iconButton("thread", "Thread (T)", () => actions.thread(message)),
      iconButton("more", "More", (event) => more(event.currentTarget, message), { "aria-haspopup": "menu" }),
    ].filter(Boolean);
  }

  function pick(anchor, message) {
    openMenu(anchor, EMOJIS.map((emoji) => ({ emoji, label: `React with ${emoji}`, select: () => toggle(message, emoji) })), { grid: true });
  }

  function toggle(shownMessage, emoji) {
    const { messageId, conversationId } = shownMessage;
    const state = app.store.get();
    const now = state.rooms.get(conversationId)?.messages.find((message) => message.messageId === messageId) ?? shownMessage;
    const on = !now.reactions?.some((reaction) => reaction.emoji === emoji && reaction.users.includes(state.me.userId));
    app.attempt(chat.react(messageId, emoji, on));
  }

  function more(anchor, message) {
    const conversation = app.store.get().conversations.get(message.conversationId);
    const leads = conversation?.role !== "member";
    openMenu(anchor, [
      mine(message) && actions.edit && { label: "Edit", icon: "edit", select: () => actions.edit(message) },
      { label: "Copy text", icon: "copy", select: () => app.attempt(navigator.clipboard.writeText(message.content)) },
      (leads || conversation?.type === "PRIVATE") && {
        label: message.pin ? "Unpin" : "Pin", icon: "pin", select: () => app.attempt(chat.pinMessage(message.messageId, !message.pin)),
      },
      mine(message) && { label: "Who has read this", icon: "checks", select: () => readers(message) },
      !mine(message) && actions.unread && { label: "Mark unread from here", icon: "unread", select: () => actions.unread(message) },
      { label: "Delete…", icon: "trash", danger: true, select: () => remove(message) },
    ]);
  }

  function remove(message) {
    const conversation = app.store.get().conversations.get(message.conversationId);
    const forAll = mine(message) || (conversation?.type !== "PRIVATE" && conversation?.role !== "member");
    const option = (value, text, checked) => h("label", { class: "option" }, h("input", { type: "radio", name: "delete-type", value, checked, autofocus: checked }), text);
    const dialog = openDialog({
      title: "Delete message?",
      action: "Delete",
      danger: true,
      content: [
        h("blockquote", { class: "quote", text: message.content }),
        h("fieldset", {}, h("legend", { class: "hidden", text: "Delete for" }),
          forAll && option("FOR_EVERYONE", "For everyone", true), option("FOR_ME", "Only for me", !forAll)),
      ],
      submit: () => chat.delete(message.messageId, dialog.querySelector("input:checked").value),
    });
  }

  async function readers(message) {
    const answer = await app.attempt(chat.readers(message.messageId));
    if (!answer) return;
    const state = app.store.get();
    const names = (userIds) => userIds.map((userId) => h("li", {}, face(state, userId, { size: "small" }), nameOf(state, userId)));
    const only = answer.deliveredTo.filter((userId) => !answer.readBy.includes(userId));
    const dialog = openDialog({
      title: "Who has read this",
      action: "Done",
      content: [
        h("h3", { text: `Read by ${answer.readBy.length}` }), h("ul", { class: "faces" }, names(answer.readBy)),
        only.length > 0 && [h("h3", { text: `Delivered to ${only.length}` }), h("ul", { class: "faces" }, names(only))],
      ],
      submit: () => {},
    });
    dialog.classList.add("plain");
  }

  return {
    toolbar: bar,
    render(state, items) {
      shown = items;
      const focused = list.contains(document.activeElement);
      keyed(list, items, {
        key: ({ key }) => key,
        stamp: (row) => stamp(state, row),
        create: ({ kind, key }) => h("li", { class: kind, data: { key, focus: key }, tabindex: kind === "message" ? "-1" : undefined }, h("div", { class: "row" })),
        fill: (element, row) => {
          element.className = classes(state, row);
          if (row.kind === "message") element.dataset.seq = row.message.seq;
          const offered = element.contains(bar);
          const pressed = bar.contains(document.activeElement) ? document.activeElement : null;
          element.firstChild.replaceChildren(...contents(state, row));
          if (offered && !row.message?.deleted) element.querySelector(".bubble")?.append(bar);
          if (offered) pressed?.focus({ preventScroll: true });
        },
      });
      // A message on its way gives its place to the one that arrived; the focus goes along.
      if (focused && !list.contains(document.activeElement)) [...list.querySelectorAll(".message")].at(-1)?.focus({ preventScroll: true });
    },
  };

  function stamp(state, { kind, text, message, item, follows }) {
    if (kind === "pending") return [item];
    if (kind !== "message") return [text];
    if (message.type === "SYSTEM") return [message, announcement(state, message)];
    const own = message.senderId === state.me.userId;
    return [message, follows, nameOf(state, message.senderId), own && receiptOf(state, message), message.replyTo && quoted(state, message)];
  }

  function classes(state, { kind, message, item, follows }) {
    if (kind === "pending") return `message mine pending${item.error ? " failed" : ""}`;
    if (kind !== "message") return `separator ${kind}`;
    if (message.type === "SYSTEM") return "message system";
    return ["message", message.senderId === state.me.userId && "mine", follows && "follows", message.deleted && "deleted"].filter(Boolean).join(" ");
  }

  function contents(state, { kind, text, message, item, follows }) {
    if (kind === "pending") return pending(item);
    if (kind !== "message") return [h("span", { text })];
    if (message.type === "SYSTEM") return [h("span", { text: announcement(state, message) })];
    const own = message.senderId === state.me.userId;
    return [
      !own && h("span", { class: "gutter" }, !follows && face(state, message.senderId, { presence: false, size: "small" })),
      h("div", { class: "bubble" },
        !own && !follows && h("span", { class: `author ${hue(message.senderId)}`, text: nameOf(state, message.senderId) }),
        message.replyTo && quote(state, message),
        message.deleted ? h("em", { class: "text", text: "This message was deleted." }) : h("p", { class: "text", dir: "auto" }, linked(message.content)),
        (message.attachments ?? []).map(({ name, size }) => h("p", { class: "file", text: `${name} · ${Math.ceil(size / 1024)} kB` })),
        h("span", { class: "meta" },
          message.pin && icon("pin", "Pinned"),
          message.editedAt && !message.deleted && h("span", { text: "edited", title: moment(message.editedAt) }),
          h("time", { datetime: message.timestamp, title: moment(message.timestamp), text: time(message.timestamp) }),
          own && !message.deleted && receipt(receiptOf(state, message)))),
      h("div", { class: "below" },
        (message.reactions ?? []).map((reaction) => chip(state, message, reaction)),
        actions.thread && message.replies?.replies > 0 && h("button", {
          type: "button", class: "chip replies", data: { focus: "replies" }, on: { click: () => actions.thread(message) },
        }, icon("thread"), count(message.replies.replies, "reply", "replies"))),
    ].filter(Boolean);
  }

  function chip(state, message, { emoji, users }) {
    const own = users.includes(state.me.userId);
    const names = people(users.map((userId) => nameOf(state, userId)));
    return h("button", {
      type: "button", class: own ? "chip own" : "chip", "aria-pressed": String(own), title: names, "aria-label": `${emoji} ${names}`,
      data: { focus: `react ${emoji}` }, on: { click: () => app.attempt(chat.react(message.messageId, emoji, !own)) },
    }, emoji, h("span", { class: "count", text: String(users.length) }));
  }

  function quote(state, message) {
    const answered = quoted(state, message);
    const inside = answered
      ? [h("strong", { text: nameOf(state, answered.senderId) }), h("span", { text: answered.deleted ? "Message deleted" : answered.content })]
      : [h("span", { text: "An earlier message" })];
    return h("button", { type: "button", class: "quoted", data: { focus: "quoted" }, disabled: !answered, on: { click: () => actions.jump?.(answered) } }, inside);
  }

  function pending(item) {
    return [
      h("div", { class: "bubble" },
        h("p", { class: "text", dir: "auto", text: item.content }),
        h("span", { class: "meta" }, item.error ? [icon("alert", "Failed"), h("span", { text: item.error.message })] : icon("clock", "Sending"))),
      h("div", { class: "below" }, item.error && [
        h("button", { type: "button", class: "chip", text: "Try again", on: { click: () => chat.retry(item.temporaryId) } }),
        h("button", { type: "button", class: "chip", text: "Discard", on: { click: () => chat.discard(item.temporaryId) } }),
      ]),
    ];
  }
}

const quoted = (state, { conversationId, replyTo }) => state.rooms.get(conversationId)?.messages.find(({ messageId }) => messageId === replyTo);

function receipt(status) {
  const [drawing, label] = RECEIPTS[status] ?? RECEIPTS.SENT;
  return h("span", { class: `receipt ${status.toLowerCase()}` }, icon(drawing, label));
}

/** Text with its web addresses as links; everything else stays text. */
function linked(content) {
  return content.split(/(https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]])/u).map((part, i) =>
    (i % 2 ? h("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow", text: part }) : part));
}

/** The messages of the main view: thread replies are shown in their thread. */
export const mainMessages = (room) => (room?.messages ?? []).filter(isInConversation);
