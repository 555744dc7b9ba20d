// A gateway's answers, made up: of any size, and with names that nobody would give.

/** Names that would do harm if they became markup. */
export const HOSTILE = `<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>"'\`&amp;`;

const time = (secondsAgo) => new Date(Date.now() - secondsAgo * 1000).toISOString();

/** `/status`, with these members in the place of its own. */
export function status(more = {}) {
  return {
    version: "0.1.0",
    started_at: time(12345).slice(0, 16) + ":00Z",
    uptime_seconds: 12345.6,
    status: "ready",
    degraded: ["digitaleo"],
    waiting_for: [],
    config: { file: "/etc/bearward/gateway.yaml", hash: "3f9a1c77b0d2", loaded_at: time(7300), last_reload: "ok", errors: [] },
    listeners: [
      { name: "public", address: "0.0.0.0:8443", mode: "proxy", tls: true, connections: 148 },
      { name: "internal", address: "unix:/run/bearward.sock", mode: "proxy", tls: false, connections: 3 },
    ],
    issuers: [
      issuer("cern", keys(3)),
      { ...issuer("digitaleo", keys(2)), state: "stale", age_seconds: 5400, last_error: { message: "https://auth.digitaleo.com/.well-known/jwks.json: connection refused", at: time(65) } },
      { ...issuer("partners", []), issuer: null, ways: ["introspection"], source: null, state: "none", age_seconds: null, audiences: "any" },
    ],
    upstreams: [
      { name: "campaigns", endpoints: [endpoint("10.0.3.11:9000", 7), endpoint("10.0.3.12:9000", 5), { ...endpoint("10.0.3.13:9000", 0), healthy: false, ejected_until: time(-25) }] },
      { name: "orders", endpoints: [endpoint("orders.internal:443", 2)] },
    ],
    caches: { tokens: { entries: 8412, bytes: 9512000, max_bytes: 67108864, hits: 120000, misses: 9100, hit_rate: 0.929 } },
    state: { redis: "up", dir: "/var/lib/bearward" },
    revocations: 2,
    shadow: null,
    ...more,
  };
}

export const shadow = {
  file: "/etc/bearward/next.yaml", hash: "77aa01c2d3e4", loaded_at: time(900), last_reload: "ok", errors: [], compared: 18230, different: 412, skipped: 3,
  differences: [
    { route: "campaigns", shadow_route: "campaigns", outcome: "allow", reason: "ok", shadow_outcome: "deny", shadow_reason: "scope", count: 398, last_at: time(4), example: { method: "PUT", path: "/rest/campaigns/1842" } },
    { route: "orders", shadow_route: "orders-v2", outcome: "deny", reason: "role", shadow_outcome: "allow", shadow_reason: "ok", count: 14, last_at: time(300), example: { method: "GET", path: "/orders/7" } },
  ],
};

export const keys = (count) => Array.from({ length: count }, (_, place) => ({ kid: `2026-11-${place + 1}-sig`, algorithm: place % 2 ? "ES256" : "RS256", type: place % 2 ? "EC" : "RSA" }));

const issuer = (name, keys) => ({
  name, issuer: `https://auth.${name}.example/realms/main`, audiences: ["campaigns-api"], ways: ["jwt"], keys, source: "discovery", age_seconds: 212.4, state: "ok", last_error: null,
});
const endpoint = (at, in_flight) => ({ endpoint: at, healthy: true, in_flight, ejected_until: null });

/** One route of `/routes`. */
export const route = (name, more = {}) => ({
  name, hosts: ["api.example.com"], paths: [`/rest/${name}`, `/rest/${name}/{id}`], methods: ["GET", "POST", "PUT"], listeners: ["public"], leads_to: { upstream: "campaigns" }, allow: "rules",
  rules: [
    { methods: ["GET"], sentence: `GET needs ${name}:read`, conditions: [`scope ${name}:read`] },
    { methods: ["POST", "PUT"], sentence: `POST and PUT need ${name}:write or ${name}:admin with role editor or owner`, conditions: [`scope ${name}:write or ${name}:admin`, "role editor or owner"] },
  ],
  sentence: `/rest/${name} or /rest/${name}/{id} on api.example.com: GET needs ${name}:read; POST and PUT need ${name}:write or ${name}:admin with role editor or owner (tokens of cern).`,
  issuers: ["cern"], token_from: ["Authorization"], enforce: true, rate_limits: [], max_body_bytes: null, timeout_seconds: null, cors: false, revokes: false, ...more,
});

