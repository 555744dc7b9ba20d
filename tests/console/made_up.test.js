// The console of gateways that were made up: large ones, hostile ones, and one that goes away.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { open, says, started } from "./browser.js";
import * as made from "./made_up.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Answers in the place of the gateway's, with traffic that goes on from look to look. */
function answers({ routes = made.routes(), status = made.status({ shadow: made.shadow }), revocations = made.revocations } = {}) {
  let seconds = 1000;
  const names = routes.routes.slice(0, 100).map(({ name }) => name);
  return { status, routes, revocations, metrics: () => made.metrics(names, (seconds += 2)) };
}

const { HOSTILE } = made;
/** Everything that others may choose is called so. */
const named = (text) => ({
  status: made.status({
    degraded: [text],
    version: text,
    config: { file: text, hash: text, loaded_at: text, last_reload: "error", errors: [text] },
    listeners: [{ name: text, address: text, mode: text, tls: true, connections: 1 }],
    issuers: [{ name: text, issuer: text, audiences: [text], ways: [text], keys: [{ kid: text, algorithm: text, type: text }], source: text, age_seconds: 1, state: text, last_error: { message: text, at: "2026-11-28T07:00:00Z" } }],
    upstreams: [{ name: text, endpoints: [{ endpoint: text, healthy: false, in_flight: 1, ejected_until: text }] }],
    state: { redis: text, dir: text },
    shadow: { ...made.shadow, file: text, last_reload: "error", errors: [text], differences: [{ ...made.shadow.differences[0], route: text, shadow_route: text, reason: text, shadow_reason: text, example: { method: text, path: text } }] },
  }),
  routes: made.routes([made.route(text, { hosts: [text], methods: [text], listeners: [text], issuers: [text], leads_to: { upstream: text } })]),
  revocations: [{ id: text, subject: text, issuer: text, created_at: 1, source: text }],
});
const hostile = named(HOSTILE);

/** What `POST /explain` may answer, with this text in every place. */
const explained = (text) => ({
  decision: "deny", status: 403, reason: text, detail: text, enforced: true, request: text, route: text, place: text, path: text, readings: [text], neighbours: [{ route: text, why: text }],
  token: { presented: "token", issuer: text, principal: { subject: text, client: text, kind: "user", scopes: [text], roles: [text] }, steps: [{ step: text, result: "failed", detail: "no", got: text, wanted: text }, { step: "exp", result: "held", detail: text, got: null, wanted: null }] },
  rules: [{ rule: 1, methods: text, takes_method: true, holds: false, conditions: [{ condition: text, holds: false, got: text }] }, { rule: 2, methods: text, takes_method: false, holds: false, conditions: [] }],
  upstream: { name: text, target: text }, upstream_headers: { [text]: text }, to_allow: [text],
});

async function explain(page) {
  await page.fill("#explain-url", "/x");
  await page.click("#explain-form button.main");
  await page.locator(".verdict").waitFor();
}

test("names that would do harm stay text", async (test) => {
  const page = await open(test, { answers: { ...answers(hostile), explain: explained(HOSTILE) } });
  await explain(page);
  for (const summary of await page.locator("summary:visible").all()) await summary.click();
  await page.locator("#issuer-list .keys li").waitFor();
  await says(page, ".chart:nth-child(1) .legend", /2xx\s*[\d.]+/);
  await page.click("#revocation-list button");
  await page.locator("#confirm[open]").waitFor();
  const found = await page.evaluate(() => [...document.querySelectorAll("body script, img:not([src='console/icon.svg']), body style, iframe, [onerror], [style*=url]")].map((node) => node.outerHTML));
  assert.deepEqual(found, []);
  // It is shown as it is written, in each part.
  for (const part of ["#state-words", "#issuer-list", "#endpoint-list", "#listener-list", "#route-list", "#explained", "#shadow-list", "#revocation-list", "#configuration-errors", "#confirm-text"]) {
    assert.ok((await page.textContent(part)).includes(made.HOSTILE), part);
  }
});

