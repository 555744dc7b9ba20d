// Requests, decisions and latencies as they come, from what `/metrics` said at two times.

import { Chart } from "./charts.js";
import { byId, element, setClass, setText } from "./dom.js";
import { between, hitRate, read } from "./metrics.js";
import { bytes, counted, length, percent, rate, seconds } from "./words.js";

/** Points of a chart: ten minutes of looks. */
const POINTS = 300;
/** Milliseconds between two scrapes. */
const LEAST = 1_000;
/** What is said in figures is of the last so many looks. */
const RECENT = 6;
/** Reasons that have a line of their own. */
const NAMED = 7;

const STATUS = [
  { name: "2xx", colour: "good" },
  { name: "3xx", colour: "calm" },
  { name: "4xx", colour: "warn" },
  { name: "5xx", colour: "bad" },
];
const TIMES = [
  { name: "p50", colour: "0" },
  { name: "p99", colour: "bad" },
  { name: "overhead p50", colour: "2" },
  { name: "overhead p99", colour: "warn" },
];

let scrapes = [];
let points = [];
/** Reasons in the order in which they came up, so that a line keeps its colour. */
let reasons = [];
const colours = new Map();
let recent = null;
let charts = {};
const tiles = new Map();

/** Once. */
export function begin() {
  charts = {
    status: new Chart({ title: "Requests by status", says: rate }),
    reason: new Chart({ title: "Decisions by reason", says: rate, hidden: ["ok", "public"] }),
    time: new Chart({ title: "Latency, and the gateway's part of it", says: seconds, logarithmic: true }),
    cache: new Chart({ title: "Token cache hit rate", says: percent, most: 1 }),
  };
  byId("charts").append(...Object.values(charts).map(({ node }) => node));
  for (const [name, label] of [
    ["requests", "Requests"],
    ["denied", "Refused"],
    ["failed", "Answers 5xx"],
    ["whole", "Latency p99"],
    ["own", "Overhead p99"],
    ["cache", "Cache hits"],
  ]) {
    const value = element("dd", { class: "value" }, "–");
    const under = element("dd", { class: "under" }, "");
    tiles.set(name, { value, under, tile: element("div", { class: "tile" }, element("dt", {}, label), value, under) });
  }
  byId("tiles").append(...[...tiles.values()].map(({ tile }) => tile));
}

/** What was scraped now. `isAnother`: by another process than before. */
export async function take(page, status, isAnother) {
  const scrape = await read(page, Date.now());
  if (isAnother && scrapes.length) {
    scrapes = [];
    miss();
  }
  const before = scrapes.at(-1);
  // A look out of turn, after something was done: too little has happened to say how often.
  if (before && scrape.at - before.at < LEAST) return;
  scrapes = [...scrapes, scrape].slice(-RECENT);
  if (!before) {
    figures(null, status);
    return;
  }
  const happened = between(before, scrape);
  points = [...points, point(happened, scrape.at)].slice(-POINTS);
  recent = between(scrapes[0], scrape);
  figures(recent, status);
  draw();
}

/** There was no answer: a gap. */
export function miss() {
  if (points.length && points.at(-1).status !== null) points = [...points, gap()].slice(-POINTS);
}

/** What a route had of late; null where it isn't known yet. */
export function ofRoute(name) {
  if (recent === null || recent.span <= 0) return null;
  const { requests = 0, denied = 0, failed = 0, whole = null } = recent.routes.get(name) ?? {};
  return { rate: requests / recent.span, denied, failed, requests, p99: whole?.quantile(0.99) ?? null };
}

/** To the page's width. */
export function fit() {
  for (const chart of Object.values(charts)) chart.fit();
}

function point({ span, byStatus, byReason, whole, own, cache }, at) {
  for (const reason of Object.keys(byReason)) if (!reasons.includes(reason)) reasons = [...reasons, reason];
  const per = (counts) => Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / span]));
  return {
    at: at / 1000,
    status: per(byStatus),
    reason: per(byReason),
    times: [whole.quantile(0.5), whole.quantile(0.99), own.quantile(0.5), own.quantile(0.99)],
    cache: hitRate(cache),
  };
}

