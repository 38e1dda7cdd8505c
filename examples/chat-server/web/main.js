// Puts the page together: the store, the session, the views, and where one is (the address's hash).

import { Chat, offersNames, tokenFor } from "./api.js";
import { h } from "./dom.js";
import { idFromName } from "./format.js";
import { createStore, otherOf } from "./store.js";
import { listView } from "./views/list.js";
import { panelView } from "./views/panel.js";
import { roomView } from "./views/room.js";
import { signInView } from "./views/sign-in.js";

const store = createStore();
const chat = new Chat(store);
const place = document.querySelector("#app");
const toasts = document.querySelector("#toasts");
const wide = matchMedia("(min-width: 1100px)"); // room enough for a panel beside the conversation

/** What every view gets: the state, the session, and the ways around the page. */
const app = {
  store,
  chat,
  byName: false, // whether the server signs people in by name
  route: { view: "list" },
  panel: null, // { kind: "members" | "search" | "thread" | "health", … }
  aim: null, // { conversationId, seq }: a message to show

  /** Goes somewhere: `{ view: "room", conversationId }`, `{ view: "draft", userId }`, `{ view: "list" }`. */
  go(route) {
    location.hash = hashOf(route);
  },
  /** Shows a message in its conversation. */
  show(conversationId, seq) {
    app.aim = { conversationId, seq };
    if (!wide.matches) app.panel = null;
    if (app.route.conversationId === conversationId) refresh();
    else app.go({ view: "room", conversationId });
  },
  togglePanel(panel) {
    const same = app.panel && panel && app.panel.kind === panel.kind && app.panel.root === panel.root;
    app.panel = same ? null : panel;
    refresh();
  },
  closePanel() {
    app.panel = null;
    refresh();
    app.write();
  },
  /** Puts the cursor where one writes. */
  write: () => document.querySelector("#composer-text")?.focus(),
  toast(text) {
    const toast = h("p", { class: "toast", text });
    toasts.append(toast);
    setTimeout(() => toast.remove(), 5_000);
  },
  /** Runs something a person asked for; a failure is told, not thrown. */
  async attempt(work) {
    try {
      return await work;
    } catch (error) {
      app.toast(error.message);
      return undefined;
    }
  },
  async signIn({ name, token }) {
    const fresh = async () => tokenFor(idFromName(name), name.trim());
    await chat.signIn(token ?? (await fresh()), token ? null : fresh);
    keep(token ? { token } : { name: name.trim() });
  },
  signOut() {
    sessionStorage.removeItem("sign-in");
    chat.signOut();
    location.hash = "";
    app.panel = null;
    refresh();
  },
  refresh,
};

// --- Drawing: at most once per frame, whatever happens in between ---

let drawing = false;
let views = null;

function refresh() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw(store.get());
  });
}

function draw(state) {
  if (!state.me) return signedOut(state);
  if (!views) {
    views = { list: listView(app), room: roomView(app), panel: panelView(app) };
    place.replaceChildren(
      h("a", { class: "skip", href: "#composer-text", text: "Skip to writing", on: { click: skip } }),
      h("div", { class: "shell" }, views.list.root, views.room.root, views.panel.root),
    );
  }
  settle(state);
  place.querySelector(".shell").dataset.view = app.route.view;
  for (const view of Object.values(views)) view.render(state);
  document.title = state.totalUnread ? `(${state.totalUnread}) Chat` : "Chat";
}

function signedOut(state) {
  const busy = state.connection.state === "connecting" || state.connection.state === "online";
  if (place.querySelector(".sign-in") || busy) return;
  views = null;
  document.title = "Chat";
  place.replaceChildren(signInView(app));
}

/** A draft becomes a room once the conversation is there; a room one has left is no place to be. */
function settle(state) {
  const { view, userId, conversationId } = app.route;
  if (view === "draft") {
    const direct = [...state.conversations.values()].find((conversation) => otherOf(state, conversation)?.userId === userId);
    if (direct) location.replace(hashOf({ view: "room", conversationId: direct.conversationId }));
  }
  if (view === "room" && state.listed && !state.conversations.has(conversationId)) app.go({ view: "list" });
}

function skip(event) {
  event.preventDefault();
  app.write();
}

// --- Where one is ---

function hashOf({ view, conversationId, userId }) {
  if (view === "room") return `#/c/${encodeURIComponent(conversationId)}`;
  return view === "draft" ? `#/to/${encodeURIComponent(userId)}` : "#/";
}

function routeOf(hash) {
  const [, kind, id] = /^#\/(c|to)\/(.+)$/.exec(hash) ?? [];
  try {
    if (kind === "c") return { view: "room", conversationId: decodeURIComponent(id) };
    if (kind === "to") return { view: "draft", userId: decodeURIComponent(id) };
  } catch {
    // Not one of ours.
  }
  return { view: "list" };
}

function moved() {
  app.route = routeOf(location.hash);
  const beside = app.panel?.kind === "health" || app.panel?.kind === "search";
  if (!beside || !wide.matches) app.panel = null;
  refresh();
}

// --- Staying signed in within a tab, and only there ---

const keep = (signIn) => sessionStorage.setItem("sign-in", JSON.stringify(signIn));

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem("sign-in"));
  } catch {
    return null;
  }
}

addEventListener("hashchange", moved);
for (const event of ["focus", "visibilitychange"]) addEventListener(event, refresh);
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k" && store.get().me) {
    event.preventDefault();
    if (app.panel?.kind !== "search") app.togglePanel({ kind: "search" });
  } else if (event.key === "Escape" && app.panel && !event.defaultPrevented && !document.querySelector("dialog[open], :popover-open")) {
    app.closePanel();
  }
});
store.subscribe(refresh);

app.byName = await offersNames();
moved();
const before = kept();
if (before) await app.signIn(before).catch(() => sessionStorage.removeItem("sign-in"));
refresh();
