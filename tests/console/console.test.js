// The console of a gateway at work, as an operator uses it.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { open, says, started, through } from "./browser.js";

const { config, locked, reader, subject } = started;

test("charts and figures move under traffic", async (test) => {
  const page = await open(test);
  await says(page, "#state", /^Ready$/);
  const pixels = (place) => page.evaluate((place) => document.querySelectorAll("#charts canvas")[place].toDataURL(), place);
  await page.locator("#charts canvas").nth(3).waitFor();
  const before = await Promise.all([0, 1, 2, 3].map(pixels));
  // As long as it takes to be seen.
  let goes = true;
  const traffic = (async () => {
    while (goes) {
      assert.equal(await through("/items/7", { token: reader }), 200);
      assert.equal(await through("/items/7", { method: "PUT", token: reader }), 403);
      assert.equal(await through("/items/7"), 401);
    }
  })();
  test.after(() => (goes = false));
  await says(page, ".tile:nth-child(1) .value", /^(?!0\/s)[\d.k]+\/s$/);
  await says(page, ".tile:nth-child(2) .value", /^6\d(\.\d)? %$/);
  await says(page, ".tile:nth-child(4) .value", /^[\d.]+ (µs|ms|s)$/);
  await says(page, ".tile:nth-child(5) .value", /^[\d.]+ (µs|ms|s)$/);
  await says(page, ".tile:nth-child(6) .value", /^\d+(\.\d)? %$/);
  await says(page, ".chart:nth-child(1) .legend", /2xx\s*(?!0\/s)[\d.k]+\/s/);
  await says(page, ".chart:nth-child(2) .legend", /no_credential\s*(?!0\/s)[\d.k]+\/s/);
  await says(page, ".chart:nth-child(2) .legend", /role\s*(?!0\/s)[\d.k]+\/s/);
  await says(page, ".chart:nth-child(3) .legend", /overhead p99\s*[\d.]+ (µs|ms|s)/);
  await says(page, "#route-list", /items[^]*?(?!0\/s)[\d.k]+\/s/);
  await page.waitForFunction(
    (before) => [...document.querySelectorAll("#charts canvas")].every((canvas, place) => canvas.toDataURL() !== before[place]),
    before,
  );
  goes = false;
  await traffic;
});

test("issuers, endpoints, listeners and routes are there", async (test) => {
  const page = await open(test);
  await says(page, "#issuer-list", /main[^]*Good/);
  await page.locator("#issuer-list summary").first().click();
  await says(page, "#issuer-list .keys", /k1.*ES256/);
  await says(page, "#endpoint-list", /echo\s+127\.0\.0\.1:\d+\s+Well/);
  await says(page, "#listener-list", /public\s+127\.0\.0\.1:\d+\s+proxy/);
  await says(page, "#route-list", /items\b[^]*GET needs items:read/);
  await says(page, "#configuration-facts", /gateway\.yaml/);
  assert.equal(await page.locator("#shadow").isVisible(), false);
});

test("routes are found by host, path, scope, upstream and name", async (test) => {
  const page = await open(test);
  await says(page, "#routes-count", /^\d+$/);
  const found = async (words) => {
    await page.fill("#route-filter", words);
    return page.locator("#route-list h3").allInnerTexts();
  };
  assert.deepEqual(await found("api.example.com"), ["hosted"]);
  assert.deepEqual(await found("/items"), ["items"]);
  assert.deepEqual(await found("ITEMS:read"), ["items"]);
  assert.deepEqual(await found("other"), ["hosted"]);
  assert.deepEqual(await found("open"), ["open"]);
  assert.deepEqual(await found("rest hosted"), ["hosted"]);
  assert.deepEqual(await found("nowhere"), []);
  assert.match(await page.innerText("#no-routes"), /No route/);
  assert.equal((await found("")).length, 3);
});

test("a real token is explained, and forgotten", async (test) => {
  const page = await open(test);
  const explain = async (method, url) => {
    await page.fill("#explain-method", method);
    await page.fill("#explain-url", url);
    await page.click("#explain-form button.main");
  };
  await page.fill("#explain-token", `Bearer ${reader}`);
  await explain("GET", "/items/7");
  await says(page, ".verdict", /Allowed\s+200\s+ok/);
  await says(page, ".explanation", /signature[^]*Rule 1, for GET[^]*scope items:read[^]*Sent upstream[^]*x-auth-subject/i);
  await explain("PUT", "/items/7");
  await says(page, ".verdict", /Denied\s+403\s+role/);
  await says(page, ".explanation", /What would let it in[^]*editor/);
  await says(page, "#explain-said", /Denied/);
  // The signature of another token.
  await page.fill("#explain-token", reader.slice(0, -8) + "AAAAAAAA");
  await explain("GET", "/items/7");
  await says(page, ".verdict", /Denied\s+401\s+signature/);
  await page.click("#clear-token");
  assert.equal(await page.inputValue("#explain-token"), "");
  assert.equal((await page.content()).includes(reader.split(".")[1]), false);
  await explain("GET", "/items/7");
  await says(page, ".verdict", /Denied\s+401\s+no_credential/);
  await page.fill("#explain-token", reader);
  await page.reload();
  await page.locator("#data").waitFor();
  assert.equal(await page.inputValue("#explain-token"), "");
});

