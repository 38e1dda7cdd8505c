// The door: a name where the server allows it, a token everywhere.

import { h } from "../dom.js";

/** What a refusal means to the person in front of it. */
const REASONS = {
  "chat.auth.required": "A token is needed.",
  "chat.auth.invalid": "This token is not valid here.",
  "chat.auth.expired": "This token has expired.",
};

export function signInView(app) {
  const problem = h("p", { class: "problem", role: "alert" });
  const name = h("input", { id: "name", name: "name", autocomplete: "username", maxlength: "60", required: true, placeholder: "Ada Lovelace" });
  const token = h("textarea", { id: "token", name: "token", rows: "4", autocomplete: "off", spellcheck: "false", required: true, placeholder: "eyJ…" });
  const button = h("button", { class: "primary", text: app.byName ? "Start chatting" : "Sign in" });
  const form = h("form", { on: { submit } },
    app.byName
      ? [h("label", { for: "name", text: "Your name" }), name, h("p", { class: "hint", text: "The same name is the same person, on every device." })]
      : [h("label", { for: "token", text: "Your token" }), token, h("p", { class: "hint", text: "A JSON web token signed for this server." })],
    problem, button);

  async function submit(event) {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    try {
      await app.signIn(app.byName ? { name: name.value } : { token: token.value.trim() });
    } catch (error) {
      problem.textContent = REASONS[error.code] ?? error.message;
      button.disabled = false;
      (app.byName ? name : token).focus();
    }
  }

  requestAnimationFrame(() => (app.byName ? name : token).focus());
  return h("main", { class: "sign-in" },
    h("div", { class: "card" },
      h("img", { src: "/icon.svg", alt: "", width: "48", height: "48" }),
      h("h1", { text: "Chat" }),
      h("p", { class: "lead", text: app.byName ? "Pick a name and say hello." : "Sign in to join the conversation." }),
      form));
}