const gap = () => ({ at: Date.now() / 1000, status: null, reason: null, times: [null, null, null, null], cache: null });

function draw() {
  const times = points.map(({ at }) => at);
  const column = (part, name) => points.map((of) => (of[part] === null ? null : (of[part][name] ?? 0)));
  const none = points.some(({ status }) => status?.none || status?.["1xx"]);
  const status = none ? [...STATUS, { name: "other", colour: "quiet" }] : STATUS;
  const other = points.map(({ status }) => (status === null ? null : (status.none ?? 0) + (status["1xx"] ?? 0)));
  charts.status.set(status, [times, ...status.map(({ name }) => (name === "other" ? other : column("status", name)))]);

  const { lines, columns } = byReason(column);
  charts.reason.set(lines, [times, ...columns]);
  charts.time.set(TIMES, [times, ...TIMES.map((_, place) => points.map((of) => of.times[place] || null))]);
  charts.cache.set([{ name: "hits", colour: "0" }], [times, points.map(({ cache }) => cache)]);
  const span = times.at(-1) - times[0];
  setText(byId("traffic-window"), span > 60 ? `the last ${length(span)}` : "");
}

/** The commonest reasons have lines of their own. */
function byReason(column) {
  const total = (name) => points.reduce((sum, { reason }) => sum + (reason?.[name] ?? 0), 0);
  const open = ["ok", "public"].filter((name) => reasons.includes(name));
  const refused = reasons.filter((name) => !open.includes(name));
  const common = [...refused].sort((one, two) => total(two) - total(one)).slice(0, NAMED);
  const named = refused.filter((name) => common.includes(name));
  const rest = refused.filter((name) => !common.includes(name));
  const lines = [
    ...open.map((name) => ({ name, colour: name === "ok" ? "good" : "calm" })),
    ...named.map((name) => ({ name, colour: colourOf(name, named) })),
  ];
  const columns = lines.map(({ name }) => column("reason", name));
  if (rest.length) {
    lines.push({ name: "others", colour: "quiet" });
    columns.push(points.map(({ reason }) => reason && rest.reduce((sum, name) => sum + (reason[name] ?? 0), 0)));
  }
  if (lines.length === 0) return { lines: [{ name: "none", colour: "quiet" }], columns: [nothing()] };
  return { lines, columns };
}

/** Its own as long as it is named; none that another has. */
function colourOf(name, named) {
  const taken = named.filter((other) => other !== name).map((other) => colours.get(other));
  if (!colours.has(name) || taken.includes(colours.get(name))) {
    colours.set(name, ["0", "1", "2", "3", "4", "5", "6", "7"].find((colour) => !taken.includes(colour)));
  }
  return colours.get(name);
}

const nothing = () => points.map(({ status }) => (status === null ? null : 0));

function figures(of, status) {
  const share = (part, all) => (all > 0 ? part / all : null);
  const tokens = status.caches.tokens;
  const size = `${counted(tokens.entries, "token")}, ${bytes(tokens.bytes)}`;
  if (of === null) {
    fill("cache", tokens.hit_rate === null ? "–" : percent(tokens.hit_rate), size);
    return;
  }
  const { requests, denied, failed, span, whole, own, cache } = of;
  fill("requests", rate(requests / span), `of the last ${length(Math.round(span))}`);
  const top = Object.entries(of.byReason).filter(([name]) => name !== "ok" && name !== "public");
  top.sort(([, one], [, two]) => two - one);
  fill("denied", percent(share(denied, requests)), top.length ? `mostly ${top[0][0]}` : "", denied > 0 ? "warn" : "");
  fill("failed", percent(share(failed, requests)), failed ? rate(failed / span) : "", failed > 0 ? "bad" : "");
  fill("whole", seconds(whole.quantile(0.99)), `p50 ${seconds(whole.quantile(0.5))}`);
  fill("own", seconds(own.quantile(0.99)), `p50 ${seconds(own.quantile(0.5))}`);
  fill("cache", percent(hitRate(cache)), size);
}

function fill(name, words, below, kind = "") {
  const { value, under, tile } = tiles.get(name);
  setText(value, words);
  setText(under, below);
  setClass(tile, `tile ${kind}`.trim());
}
