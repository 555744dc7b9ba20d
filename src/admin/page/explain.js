// Why a request would be let in, or not: asked of the gateway, which goes by the configuration in force.

import { byId, element, setText, show } from "./dom.js";
import { explanation } from "./explanation.js";
import { Lost, post, Refused, TokenNeeded } from "./gateway.js";

/** Once. */
export function begin() {
  byId("explain-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  for (const choice of document.querySelectorAll("input[name=credential]")) choice.addEventListener("change", chosen);
  byId("clear-token").addEventListener("click", () => {
    byId("explain-token").value = "";
    byId("explain-token").focus();
  });
  // Browsers keep what is in fields for when one comes back; not this.
  addEventListener("pagehide", () => (byId("explain-token").value = ""));
  byId("explain-token").value = "";
  chosen();
}

/** The issuers that claims may be of. */
export function issuers(names) {
  choices(byId("explain-issuer"), names.map((name) => [name, name]));
}

/** Makes these the choices of a list, and keeps what was chosen. */
export function choices(list, named) {
  const written = JSON.stringify(named);
  if (list.dataset.choices === written) return;
  const before = list.value;
  list.dataset.choices = written;
  list.replaceChildren(...named.map(([value, words]) => element("option", { value }, words)));
  if (named.some(([value]) => value === before)) list.value = before;
}

/** Fills in a request, for somebody to go on with. */
export function prefill({ method, url }) {
  byId("explain-method").value = method;
  byId("explain-url").value = url;
  byId("explain").scrollIntoView();
  byId("explain-url").focus();
}

const credential = () => document.querySelector("input[name=credential]:checked").value;

function chosen() {
  show(byId("with-token"), credential() === "token");
  show(byId("with-claims"), credential() === "claims");
}

async function ask() {
  setText(byId("explain-problem"), "");
  try {
    const answer = await post("explain", question());
    byId("explained").replaceChildren(explanation(answer));
    byId("explained").removeAttribute("data-empty");
    setText(byId("explain-said"), `${answer.decision === "allow" ? "Allowed" : "Denied"}: ${answer.detail}`);
  } catch (error) {
    if (error instanceof TokenNeeded) return document.dispatchEvent(new Event("locked"));
    const isTold = error instanceof Refused || error instanceof Lost || error instanceof SyntaxError;
    setText(byId("explain-problem"), isTold ? error.message : `this went wrong: ${error.message}`);
  }
}

function question() {
  const asked = { method: byId("explain-method").value.trim() || "GET", url: byId("explain-url").value.trim() };
  const headers = written(byId("explain-headers").value);
  if (Object.keys(headers).length) asked.headers = headers;
  if (credential() === "token") {
    // Terminals break long lines, and headers are copied whole.
    const token = byId("explain-token").value.trim().replace(/^(authorization:\s*)?bearer\s+/i, "").replace(/\s+/g, "");
    if (token) asked.token = token;
  } else if (credential() === "claims") {
    asked.issuer = byId("explain-issuer").value;
    try {
      asked.claims = JSON.parse(byId("explain-claims").value);
    } catch (error) {
      throw new SyntaxError(`the claims aren't JSON: ${error.message}`);
    }
  }
  return asked;
}

/** Fields as they stand in a request, one a line. */
function written(text) {
  const headers = Object.create(null);
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new SyntaxError(`a header is written Name: value; this isn't: ${line.trim()}`);
    const name = line.slice(0, colon).trim();
    headers[name] = [...(headers[name] ?? []), line.slice(colon + 1).trim()];
  }
  return headers;
}
