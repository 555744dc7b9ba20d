// A second policy that decides beside the one in force, and where it decides otherwise.

import { byId, element, Listing, setText, show } from "./dom.js";
import { diagnostics } from "./configuration.js";
import { facts } from "./parts.js";
import { moment, percent, whole } from "./words.js";

let listing;
let explain = null;

/** Once. `prefill(request)` is told what somebody wants to have explained. */
export function begin(prefill) {
  explain = prefill;
  listing = new Listing(byId("shadow-list"), {
    key: (of) => [of.route, of.shadow_route, of.outcome, of.reason, of.shadow_outcome, of.shadow_reason].join("\n"),
    make: entry,
    what: "differences",
    after: byId("shadow-list").closest(".scroll"),
  });
}

/** How it stands with it; null where there is none. */
export function draw(shadow) {
  show(byId("shadow"), shadow !== null);
  show(byId("to-shadow"), shadow !== null);
  if (shadow === null) return;
  const share = shadow.compared > 0 ? ` (${percent(shadow.different / shadow.compared)})` : "";
  setText(byId("shadow-count"), `${whole(shadow.different)} of ${whole(shadow.compared)} decided otherwise${share}`);
  facts(byId("shadow-facts"), [
    ["File", shadow.file],
    ["Hash", shadow.hash],
    ["Loaded", moment(shadow.loaded_at)],
    ["Last reload", shadow.last_reload === "ok" ? "good" : "refused: the one before decides"],
    ["Not compared", shadow.skipped ? whole(shadow.skipped) : null],
    ["Not listed", shadow.unlisted ? whole(shadow.unlisted) : null],
  ]);
  diagnostics(byId("shadow-errors"), shadow.last_reload === "ok" ? [] : shadow.errors);
  const differences = [...shadow.differences].sort((one, two) => two.count - one.count);
  show(byId("no-differences"), differences.length === 0);
  show(byId("shadow-list").closest(".scroll"), differences.length > 0);
  listing.set(differences);
}

function entry(difference) {
  const count = element("td", { class: "number" });
  const last = element("td");
  const example = element("span", { class: "code" });
  const button = element("button", { type: "button", class: "link" }, "Explain…");
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, ...decided(difference.outcome, difference.reason, difference.route)),
    element("td", {}, ...decided(difference.shadow_outcome, difference.shadow_reason, difference.shadow_route)),
    count,
    last,
    element("td", { class: "wide" }, example, " ", button),
  );
  const update = (of) => {
    setText(count, whole(of.count));
    setText(last, moment(of.last_at));
    show(button, of.example !== null);
    setText(example, of.example ? `${of.example.method} ${of.example.path}` : "–");
    button.onclick = () => explain({ method: of.example.method, url: of.example.path });
  };
  return { node, update };
}

function decided(outcome, reason, route) {
  const kind = outcome === "allow" ? "good" : "bad";
  return [
    element("span", { class: `mark ${kind}` }, outcome),
    " ",
    element("code", {}, reason),
    element("span", { class: "under" }, route ? `route ${route}` : "no route"),
  ];
}