test("what isn't seen, or turns the direction of a text, is written out", async (test) => {
  const name = "a\u202egnp\u2066b\u200e\u200b\u0007";
  const page = await open(test, { answers: { ...answers(named(name)), explain: explained(name) } });
  await explain(page);
  for (const summary of await page.locator("summary:visible").all()) await summary.click();
  await page.locator("#issuer-list .keys li").waitFor();
  await page.click("#revocation-list button");
  await page.locator("#confirm[open]").waitFor();
  const shown = String.raw`a\u{202e}gnp\u{2066}b\u{200e}\u{200b}\u{7}`;
  for (const part of ["#state-words", "#issuer-list", "#endpoint-list", "#listener-list", "#route-list", "#explained", "#shadow-list", "#revocation-list", "#configuration-errors", "#confirm-text"]) {
    assert.ok((await page.textContent(part)).includes(shown), part);
  }
  const told = await page.evaluate(() => {
    const attributes = [...document.querySelectorAll("[title], [aria-label]")].map((node) => `${node.title} ${node.ariaLabel}`);
    return [document.title, document.body.textContent, ...attributes].join("\n");
  });
  assert.doesNotMatch(told, /[\u0007\u200b\u200e\u202e\u2066]/);
});

/** What reaches beyond the page's edge, and doesn't scroll in a place of its own. */
function wider() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const isOut = (node) => node.getBoundingClientRect().right > width && !node.closest(".scroll, pre");
  return [...document.querySelectorAll("body *")].filter(isOut).map((node) => node.outerHTML.slice(0, 200));
}

test("nothing is wider than a phone", async (test) => {
  const page = await open(test, { answers: { ...answers(hostile), explain: explained("x".repeat(200)) }, viewport: { width: 320, height: 640 } });
  await explain(page);
  for (const summary of await page.locator("summary:visible").all()) await summary.click();
  await says(page, ".chart:nth-child(1) .legend", /2xx\s*[\d.]+/);
  assert.deepEqual(await page.evaluate(wider), []);
  const door = await open(test, { at: started.locked.admin, until: "#door", viewport: { width: 320, height: 640 } });
  assert.deepEqual(await door.evaluate(wider), []);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing, ${colorScheme}`, async (test) => {
    const broken = { file: "gateway.yaml", hash: "3f9a1c77b0d2", loaded_at: "2026-11-28T07:00:00Z", last_reload: "error", errors: ["error: unknown key `timout`\n  --> gateway.yaml:5:5"] };
    const status = made.status({ shadow: made.shadow, config: broken });
    const options = { colorScheme, answers: { ...answers({ status }), explain: explained("some words") } };
    const clean = async (page, what) => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const told = violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`);
      assert.deepEqual(told, []);
    };
    const page = await open(test, { ...options });
    await explain(page);
    await says(page, ".chart:nth-child(1) .legend", /2xx\s*[\d.]+/);
    for (const summary of await page.locator("summary:visible").all()) await summary.click();
    await clean(page, "the page");
    await page.click("#reload");
    await clean(page, "a question");
    await page.click("#confirm-no");
    await page.route("**/status", (route) => route.abort());
    await page.locator("#lost").waitFor();
    await clean(page, "without a gateway");
    const door = await open(test, { at: started.locked.admin, until: "#door", colorScheme });
    await door.fill("#door-token", "wrong");
    await door.keyboard.press("Enter");
    await says(door, "#door-problem", /doesn't take/);
    await clean(door, "the door");
  });
}

