// The browser, and a page in it that is watched: nothing may go wrong on any page of any test.

import assert from "node:assert/strict";
import { after } from "node:test";
import { chromium } from "playwright-core";

/** What tests/it/console.rs has started: a gateway whose page is open, one that wants a token, and tokens. */
export const started = JSON.parse(process.env.BEARWARD_CONSOLE);

const browser = await chromium.launch({
  executablePath: process.env.BEARWARD_CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
after(() => browser.close());

/** No step takes longer on the slowest machine. A bound, never a measurement. */
const PATIENCE = 60_000;

/** What a browser says of every answer that isn't a 2xx, and of calls that a test cuts. */
const EXPECTED = /^Failed to load resource: (the server responded with a status of (401|404|422)|net::ERR_FAILED)/;

/** Opens the console at this address; `answers` stand in the place of the gateway's. */
export async function open(test, { at = started.admin, answers = {}, until = "#data", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(error.stack));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !EXPECTED.test(message.text())) wrong.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== at) wrong.push(`asked ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await standIn(page, answers);
  test.after(async () => {
    if (!page.isClosed()) {
      assert.deepEqual(await page.evaluate(() => window.violations), []);
      assert.equal(await page.evaluate(() => window.harmed), undefined);
      assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""]);
    }
    await context.close();
    assert.deepEqual(wrong, []);
  });
  await page.goto(`${at}/`);
  await page.locator(until).waitFor();
  return page;
}

/** These answers from now on: a text, an object, or a function that gives either. */
export async function standIn(page, answers) {
  for (const [path, answer] of Object.entries(answers)) {
    await page.route(`**/${path}`, (route) => {
      const given = typeof answer === "function" ? answer() : answer;
      return route.fulfill({ status: 200, contentType: "text/plain", body: typeof given === "string" ? given : JSON.stringify(given) });
    });
  }
}

/** Resolves once the element's text is so. */
export async function says(page, selector, expected) {
  await page.waitForFunction(
    ([selector, source, flags]) => new RegExp(source, flags).test(document.querySelector(selector)?.innerText ?? ""),
    [selector, expected.source, expected.flags],
  );
}

/** One request through the gateway; its status. */
export async function through(path, { method = "GET", token } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${started.public}${path}`, { method, headers });
  await answer.arrayBuffer();
  return answer.status;
}
