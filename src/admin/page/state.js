// How it stands with the gateway, in one line.

import { counted, listed } from "./words.js";

/** `{kind, word, because}`: the worst first, each with a place where more is said. */
export function overall(status) {
  const because = troubles(status);
  if (status.status === "draining") return { kind: "warn", word: "Draining", because };
  if (status.status === "starting") {
    const awaited = status.waiting_for.length ? [{ what: `waiting for ${some(status.waiting_for)}`, where: "#issuers" }] : [];
    return { kind: "warn", word: "Starting", because: [...awaited, ...because] };
  }
  if (because.length) return { kind: "warn", word: "Degraded", because };
  return { kind: "good", word: "Ready", because };
}

function troubles(status) {
  const found = [];
  const { degraded, config, upstreams, shadow } = status;
  if (config.last_reload === "error") found.push({ what: "the last reload was refused", where: "#configuration" });
  const issuers = degraded.filter((name) => name !== "state.redis");
  if (issuers.length) {
    found.push({ what: `${issuers.length === 1 ? "issuer" : "issuers"} ${some(issuers)} in trouble`, where: "#issuers" });
  }
  const unwell = upstreams.flatMap(({ endpoints }) => endpoints).filter(({ healthy }) => !healthy).length;
  if (unwell) found.push({ what: `${counted(unwell, "endpoint")} unwell`, where: "#upstreams" });
  if (status.state?.redis === "down") found.push({ what: "Redis is down", where: "#upstreams" });
  if (shadow?.last_reload === "error") found.push({ what: "the shadow's last reload was refused", where: "#shadow" });
  return found;
}

const some = (names) => (names.length > 3 ? `${names.slice(0, 2).join(", ")} and ${names.length - 2} more` : listed(names, "and"));

/** For the tab. */
export function title({ kind, word }) {
  return kind === "good" ? "bearward" : `${word} – bearward`;
}
