// The right side: one thing at a time, beside the conversation where there is room, over it where there is not.

import { h, iconButton } from "../dom.js";
import { healthPanel } from "./health.js";
import { membersPanel } from "./members.js";
import { searchPanel } from "./search.js";
import { threadPanel } from "./thread.js";

const PANELS = { members: membersPanel, search: searchPanel, thread: threadPanel, health: healthPanel };

/** A panel is `{ title, content, render(state), close?() }`, made anew each time it opens. */
export function panelView(app) {
  let open = null; // { panel, view }
  const title = h("h2", { id: "panel-title" });
  const place = h("div", { class: "panel-content" });
  const root = h("aside", { class: "panel", "aria-labelledby": "panel-title", hidden: true },
    h("header", { class: "bar" }, title, h("span", { class: "grow" }), iconButton("close", "Close", () => app.closePanel())), place);

  function render(state) {
    if (app.panel !== open?.panel) {
      open?.view.close?.();
      open = app.panel && { panel: app.panel, view: PANELS[app.panel.kind](app, app.panel) };
      root.hidden = !open;
      root.className = open ? `panel ${app.panel.kind}` : "panel";
      place.replaceChildren(...(open ? [open.view.content].flat() : []));
      title.textContent = open?.view.title ?? "";
      place.querySelector("[autofocus]")?.focus();
    }
    open?.view.render(state);
  }

  return { root, render };
}
