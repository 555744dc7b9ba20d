//! Whom a token is bound to, by its `cnf` (RFC 7800, section 3.1).

use serde_json::{Map, Value};

use super::Thumbprint;
use crate::token::issuer::SenderConstraint;

/// Whom a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Whoever bears it.
    Nobody,
    /// Who has both, where both are named. One is.
    Sender {
        /// The certificate of this SHA-256 (`x5t#S256`: RFC 8705, section 3.1).
        certificate: Option<Thumbprint>,
        /// The key of this thumbprint (`jkt`: RFC 9449, section 6.1).
        key: Option<Thumbprint>,
    },
    /// Someone, in a way that isn't understood: nobody can prove to be that.
    Unsupported,
}

impl Binding {
    /// What the claims say. A member of `cnf` that isn't understood may be all that keeps a thief out, so none is passed
    /// over.
    pub fn of(claims: &Map<String, Value>) -> Binding {
        let members = match claims.get("cnf") {
            None | Some(Value::Null) => return Binding::Nobody,
            Some(Value::Object(members)) => members,
            Some(_) => return Binding::Unsupported,
        };
        let (mut certificate, mut key) = (None, None);
        for (name, value) in members {
            let place = match name.as_str() {
                name if name == SenderConstraint::Mtls.member() => &mut certificate,
                name if name == SenderConstraint::Dpop.member() => &mut key,
                _ => return Binding::Unsupported,
            };
            let Some(thumbprint) = value.as_str().and_then(Thumbprint::parse) else { return Binding::Unsupported };
            *place = Some(thumbprint);
        }
        if members.is_empty() { Binding::Unsupported } else { Binding::Sender { certificate, key } }
    }

    /// Whether a token that is bound so is one of an issuer with this `sender_constraint`.
    pub fn satisfies(self, constraint: Option<SenderConstraint>) -> bool {
        match (self, constraint) {
            (Binding::Unsupported, _) => false,
            (_, None) => true,
            (Binding::Nobody, Some(_)) => false,
            (Binding::Sender { certificate, .. }, Some(SenderConstraint::Mtls)) => certificate.is_some(),
            (Binding::Sender { key, .. }, Some(SenderConstraint::Dpop)) => key.is_some(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Of RFC 8705, section 3.1, and RFC 9449, section 6.1.
    const CERTIFICATE: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn of(cnf: Value) -> Binding {
        Binding::of(json!({"cnf": cnf}).as_object().unwrap())
    }

    #[test]
    fn what_is_understood() {
        // The example of RFC 8705 has bits set that a base64url text of 32 bytes hasn't.
        assert_eq!(of(json!({"x5t#S256": CERTIFICATE})), Binding::Unsupported);
        let certificate = CERTIFICATE.replace("dg2", "dg0");
        let (certificate, key) = (certificate.as_str(), KEY);
        for (cnf, has_certificate, has_key) in [
            (json!({"x5t#S256": certificate}), true, false),
            (json!({"jkt": key}), false, true),
            (json!({"jkt": key, "x5t#S256": certificate}), true, true),
        ] {
            let Binding::Sender { certificate: c, key: k } = of(cnf.clone()) else { panic!("{cnf}") };
            assert_eq!((c.is_some(), k.is_some()), (has_certificate, has_key), "{cnf}");
            assert!(k.is_none_or(|k| k.to_string() == key) && c.is_none_or(|c| c.to_string() == certificate));
        }
        assert_eq!(Binding::of(&Map::new()), Binding::Nobody);
        assert_eq!(of(json!(null)), Binding::Nobody);
    }

    #[test]
    fn nothing_else_is_passed_over() {
        for cnf in [
            json!({}),
            json!([]),
            json!(""),
            json!(false),
            json!({"jkt": ""}),
            json!({"jkt": null}),
            json!({"jkt": [KEY]}),
            json!({"jkt": format!("{KEY}=")}),
            json!({"jkt": &KEY[1..]}),
            json!({"jkt": format!("{KEY}A")}),
            json!({"jkt": KEY.replace('-', "+").replace('_', "/")}),
            json!({"JKT": KEY}),
            json!({"x5t": KEY}),
            json!({"x5t#s256": KEY}),
            json!({"jwk": {"kty": "EC"}}),
            json!({"kid": "k"}),
            json!({"jku": "https://x.example"}),
            json!({"jkt": KEY, "kid": "k"}),
            json!({"jkt": KEY, "x5t#S256": "x"}),
        ] {
            assert_eq!(of(cnf.clone()), Binding::Unsupported, "{cnf}");
        }
    }

    #[test]
    fn what_an_issuer_may_ask_for() {
        use SenderConstraint::{Dpop, Mtls};
        let one = Some(Thumbprint::of(b""));
        let sender = |certificate, key| Binding::Sender { certificate, key };
        for (binding, none, mtls, dpop) in [
            (Binding::Nobody, true, false, false),
            (Binding::Unsupported, false, false, false),
            (sender(one, None), true, true, false),
            (sender(None, one), true, false, true),
            (sender(one, one), true, true, true),
        ] {
            let asked = [None, Some(Mtls), Some(Dpop)].map(|constraint| binding.satisfies(constraint));
            assert_eq!(asked, [none, mtls, dpop], "{binding:?}");
        }
    }

    proptest! {
        #[test]
        fn a_token_with_cnf_is_never_nobodys(name in "\\PC{0,10}", value in "\\PC{0,50}") {
            prop_assert_ne!(of(json!({name: value})), Binding::Nobody);
        }
    }
}
