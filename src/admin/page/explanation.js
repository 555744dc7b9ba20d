// An explanation, to be read at a glance: what was decided, then everything that was asked.

import { element } from "./dom.js";

/** What `POST /explain` answered. */
export function explanation(answer) {
  return element(
    "article",
    { class: "explanation" },
    verdict(answer),
    remedies(answer),
    route(answer),
    token(answer),
    rules(answer),
    upstream(answer),
  );
}

function verdict({ decision, status, reason, detail, enforced, request }) {
  const isAllowed = decision === "allow";
  const kind = isAllowed ? "good" : enforced ? "bad" : "warn";
  const word = isAllowed ? "Allowed" : enforced ? "Denied" : "Would be denied";
  return element(
    "header",
    { class: `verdict ${kind}` },
    element("p", { class: "asked code" }, request),
    element("h3", {}, element("strong", {}, word), " ", element("span", { class: "status" }, String(status)), " ", element("code", {}, reason)),
    element("p", {}, sentence(detail)),
    enforced || isAllowed ? null : element("p", {}, "The route is a dry run (enforce: false): the request goes on all the same."),
  );
}

function remedies({ to_allow: changes, decision }) {
  if (decision === "allow" || !changes.length) return null;
  return part("What would let it in", element("ul", { class: "plain" }, ...changes.map((change) => element("li", {}, sentence(change)))));
}

function route({ request, route: name, place, path, readings, neighbours }) {
  const found = name === null
    ? element("p", {}, "No route takes this request.")
    : element("p", {}, element("strong", {}, name), place ? element("span", { class: "quiet" }, ` ${place}`) : null);
  const asides = [
    path && !request.includes(path) ? [`The path is read as ${path}.`] : [],
    readings.map((reading) => `Some servers would read it as ${reading}.`),
  ].flat();
  return part(
    "Route",
    found,
    asides.length ? element("ul", { class: "plain quiet" }, ...asides.map((aside) => element("li", {}, aside))) : null,
    neighbours.length
      ? element(
          "details",
          {},
          element("summary", {}, "Why not another"),
          element("ul", { class: "plain" }, ...neighbours.map((other) => element("li", {}, element("strong", {}, other.route), ` ${other.why}`))),
        )
      : null,
  );
}

const RESULTS = { held: ["good", "✓", "held"], failed: ["bad", "✗", "failed"], not_asked: ["none", "·", "not asked"] };

/** A sign for the eye, and the word for the ear. */
function sign(result) {
  const [kind, drawn, said] = RESULTS[result] ?? ["none", "·", result];
  return element("span", { class: `sign ${kind}` }, element("span", { "aria-hidden": "true" }, drawn), element("span", { class: "unseen" }, `${said}: `));
}

function token({ token }) {
  if (token === null) return part("Token", element("p", { class: "quiet" }, "No token was looked at."));
  const of = token.issuer === null ? "of none of the route's issuers" : `of ${token.issuer}`;
  const how = token.presented === "claims" ? ", assumed: claims without a signature" : "";
  const steps = token.steps.map(({ step, result, detail, got, wanted }) =>
    element(
      "li",
      {},
      sign(result),
      element("span", { class: "name" }, step.replaceAll("_", " ")),
      element(
        "span",
        { class: "detail" },
        detail,
        // The detail mostly says both.
        got !== null && !detail.includes(got) ? element("span", { class: "pairing" }, `got ${got}`) : null,
        result === "failed" && wanted !== null && !detail.includes(wanted) ? element("span", { class: "pairing" }, `wanted ${wanted}`) : null,
      ),
    ),
  );
  return part("Token", element("p", { class: "quiet" }, of + how), element("ul", { class: "checks" }, ...steps), principal(token.principal));
}

function principal(of) {
  if (of === null) return null;
  const facts = [
    ["Speaks for", of.kind === "client" ? `client ${of.client ?? "?"}, itself` : `user ${of.subject ?? "?"}`],
    of.kind !== "client" && of.client ? ["Through client", of.client] : null,
    ["Scopes", of.scopes.join(" ") || "none"],
    ["Roles", of.roles.join(" ") || "none"],
  ].filter(Boolean);
  return element("dl", { class: "facts-list" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function rules({ rules }) {
  if (!rules.length) return null;
  const cards = rules.map(({ rule, methods, takes_method: takes, holds, conditions }) =>
    element(
      "li",
      { class: takes ? (holds ? "rule good" : "rule") : "rule off" },
      element("h5", {}, sign(takes ? (holds ? "held" : "failed") : "not_asked"), ` Rule ${rule}, for ${methods}`, takes ? null : element("span", { class: "quiet" }, " not for this method")),
      takes && conditions.length
        ? element(
            "ul",
            { class: "checks" },
            ...conditions.map(({ condition, holds, got }) =>
              element("li", {}, sign(holds ? "held" : "failed"), element("span", { class: "detail" }, condition, got === null ? null : element("span", { class: "pairing" }, `got ${got}`))),
            ),
          )
        : null,
    ),
  );
  return part(rules.length > 1 ? "Rules: one that holds is enough" : "Rules", element("ol", { class: "rules" }, ...cards));
}

function upstream({ upstream, upstream_headers: headers, decision, enforced }) {
  if (upstream === null || (decision === "deny" && enforced)) return null;
  const rows = Object.entries(headers).map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "code" }, value)));
  return part(
    "Sent upstream",
    element("p", {}, element("strong", {}, upstream.name), " ", element("span", { class: "code" }, upstream.target)),
    rows.length ? element("table", { class: "fields" }, element("caption", { class: "unseen" }, "Headers sent upstream"), element("thead", { class: "unseen" }, element("tr", {}, element("th", { scope: "col" }, "Name"), element("th", { scope: "col" }, "Value"))), element("tbody", {}, ...rows)) : null,
  );
}

function part(title, ...content) {
  return element("section", { class: "part" }, element("h4", {}, title), ...content);
}

/** With a capital and a full stop. */
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…:]$/.test(begun) ? begun : `${begun}.`;
}
