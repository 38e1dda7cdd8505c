// Who is in a conversation, as what, and who may change that.

import { h, iconButton, keyed, roving } from "../dom.js";
import { idFromName } from "../format.js";
import { nameOf } from "../store.js";
import { face, openMenu, statusText } from "./parts.js";

const RANK = { admin: 2, moderator: 1, member: 0 };

export function membersPanel(app, { conversationId }) {
  const { chat } = app;
  const list = h("ul", { class: "members", "aria-label": "Members" });
  const who = h("input", { id: "add-member", autocomplete: "off", placeholder: app.byName ? "Name" : "User id", required: true });
  const form = h("form", { class: "inline", on: { submit: add } }, h("label", { class: "hidden", for: "add-member", text: "Add somebody" }), who, h("button", { class: "primary", text: "Add" }));
  const adjust = roving(list, "li");

  async function add(event) {
    event.preventDefault();
    const people = who.value.split(",").map((text) => (app.byName ? idFromName(text) : text.trim())).filter(Boolean);
    if (await app.attempt(chat.add(conversationId, people))) who.value = "";
  }

  function render(state) {
    const conversation = state.conversations.get(conversationId);
    if (!conversation) return app.togglePanel(null);
    const rank = RANK[conversation.role] ?? 0;
    form.hidden = conversation.type === "PRIVATE" || rank < 1;
    const sorted = [...conversation.participants].sort((a, b) =>
      RANK[b.role] - RANK[a.role] || nameOf(state, a.userId).localeCompare(nameOf(state, b.userId)));
    keyed(list, sorted, {
      key: ({ userId }) => userId,
      stamp: (member) => [member.role, nameOf(state, member.userId), statusOf(state, member.userId), conversation.role],
      create: ({ userId }) => h("li", { tabindex: "-1", data: { user: userId } }),
      fill: (row, member) => fill(row, state, conversation, member),
    });
    adjust();
  }

  const statusOf = (state, userId) => (userId === state.me.userId ? "online" : state.presence.get(userId)?.status ?? "offline");

  function fill(row, state, conversation, { userId, role }) {
    const me = userId === state.me.userId;
    const presence = new Map(state.presence).set(state.me.userId, { status: "online" });
    const manageable = conversation.type !== "PRIVATE" && !me && (conversation.role === "admin" || RANK[conversation.role] > RANK[role]);
    row.replaceChildren(
      face({ ...state, presence }, userId),
      h("span", { class: "about" },
        h("span", { class: "title", text: me ? `${nameOf(state, userId)} (you)` : nameOf(state, userId) }),
        h("span", { class: "line" },
          h("span", { class: "preview", text: statusText(statusOf(state, userId)) }),
          role !== "member" && h("span", { class: `role ${role}`, text: role }))),
      manageable ? iconButton("more", `Manage ${nameOf(state, userId)}`, (event) => manage(event.currentTarget, conversation, userId, role), { "aria-haspopup": "menu", data: { focus: "more" } }) : "",
      !me && conversation.type !== "PRIVATE" ? iconButton("thread", `Message ${nameOf(state, userId)}`, () => app.go({ view: "draft", userId })) : "",
    );
  }

  function manage(anchor, conversation, userId, role) {
    const roles = conversation.role === "admin" ? ["member", "moderator", "admin"] : [];
    openMenu(anchor, [
      ...roles.map((next) => ({ label: next[0].toUpperCase() + next.slice(1), checked: next === role, select: () => app.attempt(chat.setRole(conversationId, userId, next)) })),
      RANK[conversation.role] > RANK[role] && { label: "Remove", icon: "trash", danger: true, select: () => app.attempt(chat.remove(conversationId, userId)) },
    ]);
  }

  return { title: "Members", content: [form, list], render };
}