test("the keyboard gets everywhere, and it is seen where it is", async (test) => {
  const page = await open(test, { answers: { ...answers(), explain: explained("words") } });
  await says(page, ".chart:nth-child(1) .legend", /2xx\s*[\d.]+/);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const reached = new Set();
  for (let step = 0; step < 200; step += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const node = document.activeElement;
      if (!node || node === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(node);
      const section = node.closest("section")?.id ?? "";
      return { name: `${node.id || node.textContent.trim() || node.tagName}`, section, isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) > 0 };
    });
    if (at === null) break;
    assert.ok(at.isSeen, `the focus isn't seen at ${at.name}`);
    reached.add(at.section).add(at.name);
    // Filled in on the way, as one would.
    if (at.name === "explain-url") await page.keyboard.type("/x");
    if (at.name === "Explain") {
      await page.keyboard.press("Enter");
      await page.locator(".verdict").waitFor();
    }
    if (at.name === "revoke-what") {
      await page.keyboard.type("joe");
      await page.keyboard.press("Enter");
      await page.locator("#confirm[open]").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.id), "confirm-no");
      await page.keyboard.press("Escape");
      await page.waitForFunction(() => document.activeElement.id === "revoke-what");
    }
  }
  for (const name of ["traffic", "issuers", "upstreams", "routes", "explain", "shadow", "revocations", "configuration", "route-filter", "route-order", "clear-token", "reload"]) {
    assert.ok(reached.has(name), `${name} isn't reached`);
  }
});