/** `/routes`. */
export const routes = (list = [
  route("campaigns", { rate_limits: [{ rate: "100/s", burst: 200, per: "client" }], cors: true, timeout_seconds: 30 }),
  route("contacts", { enforce: false }),
  route("health", { hosts: [], paths: ["/health"], methods: ["GET"], allow: "public", rules: [], sentence: "/health: GET is open to everybody.", leads_to: { upstream: "orders" } }),
  route("orders", { leads_to: { upstream: "orders" }, max_body_bytes: 1048576 }),
  route("logout", { paths: ["/logout"], hosts: ["api.example.com", "*.example.org"], methods: ["POST"], allow: "authenticated", rules: [], revokes: true, sentence: "/logout on api.example.com or *.example.org: POST needs any good token (tokens of cern or digitaleo).", issuers: ["cern", "digitaleo"] }),
  route("old", { hosts: [], paths: ["/v1/**"], methods: null, allow: "public", rules: [], sentence: "/v1/**: every method is open to everybody.", leads_to: { redirect: "https://api.example.com/rest", status: 308 } }),
]) => ({ hash: "3f9a1c77b0d2", routes: list, issuers: [], upstreams: [] });

const BOUNDS = [0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10];
const escaped = (name) => name.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

/** `/metrics` of these routes, after so many seconds of traffic. */
export function metrics(names, seconds) {
  const lines = [];
  const wave = (place) => 40 + 18 * Math.sin(seconds / 40 + place) + 6 * Math.sin(seconds / 7 + place * 3);
  const total = (place, share) => Math.floor((seconds * 40 + 720 * (1 - Math.cos(seconds / 40 + place))) * share);
  names.forEach((name, place) => {
    const route = escaped(name);
    const statuses = { 200: 0.9, 304: 0.03, 401: 0.03, 403: 0.03, 503: 0.004 };
    for (const [status, share] of Object.entries(statuses)) lines.push(`bearward_requests_total{method="GET",route="${route}",status="${status}"} ${total(place, share)}`);
    const reasons = { ok: 0.93, expired: 0.02, scope: 0.03, audience: 0.006, no_credential: 0.004, rate_limit: 0.002 };
    for (const [reason, share] of Object.entries(reasons)) lines.push(`bearward_decisions_total{issuer="cern",outcome="${reason === "ok" ? "allow" : "deny"}",reason="${reason}",route="${route}"} ${total(place, share)}`);
    for (const [name, middle] of [["request_duration", 0.004 + 0.002 * Math.sin(seconds / 30)], ["overhead", 0.00006]]) {
      const count = total(place, 1);
      for (const bound of BOUNDS) lines.push(`bearward_${name}_seconds_bucket{route="${route}",le="${bound}"} ${Math.floor(count / (1 + (middle / bound) ** 2.2))}`);
      lines.push(`bearward_${name}_seconds_bucket{route="${route}",le="+Inf"} ${count}`, `bearward_${name}_seconds_sum{route="${route}"} ${count * middle}`, `bearward_${name}_seconds_count{route="${route}"} ${count}`);
    }
  });
  for (const [result, share] of [["hit", 0.9], ["miss", 0.08], ["wait", 0.02]]) lines.push(`bearward_token_cache_requests_total{result="${result}"} ${Math.floor(total(1, share) + share * 10 * wave(0))}`);
  return `# HELP made up\n${lines.join("\n")}\n`;
}

export const revocations = [
  { id: "5f0c11aa", subject: "joe", issuer: "cern", created_at: Math.floor(Date.now() / 1000) - 900, source: "admin", issued_before: Math.floor(Date.now() / 1000) - 900 },
  { id: "7a11be02", token: "8c7d01b2f3aa", created_at: Math.floor(Date.now() / 1000) - 120, expires_at: Math.floor(Date.now() / 1000) + 7200, source: "route" },
];