test("assumed claims are explained, and what can't be understood is told", async (test) => {
  const page = await open(test);
  await page.fill("#explain-url", "/items/7");
  await page.check("input[value=claims]");
  await page.selectOption("#explain-issuer", "main");
  await page.fill("#explain-claims", JSON.stringify({ sub: "u1", scope: "items:read" }));
  await page.click("#explain-form button.main");
  await says(page, ".verdict", /Allowed\s+200\s+ok/);
  await page.fill("#explain-claims", JSON.stringify({ sub: "u1" }));
  await page.click("#explain-form button.main");
  await says(page, ".verdict", /Denied\s+403\s+scope/);
  await page.fill("#explain-claims", "{");
  await page.click("#explain-form button.main");
  await says(page, "#explain-problem", /aren't JSON/);
  await page.check("input[value=none]");
  await page.fill("#explain-url", "nowhere");
  await page.click("#explain-form button.main");
  await says(page, "#explain-problem", /neither an http address nor a path/);
  await page.fill("#explain-url", "https://api.example.com/rest/x");
  await page.click("form summary");
  await page.fill("#explain-headers", "X-Tenant: 7\nnonsense");
  await page.click("#explain-form button.main");
  await says(page, "#explain-problem", /nonsense/);
  await page.fill("#explain-headers", "X-Tenant: 7");
  await page.click("#explain-form button.main");
  await says(page, ".verdict", /Denied\s+401\s+no_credential/);
  // From a route's entry.
  await page.fill("#route-filter", "hosted");
  await page.click("#route-list button");
  assert.equal(await page.inputValue("#explain-url"), "https://api.example.com/rest/");
});

test("a revocation bites until it is lifted", async (test) => {
  const page = await open(test);
  await page.locator("#no-revocations").waitFor();
  assert.equal(await through("/items/7", { token: reader }), 200);
  await page.fill("#revoke-what", subject);
  await page.selectOption("#revoke-issuer", "main");
  await page.fill("#revoke-expires", "2099-01-01T00:00");
  await page.click("#revoke-form button");
  await says(page, "#confirm-text", new RegExp(`all tokens of subject ${subject}, issuer main`));
  await page.click("#confirm-no");
  assert.equal(await through("/items/7", { token: reader }), 200);
  await page.click("#revoke-form button");
  await page.click("#confirm-yes");
  await says(page, "#revoke-said", /Revoked/);
  await says(page, "#revocation-list", new RegExp(`subject ${subject}\\s+main[^]*2099-01-01 00:00:00[^]*admin`));
  assert.equal(await through("/items/7", { token: reader }), 401);
  await page.click("#revocation-list button");
  await page.click("#confirm-yes");
  await page.locator("#no-revocations").waitFor();
  assert.equal(await through("/items/7", { token: reader }), 200);
  // One token, whose text stays nowhere.
  await page.selectOption("#revoke-kind", "token");
  await page.fill("#revoke-what", reader);
  await page.click("#revoke-form button");
  assert.equal((await page.innerText("#confirm-text")).includes(reader), false);
  await page.click("#confirm-yes");
  await says(page, "#revocation-list", /token [0-9a-f]{12}…/);
  assert.equal(await page.inputValue("#revoke-what"), "");
  assert.equal(await through("/items/7", { token: reader }), 401);
  await page.click("#revocation-list button");
  await page.click("#confirm-yes");
  await page.locator("#no-revocations").waitFor();
  await page.fill("#revoke-what", "not a token");
  await page.click("#revoke-form button");
  await page.click("#confirm-yes");
  await says(page, "#revoke-problem", /not a bearer token/);
});

test("a broken file is refused and told of", async (test) => {
  const page = await open(test);
  const good = await readFile(config, "utf8");
  test.after(() => writeFile(config, good));
  await writeFile(config, good.replace("upstream: other", "upstream: othr"));
  await page.click("#reload");
  await page.click("#confirm-yes");
  await says(page, "#reload-said", /Refused, and nothing has changed: .*gateway\.yaml:\d+:\d+: .*othr/);
  await says(page, "#configuration-errors", /othr/);
  await says(page, "#state", /Degraded/);
  await says(page, "#state-words", /last reload was refused/);
  await writeFile(config, good.replace("name: open", "name: opened"));
  await page.click("#reload");
  await page.click("#confirm-yes");
  await says(page, "#reload-said", /In force/);
  await says(page, "#state", /Ready/);
  await says(page, "#route-list", /opened/);
  assert.equal(await page.locator("#configuration-errors").isVisible(), false);
  await writeFile(config, good);
  await page.click("#reload");
  await page.click("#confirm-yes");
  await says(page, "#route-list", /open(?!ed)/);
});

test("without the admin token the page is an empty shell", async (test) => {
  const page = await open(test, { at: locked.admin, until: "#door" });
  assert.equal(await page.locator("#data").isVisible(), false);
  assert.equal(await page.locator("#lock").isVisible(), false);
  assert.equal((await page.content()).includes("behind-the-door"), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), "door-token");
  await page.fill("#door-token", "wrong");
  await page.keyboard.press("Enter");
  await says(page, "#door-problem", /doesn't take this token/);
  assert.equal(await page.inputValue("#door-token"), "");
  await page.fill("#door-token", locked.token);
  await page.click("#door-form button");
  await says(page, "#route-list", /behind-the-door/);
  await page.locator("#door").waitFor({ state: "hidden" });
  assert.equal((await page.content()).includes(locked.token), false);
  await page.click("#lock");
  await page.locator("#door").waitFor();
  assert.equal((await page.content()).includes("behind-the-door"), false);
});
