// The middle: one conversation, as it happens.

import { h, icon, iconButton, roving } from "../dom.js";
import { badge, people, since } from "../format.js";
import { nameOf, otherOf, titleOf } from "../store.js";
import { composer } from "./composer.js";
import { mainMessages, messageList, rows } from "./message.js";
import { conversationFace, face, openDialog, openMenu, statusText } from "./parts.js";

const NEAR = 80; // this close to the end counts as being there

export function roomView(app) {
  const { chat, store } = app;
  let place = null; // what is open: a conversationId, or a userId for a draft
  let newFrom = Infinity; // where the "New" line stands
  let seenSeq = 0; // the newest message that was before somebody's eyes
  const drafts = new Map();

  const head = h("header", { class: "bar room-bar" });
  const pins = h("button", { type: "button", class: "pins", on: { click: () => jump(lastPin()) } });
  const list = h("ol", { class: "messages" });
  const earlier = h("button", { type: "button", class: "quiet earlier", text: "Earlier messages", on: { click: () => app.attempt(chat.older(place)) } });
  const log = h("div", { class: "log", role: "log", "aria-label": "Messages", on: { scroll: scrolled } }, earlier, list);
  const newest = h("button", { type: "button", class: "newest", on: { click: () => toEnd() } });
  const typing = h("p", { class: "typing", "aria-live": "polite" });
  const writer = composer({
    id: "composer-text",
    label: "Write a message",
    send: (content, answered) => {
      toEnd();
      chat.send({ ...target(), content, replyTo: answered?.messageId });
    },
    edit: (message, content) => content !== message.content && app.attempt(chat.edit(message.messageId, content, message.revision)),
    typing: (on) => app.route.view === "room" && (on ? chat.type(place) : chat.stopTyping()),
    editLast: () => {
      const last = mainMessages(store.get().rooms.get(place)).findLast((message) => message.senderId === store.get().me.userId && !message.deleted);
      if (last) writer.edit(last);
    },
  });
  const silent = h("p", { class: "silent", text: "Only admins write here." });
  const nothing = h("div", { class: "nothing" }, icon("thread"), h("p", { text: "Choose a conversation, or start a new one." }));
  const stage = h("div", { class: "stage" }, head, pins, h("div", { class: "log-frame" }, log, newest), typing, writer.root, silent);
  const root = h("main", { class: "room" }, nothing, stage);

  const messages = messageList(app, list, {
    reply: (message) => writer.reply(message, `Reply to ${nameOf(store.get(), message.senderId)}`),
    thread: (message) => app.togglePanel({ kind: "thread", conversationId: message.conversationId, root: message.thread?.root ?? message.messageId }),
    edit: (message) => writer.edit(message),
    jump,
    unread: async (message) => {
      app.go({ view: "list" });
      place = null; // nothing is before anybody's eyes now
      await app.attempt(chat.markUnread(message.conversationId, message.seq));
    },
  });
  const adjust = roving(list, "li.message");
  list.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    writer.focus();
  });

  const target = () => (app.route.view === "draft" ? { receiverId: app.route.userId } : { conversationId: place });
  /** Whether a conversation is what talking to this person has become. */
  const isWith = (state, conversation, userId) => Boolean(userId && conversation && otherOf(state, conversation)?.userId === userId);
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  const toEnd = () => log.scrollTo({ top: log.scrollHeight, behavior: "instant" });
  const lastPin = () => store.get().conversations.get(place)?.pinnedMessages?.at(-1);

  function render(state) {
    const here = app.route.conversationId ?? app.route.userId ?? null;
    const moved = here !== place;
    if (moved) enter(state, here);
    stage.hidden = !here;
    nothing.hidden = Boolean(here);
    if (!here) return;
    const conversation = state.conversations.get(place);
    if (app.route.view === "room" && !conversation) return;
    header(state, conversation);
    const pinned = lastPin();
    pins.hidden = !pinned;
    pins.replaceChildren(...(pinned ? [icon("pin"), h("span", { class: "quote", text: pinned.content }), conversation.pinnedMessages.length > 1 && h("span", { class: "count", text: badge(conversation.pinnedMessages.length) })].filter(Boolean) : []));
    writer.root.hidden = Boolean(conversation) && conversation.role === "member" && ["CHANNEL", "BROADCAST"].includes(conversation.type);
    silent.hidden = !writer.root.hidden;
    typists(state);
    body(state, moved);
    aim();
    look();
  }

  function enter(state, here) {
    const conversation = state.conversations.get(here);
    const written = writer.draft();
    const goesAlong = written && isWith(state, conversation, place);
    if (place && !goesAlong) drafts.set(place, written);
    place = here;
    newFrom = conversation?.unreadCount ? conversation.readSeq + 1 : Infinity;
    seenSeq = 0;
    if (!goesAlong) writer.restore(drafts.get(here));
    if (!here) return;
    if (matchMedia("(pointer: fine)").matches) writer.focus();
    if (app.route.view === "room") chat.open(here).catch((error) => app.toast(error.message));
  }

  function header(state, conversation) {
    const other = conversation ? otherOf(state, conversation) : { userId: app.route.userId };
    const title = conversation ? titleOf(state, conversation) : nameOf(state, other.userId);
    const signature = JSON.stringify([place, title, subtitle(state, conversation, other), state.presence.get(other?.userId)?.status, app.panel?.kind]);
    if (head.dataset.signature === signature) return; // keeps the focus on its buttons
    head.dataset.signature = signature;
    head.replaceChildren(
      iconButton("back", "Conversations", () => app.go({ view: "list" }), { class: "only-narrow" }),
      conversation ? conversationFace(state, conversation) : face(state, other.userId),
      h("div", { class: "room-title" }, h("h1", { text: title }), h("p", { class: "subtitle", text: subtitle(state, conversation, other) })),
      ...(conversation ? [
        iconButton("people", "Members", () => app.togglePanel({ kind: "members", conversationId: place }), { "aria-pressed": String(app.panel?.kind === "members") }),
        iconButton("more", "Conversation", (event) => options(event.currentTarget), { "aria-haspopup": "menu" }),
      ] : []),
    );
  }

  function subtitle(state, conversation, other) {
    if (other) {
      const { status, lastActive } = state.presence.get(other.userId) ?? {};
      return (status ?? "offline") === "offline" && lastActive ? `Last here ${since(lastActive)}` : statusText(status);
    }
    const { participants, participantCount, type } = conversation;
    const there = participants.filter(({ userId }) => userId === state.me.userId || (state.presence.get(userId)?.status ?? "offline") !== "offline").length;
    return `${type === "BROADCAST" ? "Broadcast · " : ""}${participantCount} ${participantCount === 1 ? "member" : "members"}, ${there} online`;
  }

  function options(anchor) {
    const conversation = store.get().conversations.get(place);
    const { muted, pinned, archived, role, type, name } = conversation;
    const id = place;
    openMenu(anchor, [
      { label: "Search here", icon: "search", select: () => app.togglePanel({ kind: "search", conversationId: id }) },
      { label: pinned ? "Unpin from the top" : "Pin to the top", icon: "pin", select: () => app.attempt(chat.pin(id, !pinned)) },
      { label: muted ? "Unmute" : "Mute", icon: muted ? "bell" : "mute", select: () => app.attempt(chat.mute(id, !muted)) },
      { label: archived ? "Take out of the archive" : "Archive", icon: "archive", select: () => app.attempt(chat.archive(id, !archived)) },
      role === "admin" && type !== "PRIVATE" && { label: "Rename…", icon: "edit", select: () => rename(id, name) },
      type !== "PRIVATE" && { label: "Leave…", icon: "leave", danger: true, select: () => leave(id) },
    ]);
  }

  function rename(id, name) {
    const input = h("input", { value: name, maxlength: "100", required: true, autofocus: true, "aria-label": "Name" });
    openDialog({ title: "Rename conversation", action: "Rename", content: [input], submit: () => chat.rename(id, input.value.trim()) });
  }

  function leave(id) {
    openDialog({
      title: "Leave this conversation?", action: "Leave", danger: true,
      content: [h("p", { text: "You will not see what is said here any more." })],
      submit: () => chat.leave(id),
    });
  }

  function typists(state) {
    const names = [...(state.typing.get(place)?.keys() ?? [])].map((userId) => nameOf(state, userId));
    const text = names.length ? `${people(names)} ${names.length === 1 ? "is" : "are"} typing` : "";
    if (typing.dataset.text === text) return;
    typing.dataset.text = text;
    typing.replaceChildren(...(text ? [h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), text] : []));
  }

  function body(state, moved) {
    const room = state.rooms.get(place);
    const conversation = state.conversations.get(place);
    const outbox = state.outbox.filter(({ thread, conversationId, receiverId }) =>
      !thread && (place === (conversationId ?? receiverId) || isWith(state, conversation, receiverId)));
    const items = rows({ messages: mainMessages(room), outbox, newFrom });
    const follow = moved || atEnd();
    const held = follow ? null : firstEnding();
    const before = held && bottom(held);
    const firstFill = items.length > 0 && list.dataset.place !== place;
    log.setAttribute("aria-busy", String(!room && app.route.view === "room"));
    messages.render(state, items);
    adjust();
    earlier.hidden = !room?.hasOlder;
    if (firstFill || moved) {
      if (items.length) list.dataset.place = place;
      const line = list.querySelector(".separator.new");
      if (line) line.scrollIntoView({ block: "center", behavior: "instant" });
      else toEnd();
    } else if (follow) {
      toEnd();
    } else if (held?.isConnected) {
      log.scrollTop += bottom(held) - before; // whatever came in above, what one reads stays in place
    }
  }

  /** The first message that ends on screen; its end stays, for its head may go when older ones join its group. */
  const firstEnding = () => [...list.querySelectorAll(".message")].find((row) => bottom(row) > log.scrollTop) ?? null;
  const bottom = (row) => row.offsetTop + row.offsetHeight;

  /** What is on screen, in front of somebody, has been seen. */
  function look() {
    const room = store.get().rooms.get(place);
    const end = room?.messages.at(-1)?.seq ?? 0;
    const visible = document.visibilityState === "visible" && document.hasFocus() && root.offsetParent !== null && log.clientHeight > 0;
    if (visible && atEnd()) {
      seenSeq = Math.max(seenSeq, end);
      if (room) chat.see(place, end);
    }
    const below = mainMessages(room).filter(({ seq, senderId }) => seq > seenSeq && senderId !== store.get().me.userId).length;
    newest.hidden = atEnd();
    newest.replaceChildren(icon("down"), below && seenSeq ? `${below} new` : "Newest");
  }

  function scrolled() {
    if (log.scrollTop < 200 && store.get().rooms.get(place)?.hasOlder) chat.older(place).catch(() => {});
    look();
  }

  /** Shows a message in its place, loading back to it if need be. */
  function jump(message) {
    if (message) app.show(message.conversationId, message.seq);
  }

  async function aim() {
    if (!app.aim || app.aim.conversationId !== place) return;
    const { conversationId, seq } = app.aim;
    app.aim = null;
    await app.attempt(chat.reach(conversationId, seq));
    const message = store.get().rooms.get(conversationId)?.messages.find((other) => other.seq === seq);
    if (!message || conversationId !== place) return;
    if (message.thread && !message.thread.alsoInConversation) {
      app.togglePanel({ kind: "thread", conversationId, root: message.thread.root });
      return;
    }
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const row = list.querySelector(`[data-seq="${seq}"]`);
      if (!row) return;
      row.scrollIntoView({ block: "center", behavior: "instant" });
      row.focus({ preventScroll: true });
      row.classList.add("aimed");
      setTimeout(() => row.classList.remove("aimed"), 2_000);
    }));
  }

  return { root, render };
}
