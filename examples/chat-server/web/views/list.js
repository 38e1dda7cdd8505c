// The left side: who I am, what I am part of, what is new.

import { h, icon, iconButton, keyed, roving } from "../dom.js";
import { badge, idFromName, people, short } from "../format.js";
import { announcement, listed, nameOf, titleOf } from "../store.js";
import { conversationFace, face, field, openDialog, openMenu, statusText } from "./parts.js";

export function listView(app) {
  const { chat } = app;
  let archived = false;
  const me = h("button", { type: "button", class: "me", "aria-haspopup": "menu", on: { click: (event) => myMenu(event.currentTarget) } });
  const banner = h("p", { class: "banner", role: "status" });
  const list = h("ul", { class: "conversations", "aria-label": "Conversations" });
  const empty = h("div", { class: "empty" });
  const shelf = h("button", { type: "button", class: "shelf", on: { click: () => ((archived = !archived), app.refresh()) } });
  const adjust = roving(list, "a");
  const root = h("nav", { class: "sidebar", "aria-label": "Chat" },
    h("header", { class: "bar" }, me, h("span", { class: "grow" }),
      iconButton("search", "Search (Ctrl+K)", () => app.togglePanel({ kind: "search" })),
      iconButton("pulse", "Health", () => app.togglePanel({ kind: "health" })),
      iconButton("plus", "New conversation", () => newConversation(app), { class: "accent" })),
    banner, list, empty, shelf);

  function render(state) {
    const status = state.presence.get(state.me.userId)?.status ?? "online";
    me.setAttribute("aria-label", `${state.me.name}, ${statusText(status)}. Change status`);
    const presence = new Map(state.presence).set(state.me.userId, { status: state.connection.state === "online" ? status : "offline" });
    me.replaceChildren(face({ ...state, presence }, state.me.userId), h("span", { class: "me-name", text: state.me.name }));
    banner.textContent = bannerText(state.connection);
    const away = listed(state, { archived: true });
    if (!away.length) archived = false;
    const shown = archived ? away : listed(state);
    keyed(list, shown, {
      key: ({ conversationId }) => conversationId,
      stamp: (conversation) => [
        conversation, titleOf(state, conversation), conversation.conversationId === app.route.conversationId,
        state.typing.get(conversation.conversationId), ...conversation.participants.slice(0, 2).map(({ userId }) => state.presence.get(userId)?.status),
      ],
      create: ({ conversationId }) => h("li", { data: { conversation: conversationId } },
        h("a", { href: `#/c/${encodeURIComponent(conversationId)}`, tabindex: "-1", on: { click: () => conversationId === app.route.conversationId && app.write() } })),
      fill: (row, conversation) => fill(row.firstChild, state, conversation),
    });
    adjust();
    empty.hidden = shown.length > 0;
    empty.replaceChildren(...(state.listed
      ? [h("p", { text: "No conversations yet." }), h("button", { type: "button", class: "primary", text: "Start one", on: { click: () => newConversation(app) } })]
      : [h("p", { text: "Loading…" })]));
    shelf.hidden = !away.length;
    shelf.replaceChildren(icon(archived ? "back" : "archive"), archived ? "All conversations" : `Archived (${away.length})`);
  }

  function fill(link, state, conversation) {
    const { conversationId, unreadCount, mentions, muted, pinned } = conversation;
    const current = conversationId === app.route.conversationId;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    const loud = unreadCount > 0;
    link.className = loud ? "conversation loud" : "conversation";
    link.replaceChildren(
      conversationFace(state, conversation),
      h("span", { class: "about" },
        h("span", { class: "line" },
          h("span", { class: "title", text: titleOf(state, conversation) }),
          h("time", { class: "when", text: short(conversation.lastMessage?.timestamp ?? conversation.createdAt) })),
        h("span", { class: "line" },
          h("span", { class: "preview" }, preview(state, conversation)),
          muted && icon("mute", "Muted"),
          pinned && icon("pin", "Pinned"),
          mentions > 0 && h("span", { class: "badge mention", "aria-label": "You were mentioned", text: "@" }),
          loud && h("span", { class: muted ? "badge muted" : "badge", "aria-label": `${unreadCount} unread`, text: badge(unreadCount) }))));
  }

  function myMenu(anchor) {
    const state = app.store.get();
    const current = state.presence.get(state.me.userId)?.status ?? "online";
    const choose = async (status) => {
      if (!(await app.attempt(chat.setStatus(status)))) return;
      app.store.dispatch({ type: "presence", userId: state.me.userId, status });
    };
    openMenu(anchor, [
      ...["online", "away", "dnd", "invisible"].map((status) => ({ label: statusText(status), checked: status === current, select: () => choose(status) })),
      "Who sees when I was here",
      ...["everyone", "contacts", "nobody"].map((lastSeen) => ({
        label: { everyone: "Everyone", contacts: "People I talk to", nobody: "Nobody" }[lastSeen],
        select: async () => (await app.attempt(chat.setPrivacy(lastSeen))) && app.toast("Saved."),
      })),
      "Session",
      { label: "Sign out", icon: "leave", select: () => app.signOut() },
    ]);
  }

  return { root, render };
}

