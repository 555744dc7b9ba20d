// The routes in sentences, to be searched, each with what it gets at the moment.

import { byId, element, Listing, setText, show } from "./dom.js";
import { ofRoute } from "./traffic.js";
import { bytes, percent, rate, seconds, whole } from "./words.js";

let routes = [];
let listing;

/** Once. `explain(request)` is told what somebody wants to have explained. */
export function begin(explain) {
  listing = new Listing(byId("route-list"), {
    key: ({ name }) => name,
    make: (route) => entry(route, explain),
    step: 25,
    what: "routes",
  });
  byId("route-form").addEventListener("submit", (event) => event.preventDefault());
  byId("route-filter").addEventListener("input", choose);
  byId("route-order").addEventListener("change", choose);
}

/** The routes of a configuration that has taken over. */
export function take({ routes: given }) {
  routes = given.map((route) => ({ ...route, searched: searched(route), methods_of: methods(route) }));
  choose(null);
}

/** News of what they get. */
export const refresh = () => listing.refresh();

/** All that somebody may look for. */
function searched({ name, hosts, paths, methods, listeners, leads_to: to, rules, sentence, issuers, token_from }) {
  const conditions = rules.flatMap((rule) => [rule.sentence, ...rule.conditions]);
  const names = [to.upstream, to.redirect, to.respond, to.decision && "decision"];
  const all = [name, hosts, paths, methods, listeners, issuers, token_from, names, conditions, sentence];
  return all.flat(2).filter(Boolean).join("\n").toLowerCase();
}

function choose(event) {
  const words = byId("route-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = routes.filter(({ searched }) => words.every((word) => searched.includes(word)));
  const orders = {
    name: (one, two) => one.name.localeCompare(two.name),
    busy: (one, two) => (ofRoute(two.name)?.rate ?? 0) - (ofRoute(one.name)?.rate ?? 0),
    refused: (one, two) => (ofRoute(two.name)?.denied ?? 0) - (ofRoute(one.name)?.denied ?? 0),
  };
  const order = orders[byId("route-order").value];
  if (order) chosen.sort(order);
  listing.set(chosen, event !== null);
  setText(byId("routes-count"), words.length ? `${whole(chosen.length)} of ${whole(routes.length)}` : whole(routes.length));
  show(byId("no-routes"), chosen.length === 0);
  setText(byId("no-routes"), routes.length ? "No route has all of these words." : "No route is configured: nothing is open.");
}

function entry(route, explain) {
  const traffic = element("span", { class: "rate" });
  const times = element("span", { class: "under" });
  const node = element(
    "li",
    { class: "route" },
    element(
      "div",
      { class: "who" },
      element("h3", {}, route.name),
      element("p", { class: "under" }, leadsTo(route.leads_to)),
    ),
    element(
      "div",
      { class: "what" },
      element("p", { class: "place" }, ...place(route)),
      element("ul", { class: "says" }, ...sentences(route).map((said) => element("li", {}, said))),
      element("p", { class: "tags" }, ...tags(route).map(([tag, kind]) => element("span", { class: `tag ${kind ?? ""}`.trim() }, tag))),
    ),
    element(
      "div",
      { class: "now" },
      traffic,
      times,
      element("button", { type: "button", class: "link", "aria-label": `Explain a request to ${route.name}`, onclick: () => explain(example(route)) }, "Explain…"),
    ),
  );
  const update = () => {
    const of = ofRoute(route.name);
    setText(traffic, of === null ? "" : rate(of.rate));
    const said = [
      of?.p99 && `p99 ${seconds(of.p99)}`,
      of?.denied && `${percent(Math.min(1, of.denied / (of.requests || of.denied)))} refused`,
      of?.failed && `${percent(of.failed / of.requests)} 5xx`,
    ];
    setText(times, said.filter(Boolean).join(", "));
  };
  return { node, update };
}

function place({ hosts, paths, methods_of }) {
  const codes = (texts) => texts.flatMap((text, place) => [place ? " " : "", element("code", {}, text)]);
  const on = hosts.length ? [element("span", { class: "quiet" }, " on "), ...codes(hosts)] : [];
  return [element("span", { class: "methods" }, methods_of), " ", ...codes(paths), ...on];
}

const methods = ({ methods }) => (methods === null ? "any method" : methods.join(" "));

/** What it asks for: of rules, a sentence each; else the route's own, without its place, which stands above. */
function sentences({ allow, rules, sentence, paths, hosts }) {
  if (allow === "rules" && rules.length) return rules.map((rule) => rule.sentence);
  const ends = [...paths, ...hosts].map((text) => {
    const place = sentence.lastIndexOf(`${text}: `);
    return place < 0 ? 0 : place + text.length + 2;
  });
  const said = sentence.slice(Math.max(0, ...ends));
  return [said.charAt(0).toUpperCase() + said.slice(1)];
}

function leadsTo(to) {
  if (to.upstream) return `to ${to.upstream}`;
  if (to.redirect) return `redirects (${to.status}) to ${to.redirect}`;
  if (to.respond) return `answers ${to.respond} itself`;
  return "decides, and sends nothing on";
}

function tags(route) {
  const limits = route.rate_limits.map(({ rate: most, burst, per }) => `${most} a ${per}${burst ? `, bursts of ${burst}` : ""}`);
  return [
    !route.enforce && ["dry run: not enforced", "warn"],
    route.allow === "public" && ["public", "warn"],
    route.allow === "optional" && ["token optional", "warn"],
    route.allow !== "public" && route.issuers.length > 0 && [`tokens of ${route.issuers.join(", ")}`],
    route.listeners.length > 0 && [`listener ${route.listeners.join(", ")}`],
    ...limits.map((limit) => [limit]),
    route.max_body_bytes !== null && [`bodies up to ${bytes(route.max_body_bytes)}`],
    route.timeout_seconds !== null && [`within ${seconds(route.timeout_seconds)}`],
    route.cors && ["CORS"],
    route.revokes && ["ends tokens"],
  ].filter(Boolean);
}

/** A request that would come here. */
function example({ hosts, paths, methods }) {
  const host = hosts[0]?.replace(/^\*/, "www");
  const path = (paths[0] ?? "/").replace(/\/\*\*$/, "/").replace(/\{[^}]*\}/g, "1");
  return { method: methods?.[0] ?? "GET", url: host ? `https://${host}${path}` : path };
}
