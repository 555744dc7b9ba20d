// The configuration in force, how its last reload went, and another one.

import { byId, confirmed, element, setText, show } from "./dom.js";
import { Lost, post, Refused, TokenNeeded } from "./gateway.js";
import { facts } from "./parts.js";
import { moment } from "./words.js";

/** Once. */
export function begin() {
  byId("reload").addEventListener("click", reload);
}

/** How it stands with it. */
export function draw(config) {
  facts(byId("configuration-facts"), [
    ["File", config.file ?? "none: given in place"],
    ["Hash", config.hash],
    ["Loaded", moment(config.loaded_at)],
    ["Last reload", config.last_reload === "ok" ? "good" : "refused: the one before stays in force"],
  ]);
  diagnostics(byId("configuration-errors"), config.last_reload === "ok" ? [] : config.errors);
}

/** Texts of what is wrong, one an entry. */
export function diagnostics(list, texts) {
  show(list, texts.length > 0);
  const written = JSON.stringify(texts);
  if (list.dataset.written === written) return;
  list.dataset.written = written;
  list.replaceChildren(...texts.map((text) => element("li", {}, element("pre", { tabindex: "0" }, text.trimEnd()))));
}

async function reload() {
  const text = "The configuration is read again and takes over as a whole. If anything is wrong with it, nothing changes and you are told what.";
  if (!(await confirmed("Reload the configuration?", text, "Reload"))) return;
  const said = byId("reload-said");
  setText(said, "Reading it…");
  try {
    const { changed, diagnostics: warnings, shadow } = await post("reload");
    const beside = warnings.length ? ` Warnings: ${warnings.map(worded).join("; ")}.` : "";
    setText(said, `In force: ${changed}.${beside}${ofShadow(shadow)}`);
  } catch (error) {
    if (error instanceof TokenNeeded) return document.dispatchEvent(new Event("locked"));
    const { diagnostics: wrong, shadow } = error instanceof Refused ? (error.answer ?? {}) : {};
    if (wrong) setText(said, `Refused, and nothing has changed: ${wrong.map(worded).join("; ")}.${ofShadow(shadow)}`);
    else setText(said, error instanceof Refused || error instanceof Lost ? error.message : `This went wrong: ${error.message}`);
  }
  document.dispatchEvent(new Event("news"));
}

/** What came of the shadow's file, where there is one: it is read along. */
function ofShadow(shadow) {
  if (!shadow) return "";
  return shadow.ok ? ` The shadow: ${shadow.changed}.` : ` The shadow was refused: ${shadow.diagnostics.map(worded).join("; ")}.`;
}

function worded({ message, file, line, column, hint }) {
  const place = line ? `${file}:${line}:${column}: ` : "";
  return `${place}${message}${hint ? ` (${hint})` : ""}`;
}
