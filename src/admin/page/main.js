// Asks the gateway again and again, and hands what it says to the parts of the page.

import { byId, element, setMark, setText, show } from "./dom.js";
import { hasToken, json, Lost, present, text, TokenNeeded } from "./gateway.js";
import * as configuration from "./configuration.js";
import * as explain from "./explain.js";
import * as parts from "./parts.js";
import * as revocations from "./revocations.js";
import * as routes from "./routes.js";
import * as shadow from "./shadow.js";
import { overall, title } from "./state.js";
import * as traffic from "./traffic.js";
import { clock, length } from "./words.js";

/** Milliseconds between two looks; a tab that nobody sees looks less often. */
const LOOK = 2_000;
const LOOK_UNSEEN = 20_000;
/** While no answer comes. */
const LOOK_LOST = 3_000;
/** Reading may take a third of the time: thousands of routes have a lot of metrics. */
const SHARE = 3;

const known = { hash: null, uptime: 0, revocations: null, looks: 0, took: 0 };
let timer = null;
let looking = false;
let again = false;
let lastAnswer = null;

async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  clearTimeout(timer);
  let wait = document.hidden ? LOOK_UNSEEN : LOOK;
  try {
    await news();
    found();
  } catch (error) {
    if (error instanceof TokenNeeded) return closed();
    missed(error);
    wait = Math.max(wait, LOOK_LOST);
  } finally {
    looking = false;
  }
  if (again) {
    again = false;
    known.revocations = null;
    wait = 0;
  }
  timer = setTimeout(look, wait && Math.max(wait, known.took * (SHARE - 1)));
}

async function news() {
  const begun = performance.now();
  const status = await json("status");
  if (status === null) throw new Lost("what the gateway answered can't be read");
  const scrape = await text("metrics");
  const isAnother = status.uptime_seconds < known.uptime;
  if (isAnother) Object.assign(known, { hash: null, revocations: null });
  known.uptime = status.uptime_seconds;
  await traffic.take(scrape, status, isAnother);
  known.took = performance.now() - begun;
  if (known.hash !== status.config.hash) {
    routes.take(await json("routes"));
    known.hash = status.config.hash;
  }
  routes.refresh();
  // Their number is told with each look; what they are is asked when it changes, and now and then.
  known.looks += 1;
  if (known.revocations !== status.revocations || known.looks % 10 === 0) {
    revocations.take(await json("revocations"));
    known.revocations = status.revocations;
  }
  draw(status);
}

function draw(status) {
  const state = overall(status);
  setMark(byId("state"), state.kind, state.word);
  const words = byId("state-words");
  const said = state.because.map(({ what }) => what).join(" ");
  if (words.dataset.said !== said) {
    words.dataset.said = said;
    words.replaceChildren(...state.because.flatMap(({ what, where }) => [element("a", { href: where }, what), " "]));
  }
  setText(byId("facts"), `${status.version}, up ${length(status.uptime_seconds)}`);
  document.title = title(state);
  parts.draw(status);
  explain.issuers(status.issuers.map(({ name }) => name));
  revocations.issuers(status.issuers.map(({ name }) => name));
  configuration.draw(status.config);
  shadow.draw(status.shadow);
}

function found() {
  lastAnswer = new Date();
  show(byId("door"), false);
  show(byId("data"), true);
  show(byId("sections"), true);
  show(byId("lock"), hasToken());
  show(byId("lost"), false);
  document.body.classList.remove("is-lost");
  traffic.fit();
}

/** What was on the screen stays. */
function missed(error) {
  const since = lastAnswer ? ` What you see is from ${clock(lastAnswer)}.` : "";
  const why = error instanceof Lost ? "The gateway doesn't answer" : `Something went wrong (${error.message})`;
  setText(byId("lost"), `${why}; trying again.${since}`);
  show(byId("lost"), true);
  setMark(byId("state"), "bad", "No answer");
  document.title = "No answer – bearward";
  document.body.classList.add("is-lost");
  traffic.miss();
}

/** The token is missing or wrong: nothing is shown without it. */
function closed() {
  clearTimeout(timer);
  show(byId("lost"), false);
  document.body.classList.remove("is-lost");
  for (const id of ["data", "sections", "lock"]) show(byId(id), false);
  setMark(byId("state"), "none", "Locked");
  byId("state-words").replaceChildren();
  byId("state-words").dataset.said = "";
  setText(byId("facts"), "");
  document.title = "bearward";
  setText(byId("door-problem"), hasToken() ? "The gateway doesn't take this token." : "");
  present(null);
  const wasOpen = !byId("door").hidden;
  show(byId("door"), true);
  byId("door-token").value = "";
  if (!wasOpen || document.activeElement === document.body) byId("door-token").focus();
}

byId("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const written = byId("door-token").value.trim();
  if (written === "") return;
  present(written);
  look();
});
// All that this page knows goes with it.
byId("lock").addEventListener("click", () => location.reload());

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && byId("door").hidden) look();
});
// Parts that have done something want to see what came of it; one that was refused for want of a token closes the page.
document.addEventListener("news", () => {
  known.revocations = null;
  look();
});
document.addEventListener("locked", closed);

traffic.begin();
explain.begin();
routes.begin(explain.prefill);
revocations.begin();
configuration.begin();
shadow.begin(explain.prefill);
parts.begin();
look();
