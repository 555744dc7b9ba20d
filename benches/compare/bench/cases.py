"""The rows: what is asked of each proxy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One row. The proxies are configured by it, and the load is made by it."""

    name: str
    title: str
    jwt: str = ""
    """Which algorithm's tokens are verified; none if the route is open."""
    tokens: str = "none"
    """none, one (repeated), new (each comes once), refused (new ones, of a bad signature)."""
    tls: bool = False
    """TLS and HTTP/2 towards the client."""
    log: bool = False
    big: bool = False
    """Tokens of 50,000 characters."""
    measure: str = "cpu"
    """cpu, memory or latency."""

    @property
    def status(self):
        return 401 if self.tokens == "refused" else 200

    @property
    def algorithm(self):
        return self.jwt or "RS256"


ROWS = {
    case.name: case
    for case in [
        Case("no-auth", "no authorisation"),
        Case("access-log", "no authorisation, access log to a file", log=True),
        Case("repeated", "one RS256 token, repeated", jwt="RS256", tokens="one"),
        Case("new-rs256", "every token new, RS256", jwt="RS256", tokens="new"),
        Case("new-es256", "every token new, ES256", jwt="ES256", tokens="new"),
        Case("refused", "every token new with a bad signature (RS256): 401", jwt="RS256", tokens="refused"),
        Case("h2", "TLS and HTTP/2, no authorisation", tls=True),
        Case("h2-jwt", "TLS and HTTP/2, one RS256 token, repeated", jwt="RS256", tokens="one", tls=True),
        Case("big", "a token of 50,000 characters, passed through", tokens="one", big=True),
        Case("big-jwt", "a token of 50,000 characters (RS256), verified, repeated", jwt="RS256", tokens="one", big=True),
        Case("memory", "memory", measure="memory"),
        Case("latency", "latency at a fixed rate, no authorisation", measure="latency"),
        Case("latency-jwt", "latency at a fixed rate, one RS256 token", jwt="RS256", tokens="one", measure="latency"),
    ]
}
