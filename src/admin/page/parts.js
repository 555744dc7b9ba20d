// Issuers, upstreams, listeners and what replicas share.

import { byId, element, Listing, mark, setMark, setText, show } from "./dom.js";
import { bytes, counted, length, moment, number, percent, whole } from "./words.js";

let issuerList;
let endpointList;
let listenerList;

/** Once. */
export function begin() {
  const listing = (id, what, make, key) =>
    new Listing(byId(id), { key, make, what, after: byId(id).closest(".scroll") });
  issuerList = listing("issuer-list", "issuers", issuer, ({ name }) => name);
  endpointList = listing("endpoint-list", "endpoints", endpoint, (of) => `${of.upstream} ${of.endpoint}`);
  listenerList = listing("listener-list", "listeners", listener, (of) => `${of.name} ${of.address}`);
}

/** What there is of them. */
export function draw(status) {
  const { issuers, upstreams, listeners, caches, state } = status;
  setText(byId("issuers-count"), whole(issuers.length));
  show(byId("no-issuers"), issuers.length === 0);
  show(byId("issuer-list").closest(".scroll"), issuers.length > 0);
  issuerList.set(issuers);
  // Those in trouble first: they are what one looks for.
  const endpoints = upstreams.flatMap(({ name, endpoints }) => endpoints.map((of) => ({ upstream: name, ...of })));
  endpoints.sort((one, other) => one.healthy - other.healthy);
  const well = endpoints.filter(({ healthy }) => healthy).length;
  setText(byId("upstreams-count"), endpoints.length ? `${whole(well)} of ${counted(endpoints.length, "endpoint")} well` : "");
  show(byId("no-endpoints"), endpoints.length === 0);
  show(byId("endpoint-list").closest(".scroll"), endpoints.length > 0);
  endpointList.set(endpoints);
  listenerList.set(listeners);
  const tokens = caches.tokens;
  facts(byId("shared-facts"), [
    ["Token cache", `${counted(tokens.entries, "token")}, ${bytes(tokens.bytes)} of ${bytes(tokens.max_bytes)}`],
    ["Cache hits so far", percent(tokens.hit_rate)],
    ["Redis", state.redis ?? "not used"],
    ["Kept on disk", state.dir ?? "nothing"],
  ]);
}

/** A list of facts, each with a name. */
export function facts(list, named) {
  const given = named.filter(([, value]) => value !== null && value !== undefined);
  while (list.children.length > given.length) list.lastElementChild.remove();
  given.forEach(([name, value], place) => {
    let entry = list.children[place];
    if (!entry) list.append((entry = element("div", {}, element("dt"), element("dd"))));
    setText(entry.firstElementChild, name);
    setText(entry.lastElementChild, value);
  });
}

const STATES = { ok: ["good", "Good"], stale: ["warn", "Stale keys"], missing: ["bad", "No keys"], none: ["none", "Keyless"] };

function issuer({ name }) {
  const url = element("span", { class: "under code" });
  const state = mark();
  const count = element("span");
  const keys = element("ul", { class: "keys" });
  const box = element("div", {}, keys);
  const keyList = new Listing(keys, { key: ({ kid, algorithm }) => `${kid} ${algorithm}`, make: key, step: 20, what: "keys" });
  const opened = element("details", {}, element("summary", {}, count), box);
  const none = element("span", { class: "quiet" });
  const age = element("td", { class: "number" });
  const source = element("span", { class: "under" });
  const audiences = element("td");
  const problem = element("td", { class: "wide" });
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, name, url),
    element("td", {}, state),
    element("td", {}, opened, none, source),
    age,
    audiences,
    problem,
  );
  const update = (of) => {
    setText(url, of.issuer ?? "");
    setMark(state, ...(STATES[of.state] ?? ["none", of.state]));
    show(opened, of.keys.length > 0);
    setText(count, counted(of.keys.length, "key"));
    setText(none, of.keys.length ? "" : "none");
    if (opened.open) keyList.set(of.keys);
    opened.ontoggle = () => opened.open && keyList.set(of.keys);
    setText(source, [of.source, of.ways.join(", ")].filter(Boolean).join(" · "));
    setText(age, of.age_seconds === null ? "–" : length(of.age_seconds));
    setText(audiences, of.audiences === "any" ? "any" : of.audiences.join(", "));
    setText(problem, of.last_error ? `${of.last_error.message} (${moment(of.last_error.at)})` : "–");
  };
  return { node, update };
}

function key({ kid, algorithm, type }) {
  const name = kid === null ? element("span", { class: "quiet" }, "no kid") : element("span", { class: "code" }, kid);
  return { node: element("li", {}, name, " ", element("span", { class: "quiet" }, algorithm ?? type ?? "")) };
}

function endpoint({ upstream, endpoint: address }) {
  const state = mark();
  const until = element("span", { class: "under" });
  const inFlight = element("td", { class: "number" });
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, upstream),
    element("td", { class: "code" }, address),
    element("td", {}, state, until),
    inFlight,
  );
  const update = (of) => {
    setMark(state, of.healthy ? "good" : "bad", of.healthy ? "Well" : of.ejected_until ? "Ejected" : "Unwell");
    setText(until, of.ejected_until ? `until ${moment(of.ejected_until)}` : "");
    setText(inFlight, number(of.in_flight));
  };
  return { node, update };
}

function listener({ name, address, mode, tls }) {
  const connections = element("td", { class: "number" });
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, name),
    element("td", { class: "code" }, address),
    element("td", {}, tls ? `${mode}, TLS` : mode),
    connections,
  );
  return { node, update: (of) => setText(connections, whole(of.connections)) };
}
