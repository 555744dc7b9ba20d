//! What stands for a variable that isn't set or a secret's file that isn't there, where a configuration is only checked.

/// What placeholders of no special kind begin with.
pub(super) const PLACEHOLDER: &str = "placeholder-";

/// Dynamic ports begin here (RFC 6335, section 6).
const FIRST_PORT: usize = 49_152;
const PORTS: usize = 16_384;

/// The placeholders of one configuration. What differs by name gets values that differ, so that no two issuers,
/// listeners or routes seem to be the same.
#[derive(Debug, Default)]
pub(super) struct Placeholders(Vec<String>);

impl Placeholders {
    /// A value for `reference` that is good for `key`, behind what the text has so far.
    pub(super) fn stand_in(&mut self, reference: &str, key: Option<&str>, before: &str) -> String {
        let place = self.0.iter().position(|known| known == reference).unwrap_or_else(|| {
            self.0.push(reference.to_owned());
            self.0.len() - 1
        });
        let name = format!("{PLACEHOLDER}{}", place + 1);
        let port = FIRST_PORT + place % PORTS;
        if before.ends_with(':') {
            return port.to_string();
        }
        if !before.is_empty() {
            return name;
        }
        match key.unwrap_or_default() {
            "url" | "endpoint" | "endpoints" | "issuer" | "jwks_uri" | "upstream" | "otlp" | "origins" | "to" => {
                format!("https://{name}.invalid")
            }
            "redis" => format!("rediss://{name}.invalid"),
            "address" | "listen" | "admin" => format!("127.0.0.1:{port}"),
            "trusted_proxies" => "192.0.2.0/24".to_owned(),
            "path" | "paths" | "rewrite" | "strip_prefix" => format!("/{name}"),
            "algorithms" => "RS256".to_owned(),
            // As long as the longest shared secret must be, and base64.
            "secret" | "secret_base64" => format!("placeholder{place:053}"),
            _ => name,
        }
    }

    /// What placeholders stood for.
    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_keys_and_differ_by_name() {
        let mut all = Placeholders::default();
        assert_eq!(all.stand_in("A", Some("url"), ""), "https://placeholder-1.invalid");
        assert_eq!(all.stand_in("B", Some("issuer"), ""), "https://placeholder-2.invalid");
        assert_eq!(all.stand_in("A", Some("issuer"), ""), "https://placeholder-1.invalid");
        assert_eq!(all.stand_in("A", Some("url"), "http://"), "placeholder-1");
        assert_eq!(all.stand_in("B", Some("address"), "0.0.0.0:"), "49153");
        assert_eq!(all.stand_in("B", Some("scopes"), ""), "placeholder-2");
        assert_eq!(all.stand_in("file:s", Some("secret"), "").len(), 64);
        assert_eq!(all.into_names(), ["A", "B", "file:s"]);
    }
}
