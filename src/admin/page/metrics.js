// What `/metrics` says, and what happened between two times that it was asked.

const REQUESTS = "bearward_requests_total";
const DECISIONS = "bearward_decisions_total";
const CACHE = "bearward_token_cache_requests_total";
const COUNTERS = new Map([REQUESTS, DECISIONS, CACHE].map((name) => [name, name]));
const HISTOGRAMS = new Map([
  ["bearward_request_duration_seconds_bucket", "whole"],
  ["bearward_overhead_seconds_bucket", "own"],
]);

/** Characters that are read before the page may do something else: thousands of routes have tens of megabytes. */
const AT_ONCE = 2_000_000;

/** One scrape: counters by series, histograms by route. */
export async function read(page, at) {
  const scrape = { at, counters: new Map(), whole: new Map(), own: new Map() };
  let start = 0;
  let pause = AT_ONCE;
  while (start < page.length) {
    if (start > pause) {
      pause = start + AT_ONCE;
      await new Promise((resolve) => setTimeout(resolve));
    }
    let end = page.indexOf("\n", start);
    if (end < 0) end = page.length;
    if (page.charCodeAt(start) !== 35 /* # */) line(page.slice(start, end), scrape);
    start = end + 1;
  }
  return scrape;
}

function line(text, scrape) {
  const brace = text.indexOf("{");
  const close = text.lastIndexOf("}");
  if (brace < 0 || close < brace) return;
  const name = text.slice(0, brace);
  const kind = HISTOGRAMS.get(name);
  if (kind === undefined && !COUNTERS.has(name)) return;
  const value = Number(text.slice(close + 1).trim().split(" ", 1)[0]);
  if (!Number.isFinite(value)) return;
  const labels = labelsOf(text.slice(brace + 1, close));
  if (kind === undefined) {
    const its = COUNTERS.get(name);
    const key = `${its} ${Object.values(labels).join("\n")}`;
    scrape.counters.set(key, { name: its, labels, value });
    return;
  }
  const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
  const route = labels.route ?? "";
  let buckets = scrape[kind].get(route);
  if (!buckets) scrape[kind].set(route, (buckets = { bounds: [], counts: [] }));
  buckets.bounds.push(bound);
  buckets.counts.push(value);
}

/** `a="1",b="x\"y"`, with the escapes of the text format. */
export function labelsOf(text) {
  const labels = {};
  let place = 0;
  while (place < text.length) {
    const equals = text.indexOf('="', place);
    if (equals < 0) break;
    const name = own(text.slice(place, equals));
    let end = equals + 2;
    while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    const written = text.slice(equals + 2, end);
    labels[name] = own(written.includes("\\") ? written.replace(/\\(.)/gs, unescaped) : written);
    place = text[end + 1] === "," ? end + 2 : end + 1;
  }
  return labels;
}

const unescaped = (_, letter) => (letter === "n" ? "\n" : letter);

const texts = new Map();

/** The same text, once for all scrapes: a part of a page would keep the whole page in memory. */
function own(text) {
  let known = texts.get(text);
  if (known === undefined) {
    known = ` ${text}`.slice(1);
    texts.set(known, known);
  }
  return known;
}

/** How much a counter grew. One that is smaller than before began anew. */
const grown = (before, after) => (after >= before ? after - before : after);

/** What happened between two scrapes. */
export function between(before, after) {
  const span = (after.at - before.at) / 1000;
  const happened = { span, requests: 0, denied: 0, failed: 0, byStatus: {}, byReason: {}, cache: {}, routes: new Map() };
  for (const [series, { name, labels, value }] of after.counters) {
    const more = grown(before.counters.get(series)?.value ?? 0, value);
    if (more === 0) continue;
    if (name === CACHE) add(happened.cache, labels.result, more);
    else if (name === REQUESTS) answered(happened, labels, more);
    else decided(happened, labels, more);
  }
  happened.whole = new Histogram();
  happened.own = new Histogram();
  for (const kind of ["whole", "own"]) {
    for (const [route, buckets] of after[kind]) {
      const earlier = before[kind].get(route);
      if (buckets.counts.at(-1) === earlier?.counts.at(-1)) continue;
      const more = new Histogram();
      more.add(buckets, earlier);
      happened[kind].add(buckets, earlier);
      if (kind === "whole") entry(happened.routes, route).whole = more;
    }
  }
  return happened;
}

function answered(happened, { route, status }, more) {
  happened.requests += more;
  const kind = /^[1-5]\d\d$/.test(status) ? `${status[0]}xx` : "none";
  add(happened.byStatus, kind, more);
  if (kind === "5xx") happened.failed += more;
  const its = entry(happened.routes, route);
  its.requests += more;
  if (kind === "5xx") its.failed += more;
}

function decided(happened, { route, outcome, reason }, more) {
  add(happened.byReason, reason, more);
  if (outcome !== "deny") return;
  happened.denied += more;
  entry(happened.routes, route).denied += more;
}

function entry(routes, route = "") {
  let its = routes.get(route);
  if (!its) routes.set(route, (its = { requests: 0, denied: 0, failed: 0, whole: null }));
  return its;
}

function add(counts, name, more) {
  counts[name] = (counts[name] ?? 0) + more;
}

/** Cumulative buckets of what happened. */
export class Histogram {
  bounds = [];
  counts = [];

  /** Adds what is in `after` and wasn't in `before`. */
  add(after, before) {
    const total = after.counts.at(-1) ?? 0;
    const anew = !before || total < (before.counts.at(-1) ?? 0) || before.counts.length !== after.counts.length;
    if (this.bounds.length === 0) {
      this.bounds = after.bounds;
      this.counts = after.counts.map(() => 0);
    }
    for (let place = 0; place < this.counts.length; place += 1) {
      this.counts[place] += Math.max(0, (after.counts[place] ?? 0) - (anew ? 0 : before.counts[place]));
    }
  }

  /** The value below which this share of it is, as far as buckets tell; null where nothing happened. */
  quantile(share) {
    const total = this.counts.at(-1) ?? 0;
    if (total === 0) return null;
    const rank = share * total;
    const place = this.counts.findIndex((count) => count >= rank);
    // Above the last bound nothing more is known.
    if (this.bounds[place] === Infinity) return this.bounds[place - 1] ?? null;
    const low = place > 0 ? this.bounds[place - 1] : 0;
    const below = place > 0 ? this.counts[place - 1] : 0;
    const inside = this.counts[place] - below;
    return inside > 0 ? low + ((this.bounds[place] - low) * (rank - below)) / inside : this.bounds[place];
  }
}

/** The share of tokens that had been verified before; null where there was none. */
export function hitRate({ hit = 0, miss = 0, wait = 0 }) {
  const all = hit + miss + wait;
  return all > 0 ? hit / all : null;
}
