// Pieces that several views share: faces, menus, dialogs.

import { h, icon, iconButton } from "../dom.js";
import { hue, initials } from "../format.js";
import { otherOf, titleOf, nameOf } from "../store.js";

const STATUS = { online: "Online", away: "Away", dnd: "Do not disturb", invisible: "Invisible", offline: "Offline" };

/** How a presence reads. */
export const statusText = (status = "offline") => STATUS[status] ?? STATUS.offline;

/** A person's face, with a dot that tells whether they are there. */
export function face(state, userId, { presence = true, size = "" } = {}) {
  const name = nameOf(state, userId);
  const status = state.presence.get(userId)?.status ?? "offline";
  return h("span", { class: `face ${size} ${hue(userId ?? "")}` },
    h("span", { class: "initials", "aria-hidden": "true", text: initials(name) }),
    presence && h("span", { class: `dot ${status}`, role: "img", "aria-label": statusText(status) }));
}

/** A conversation's face: the other person's, or the group's initials. */
export function conversationFace(state, conversation, size) {
  const other = otherOf(state, conversation);
  if (other) return face(state, other.userId, { size });
  return h("span", { class: `face group ${size ?? ""} ${hue(conversation.conversationId)}` },
    h("span", { class: "initials", "aria-hidden": "true", text: initials(titleOf(state, conversation)) }));
}

/**
 * Opens a menu at a button. An item is `{ label, icon?, emoji?, checked?, danger?, select }`; a string is a heading.
 * Arrow keys move, Escape closes, and the focus returns to the button.
 */
export function openMenu(anchor, items, { grid = false } = {}) {
  const menu = h("div", { class: grid ? "menu grid" : "menu", popover: "auto", role: "menu" });
  for (const item of items.filter(Boolean)) {
    if (typeof item === "string") {
      menu.append(h("p", { class: "menu-heading", text: item }));
      continue;
    }
    const kind = item.checked === undefined ? "menuitem" : "menuitemradio";
    menu.append(h("button", {
      type: "button", role: kind, class: item.danger ? "danger" : "", tabindex: "-1",
      "aria-checked": item.checked === undefined ? undefined : String(item.checked),
      "aria-label": item.emoji ? item.label : undefined,
      on: { click: () => (menu.hidePopover(), item.select()) },
    }, item.icon && icon(item.icon), item.emoji ?? item.label, item.checked && icon("check")));
  }
  const buttons = [...menu.querySelectorAll("button")];
  menu.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const forward = event.key === "ArrowDown" || (grid && event.key === "ArrowRight");
    const back = event.key === "ArrowUp" || (grid && event.key === "ArrowLeft");
    if (!forward && !back && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const to = event.key === "Home" ? 0 : event.key === "End" ? buttons.length - 1 : at + (forward ? 1 : -1);
    buttons[(to + buttons.length) % buttons.length].focus();
  });
  menu.addEventListener("toggle", ({ newState }) => {
    if (newState !== "closed") return;
    const within = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (within && anchor.isConnected) anchor.focus();
  });
  document.body.append(menu);
  menu.showPopover();
  anchor.setAttribute("aria-expanded", "true");
  beside(menu, anchor.getBoundingClientRect());
  buttons[0]?.focus();
}

/** Below the button where there is room, above it otherwise, and always within the page. */
function beside(menu, at) {
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.right - width, innerWidth - width - 8));
  const below = at.bottom + 4;
  const top = below + height > innerHeight - 8 ? Math.max(8, at.top - height - 4) : below;
  menu.style.left = `${left}px`;
  menu.style.top = `${top}px`;
}

/** Asks in a dialog. `submit` may throw: the dialog then stays and says why. */
export function openDialog({ title, content = [], action, danger = false, submit }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { class: danger ? "primary danger" : "primary", text: action });
  const cancel = () => dialog.close();
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", on: { close: () => dialog.remove() } },
    h("form", { method: "dialog", on: { submit: onSubmit } },
      h("header", {}, h("h2", { id: "dialog-title", text: title }), iconButton("close", "Close", cancel)),
      h("div", { class: "dialog-body" }, content, problem),
      h("footer", {}, h("button", { type: "button", class: "quiet", text: "Cancel", on: { click: cancel } }), button)));

  async function onSubmit(event) {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    try {
      await submit();
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      button.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? button).focus();
  return dialog;
}

/** A labelled field of a form. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", { text: label }), input, hint && h("small", { text: hint }));
}