function preview(state, { conversationId, type, lastMessage }) {
  const typists = [...(state.typing.get(conversationId)?.keys() ?? [])];
  if (typists.length) return h("em", { text: `${people(typists.map((userId) => nameOf(state, userId)))} typing…` });
  if (!lastMessage) return "No messages yet";
  if (lastMessage.type === "SYSTEM") return announcement(state, lastMessage);
  if (lastMessage.deleted) return "Message deleted";
  const text = lastMessage.content || (lastMessage.attachments?.length ? "File" : "");
  if (lastMessage.senderId === state.me.userId) return `You: ${text}`;
  return type === "PRIVATE" ? text : `${nameOf(state, lastMessage.senderId)}: ${text}`;
}

function bannerText({ state, detail }) {
  if (state === "waiting" || state === "connecting") return "Reconnecting…";
  if (state === "refused") return detail === "client.disconnected" ? "The server ended the connection." : "Signed out. Reload the page to sign in again.";
  return "";
}

/** Asks whom to talk to. */
function newConversation(app) {
  const state = app.store.get();
  const idOf = (text) => (app.byName ? idFromName(text) : text.trim());
  const known = [...state.names].filter(([userId]) => userId !== state.me.userId);
  const suggestions = h("datalist", { id: "people" }, known.map(([userId, name]) => h("option", { value: app.byName ? name : userId, label: name })));
  const kind = h("select", {}, ...[["direct", "Direct message"], ["group", "Group"], ["broadcast", "Broadcast list"]].map(([value, text]) => h("option", { value, text })));
  const name = h("input", { maxlength: "100", autocomplete: "off", placeholder: "Weekend plans" });
  const who = h("input", { autocomplete: "off", list: "people", autofocus: true, required: true, placeholder: app.byName ? "Ben" : "user id" });
  const nameField = field("Name", name);
  const whoField = field("Person", who);
  const hint = h("p", { class: "hint" });
  const change = () => {
    const direct = kind.value === "direct";
    nameField.hidden = direct;
    name.required = !direct;
    whoField.firstChild.textContent = direct ? "Person" : kind.value === "group" ? "Members" : "Recipients";
    hint.textContent = direct ? "" : "Separate several people with commas. You can add more later.";
  };
  kind.addEventListener("change", change);
  change();
  openDialog({
    title: "New conversation",
    action: "Start",
    content: [field("Kind", kind), nameField, whoField, hint, suggestions],
    async submit() {
      const others = who.value.split(kind.value === "direct" ? /\n/ : ",").map(idOf).filter(Boolean);
      if (kind.value === "direct") return app.go({ view: "draft", userId: others[0] });
      const create = kind.value === "group" ? app.chat.createGroup(name.value.trim(), others) : app.chat.createBroadcast(name.value.trim(), others);
      app.go({ view: "room", conversationId: await create });
    },
  });
}
