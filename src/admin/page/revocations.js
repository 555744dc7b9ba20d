// Tokens that are ended before their time: what there is, another one, and taking one back.

import { byId, confirmed, element, Listing, setText, show } from "./dom.js";
import { choices } from "./explain.js";
import { Lost, post, Refused, remove, TokenNeeded } from "./gateway.js";
import { moment, whole } from "./words.js";

const KINDS = {
  subject: { label: "Subject", says: "all tokens of subject" },
  client: { label: "Client", says: "all tokens of client" },
  jti: { label: "jti", says: "the token with jti" },
  token: { label: "Token", says: "this token" },
  // Issuers alone ask for these.
  sid: { label: "Session", says: "all tokens of session" },
  sub: { label: "sub", says: "all tokens with sub" },
};

let listing;

/** Once. */
export function begin() {
  listing = new Listing(byId("revocation-list"), {
    key: ({ id }) => id,
    make: entry,
    what: "revocations",
    after: byId("revocation-table"),
  });
  byId("revoke-kind").addEventListener("change", () => {
    setText(byId("revoke-what-label"), KINDS[byId("revoke-kind").value].label);
    // What was a token doesn't become a name.
    byId("revoke-what").value = "";
  });
  byId("revoke-form").addEventListener("submit", (event) => {
    event.preventDefault();
    revoke();
  });
  addEventListener("pagehide", () => (byId("revoke-what").value = ""));
}

/** The issuers that one may be of. */
export function issuers(names) {
  choices(byId("revoke-issuer"), [["", "any"], ...names.map((name) => [name, name])]);
}

/** Those in force. */
export function take(revocations) {
  const newestFirst = [...revocations].sort((one, two) => two.created_at - one.created_at);
  setText(byId("revocations-count"), whole(revocations.length));
  show(byId("revocation-table"), revocations.length > 0);
  show(byId("no-revocations"), revocations.length === 0);
  listing.set(newestFirst);
}

const kindOf = (revocation) => Object.keys(KINDS).find((kind) => kind in revocation);

function entry(revocation) {
  const kind = kindOf(revocation);
  const named = kind === "token" ? `${revocation.token}…` : revocation[kind];
  const title = `${KINDS[kind].says} ${named}`;
  const cells = [
    revocation.issuer ?? "any",
    revocation.issued_before === undefined ? "–" : moment(revocation.issued_before),
    revocation.expires_at === undefined ? "lifted" : moment(revocation.expires_at),
    moment(revocation.created_at),
    revocation.source,
  ];
  const button = element("button", { type: "button", class: "link", "aria-label": `Lift the revocation of ${title}`, onclick: () => lift(revocation, title) }, "Lift…");
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, element("span", { class: "quiet" }, `${KINDS[kind].label.toLowerCase()} `), element("span", { class: "code" }, named)),
    ...cells.map((cell) => element("td", {}, cell)),
    element("td", {}, button),
  );
  return { node };
}

async function revoke() {
  const kind = byId("revoke-kind").value;
  const what = byId("revoke-what").value.trim();
  const asked = { [kind]: kind === "token" ? what.replace(/^bearer\s+/i, "") : what };
  if (byId("revoke-issuer").value) asked.issuer = byId("revoke-issuer").value;
  for (const [field, member] of [["revoke-expires", "expires_at"], ["revoke-before", "issued_before"]]) {
    const written = byId(field).value;
    if (written) asked[member] = Math.floor(new Date(written).getTime() / 1000);
  }
  const shown = kind === "token" ? "" : ` ${what}`;
  const from = asked.issuer ? `, issuer ${asked.issuer}` : ", of any issuer";
  const before = asked.issued_before ? `, issued before ${moment(asked.issued_before)}` : "";
  const until = asked.expires_at ? `until ${moment(asked.expires_at)}` : "until it is lifted";
  const text = `This ends ${KINDS[kind].says}${shown}${from}${before}: from now ${until}, requests with such a token get 401.`;
  if (!(await confirmed("Revoke?", text, "Revoke"))) return;
  await carriedOut(async () => {
    const made = await post("revocations", asked);
    byId("revoke-what").value = "";
    return made.warning ? `Revoked: ${made.warning}` : "Revoked.";
  });
}

async function lift({ id }, title) {
  const text = `Requests with ${title} are let in again, as far as these tokens are still good.`;
  if (!(await confirmed("Lift this revocation?", text, "Lift"))) return;
  await carriedOut(async () => {
    await remove(`revocations/${encodeURIComponent(id)}`);
    byId("revoke-what").focus();
    return "Lifted.";
  });
}

async function carriedOut(work) {
  setText(byId("revoke-problem"), "");
  setText(byId("revoke-said"), "");
  try {
    setText(byId("revoke-said"), await work());
    document.dispatchEvent(new Event("news"));
  } catch (error) {
    if (error instanceof TokenNeeded) return document.dispatchEvent(new Event("locked"));
    const isTold = error instanceof Refused || error instanceof Lost;
    setText(byId("revoke-problem"), isTold ? error.message : `this went wrong: ${error.message}`);
  }
}