test("a gateway that goes away is told of, and what was seen stays", async (test) => {
  const page = await open(test, { answers: answers() });
  await says(page, "#route-list", /campaigns/);
  await page.fill("#explain-token", "half a token");
  await page.click("#issuer-list summary >> nth=0");
  await page.route("**/status", (route) => route.abort());
  await says(page, "#lost", /doesn't answer; trying again\. What you see is from \d\d:\d\d:\d\d/);
  await says(page, "#state", /No answer/);
  assert.match(await page.title(), /No answer/);
  assert.match(await page.innerText("#route-list"), /campaigns/);
  assert.equal(await page.inputValue("#explain-token"), "half a token");
  // It is there again, and it is another process.
  await page.unroute("**/status");
  await page.route("**/status", (route) => route.fulfill({ json: made.status({ started_at: "2026-11-28T07:00:00Z", uptime_seconds: 3, degraded: [], upstreams: [] }) }));
  await says(page, "#state", /Ready/);
  assert.equal(await page.locator("#lost").isVisible(), false);
  assert.equal(await page.inputValue("#explain-token"), "half a token");
  assert.equal(await page.locator("#issuer-list details").first().evaluate(({ open }) => open), true);
});

test("a shadow's differences, and its file, are told of", async (test) => {
  const told = { ok: true, hash: "1", changed: "route orders", diagnostics: [], shadow: { ok: false, hash: "2", diagnostics: [{ message: "unknown key", file: "next.yaml", line: 3, column: 5, hint: null }] } };
  const page = await open(test, { answers: { ...answers(), reload: told } });
  await says(page, "#shadow-count", /412 of 18,230 decided otherwise \(2\.3 %\)/);
  await says(page, "#shadow-list", /allow\s+ok\s+route campaigns\s+deny\s+scope\s+route campaigns\s+398/);
  await page.click("#shadow-list button >> nth=0");
  assert.deepEqual([await page.inputValue("#explain-method"), await page.inputValue("#explain-url")], ["PUT", "/rest/campaigns/1842"]);
  await page.click("#reload");
  await page.click("#confirm-yes");
  await says(page, "#reload-said", /In force: route orders\. The shadow was refused: next\.yaml:3:5: unknown key\./);
});

test("ten thousand routes and a thousand keys stay usable", async (test) => {
  const routes = made.routes(Array.from({ length: 10_000 }, (_, place) => made.route(`route-${place}`)));
  const status = made.status();
  status.issuers[0].keys = made.keys(1000);
  const page = await open(test, { answers: answers({ routes, status }) });
  await says(page, "#routes-count", /^10,000$/);
  assert.equal(await page.locator("#route-list > li").count(), 25);
  await page.click("#route-list + .more");
  assert.equal(await page.locator("#route-list > li").count(), 125);
  await page.fill("#route-filter", "route-9999:read");
  await says(page, "#routes-count", /^1 of 10,000$/);
  assert.deepEqual(await page.locator("#route-list h3").allInnerTexts(), ["route-9999"]);
  await page.click("#issuer-list summary >> nth=0");
  await page.locator("#issuer-list .keys li").first().waitFor();
  assert.equal(await page.locator("#issuer-list .keys >> nth=0 >> li").count(), 20);
  await page.click("#issuer-list .keys + .more >> nth=0");
  assert.equal(await page.locator("#issuer-list .keys >> nth=0 >> li").count(), 100);
});

test("a tab that nobody sees looks less often", async (test) => {
  const page = await open(test, { answers: answers(), until: "body" });
  let looks = 0;
  page.on("requestfinished", (request) => (looks += request.url().endsWith("/status") ? 1 : 0));
  await page.clock.install();
  await page.reload();
  const hidden = (is) =>
    page.evaluate((is) => {
      Object.defineProperty(document, "hidden", { value: is, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, is);
  // The clock goes on only when a look is over: its timer is set then.
  const pass = async (seconds, expected) => {
    const before = looks;
    await page.clock.runFor(seconds * 1000);
    for (let turn = 0; turn < 600 && looks < before + expected; turn += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    await page.waitForFunction(() => document.querySelector("#data:not([hidden])"));
    await page.waitForLoadState("networkidle");
    assert.equal(looks - before, expected, `${seconds} s`);
  };
  await page.locator("#data").waitFor();
  await page.waitForLoadState("networkidle");
  await pass(2.1, 1);
  await pass(2.1, 1);
  await hidden(true);
  await pass(2.1, 1);
  await pass(15, 0);
  await pass(6, 1);
  const before = looks;
  await hidden(false);
  for (let turn = 0; turn < 600 && looks === before; turn += 1) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(looks, before + 1);
});

test("quantiles and counters go by the difference of two scrapes", async (test) => {
  const page = await open(test);
  const found = await page.evaluate(async () => {
    const { between, labelsOf, read } = await import("./console/metrics.js");
    const scrape = (at, [first, second, all], requests) =>
      read(
        [
          `bearward_request_duration_seconds_bucket{route="a",le="0.1"} ${first}`,
          `bearward_request_duration_seconds_bucket{route="a",le="0.2"} ${second}`,
          `bearward_request_duration_seconds_bucket{route="a",le="+Inf"} ${all}`,
          `bearward_requests_total{method="GET",route="a",status="200"} ${requests}`,
        ].join("\n"),
        at,
      );
    const seen = (one, two) => {
      const { whole, requests, span } = between(one, two);
      return { p50: whole.quantile(0.5), p99: whole.quantile(0.99), rate: requests / span };
    };
    const first = await scrape(0, [1000, 1000, 1000], 1000);
    const second = await scrape(2000, [1010, 1020, 1020], 1020);
    return {
      usual: seen(first, second),
      // Above the last bound, the last bound is all that is known.
      above: seen(first, await scrape(2000, [1000, 1000, 1010], 1010)),
      none: seen(first, await scrape(2000, [1000, 1000, 1000], 1000)),
      anew: seen(first, await scrape(2000, [2, 2, 2], 2)),
      labels: labelsOf('route="a\\"b\\\\c\\nd,e=\\"",le="0.1"'),
    };
  });
  assert.deepEqual(found.labels, { route: 'a"b\\c\nd,e="', le: "0.1" });
  assert.equal(found.usual.rate, 10);
  assert.equal(found.usual.p50, 0.1);
  assert.ok(Math.abs(found.usual.p99 - 0.198) < 1e-9, found.usual.p99);
  assert.deepEqual(found.above, { p50: 0.2, p99: 0.2, rate: 5 });
  assert.deepEqual(found.none, { p50: null, p99: null, rate: 0 });
  assert.deepEqual([found.anew.rate, found.anew.p50], [1, 0.05]);
});
