//! Security schemes and requirements (OpenAPI 3.1, sections 4.8.27 and 4.8.30).

use super::{
    access::{Access, MOST_ALTERNATIVES, Need},
    notes::listed,
};
use crate::config::{Diagnostic, Document, Part};

/// What a document knows to ask for.
#[derive(Debug, Default)]
pub(super) struct Schemes {
    named: Vec<(String, Scheme)>,
    /// Who issues tokens, by OpenID Connect: the scheme's name, and the issuer.
    pub(super) issuers: Vec<(String, String)>,
    /// Where a document has its tokens from, which is perhaps who issues them.
    pub(super) token_servers: Vec<String>,
    /// About all of it.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug)]
enum Scheme {
    /// A bearer token; of this issuer.
    Token { issuer: Option<usize>, names: Names },
    /// What a gateway doesn't look at, in words.
    Other(String),
}

/// What the names in a requirement are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Of OAuth 2.0.
    Scopes,
    /// Of a bearer token in OpenAPI 3.1.
    Roles,
    /// Of a bearer token in OpenAPI 3.0, where there may be none.
    Unknown,
}

impl Schemes {
    /// Reads `components.securitySchemes`. `has_roles`: names for bearer tokens are roles. `has_one_issuer`: all tokens are
    /// of one, whatever the document says.
    pub(super) fn read(document: &Document, has_roles: bool, has_one_issuer: bool) -> Result<Schemes, Vec<Diagnostic>> {
        let mut schemes = Schemes::default();
        let Some(all) = document.root().member("components").and_then(|parts| parts.member("securitySchemes")) else {
            return Ok(schemes);
        };
        let Some(members) = all.members() else {
            return Err(vec![*all.error("`securitySchemes` is a map", "")]);
        };
        for (name, scheme) in members {
            let scheme = schemes.scheme(document, name, scheme, has_roles);
            schemes.named.push((name.to_owned(), scheme));
        }
        if has_one_issuer || schemes.issuers.len() < 2 {
            // Nothing to tell tokens apart by.
            for (_, scheme) in &mut schemes.named {
                if let Scheme::Token { issuer, .. } = scheme {
                    *issuer = None;
                }
            }
        }
        Ok(schemes)
    }

    fn scheme(&mut self, document: &Document, name: &str, written: Part<'_>, has_roles: bool) -> Scheme {
        let mut found = written;
        // A longer chain leads nowhere.
        for _ in 0..16 {
            let Some(reference) = found.member("$ref").and_then(Part::text) else { break };
            match document.find(reference) {
                Some(there) => found = there,
                None => return Scheme::Other(format!("`{name}`, which is described elsewhere (`{reference}`)")),
            }
        }
        let text = |key: &str| found.member(key).and_then(Part::text);
        match text("type").unwrap_or_default() {
            "oauth2" => {
                self.token_servers(found);
                Scheme::Token { issuer: None, names: Names::Scopes }
            }
            "openIdConnect" => {
                let issuer = self.issuer(name, text("openIdConnectUrl").unwrap_or_default());
                Scheme::Token { issuer, names: Names::Scopes }
            }
            "http" => match text("scheme").unwrap_or_default() {
                scheme if scheme.eq_ignore_ascii_case("bearer") => {
                    let names = if has_roles { Names::Roles } else { Names::Unknown };
                    Scheme::Token { issuer: None, names }
                }
                scheme => Scheme::Other(format!("`{name}` (HTTP authentication by `{scheme}`)")),
            },
            "apiKey" => {
                let (place, key) = (text("in").unwrap_or("header"), text("name").unwrap_or_default());
                let hint = match key.eq_ignore_ascii_case("authorization") {
                    true => "; if it is a bearer token, the document says so by `type: http, scheme: bearer`",
                    false => "",
                };
                Scheme::Other(format!("`{name}` (an API key, `{key}` in the {place}{hint})"))
            }
            "mutualTLS" => {
                Scheme::Other(format!("`{name}` (a client's certificate; see `listen.*.tls.client_certificate`)"))
            }
            other => Scheme::Other(format!("`{name}` (of the type `{other}`)")),
        }
    }

    /// OpenID Connect Discovery 1.0, section 4: the issuer, then `/.well-known/openid-configuration`.
    fn issuer(&mut self, name: &str, url: &str) -> Option<usize> {
        let issuer = url.strip_suffix("/.well-known/openid-configuration");
        let Some(issuer) = issuer.filter(|issuer| super::is_issuer(issuer)) else {
            self.notes.push(format!("`openIdConnectUrl` of `{name}` names no issuer that could be asked: `{url}`"));
            return None;
        };
        let known = self.issuers.iter().position(|(_, known)| known == issuer);
        Some(known.unwrap_or_else(|| {
            self.issuers.push((name.to_owned(), issuer.to_owned()));
            self.issuers.len() - 1
        }))
    }

    fn token_servers(&mut self, scheme: Part<'_>) {
        let flows = scheme.member("flows").and_then(Part::members).unwrap_or_default();
        for (_, flow) in flows {
            let url = ["tokenUrl", "authorizationUrl"].iter().find_map(|key| flow.member(key)?.text());
            let Some((scheme, rest)) = url.and_then(|url| url.split_once("://")) else { continue };
            let origin = format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or_default());
            if !self.token_servers.contains(&origin) {
                self.token_servers.push(origin);
            }
        }
    }

    /// Whom a list of requirements lets in. Notes are what of it can't be said.
    ///
    /// # Errors
    /// What is no requirement.
    pub(super) fn access(&self, security: Part<'_>, notes: &mut Vec<String>) -> Result<Access, Box<Diagnostic>> {
        let Some(alternatives) = security.items() else {
            let hint = "`- oauth: [orders:read]`; `security: []` is open to everybody";
            return Err(security.error("`security` is a list of requirements", hint));
        };
        let mut is_open = alternatives.is_empty();
        let (mut needs, mut unsaid) = (Vec::new(), Vec::new());
        for alternative in &alternatives {
            let Some(schemes) = alternative.members() else {
                return Err(alternative.error("a requirement is a map", "`- oauth: [orders:read]`"));
            };
            is_open |= schemes.is_empty();
            match self.need(&schemes, notes)? {
                _ if schemes.is_empty() => {}
                Ok(need) => needs.push(need),
                Err(why) => unsaid.push(why),
            }
        }
        let is_for_nobody = !is_open && needs.is_empty();
        for why in unsaid {
            notes.push(match is_for_nobody {
                true => {
                    format!("the document lets in by {why}, which a rule can't say: nobody is let in until you say who")
                }
                false => format!("the document lets in by {why}, too, which a rule can't say"),
            });
        }
        if needs.len() > MOST_ALTERNATIVES {
            notes.push(format!("more than {MOST_ALTERNATIVES} alternatives: nobody is let in until you say who"));
            return Ok(Access::nobody());
        }
        if !is_open {
            let (access, needless) = Access::tokens(needs);
            if needless {
                notes.push(
                    "alternatives that ask for more than another are left out: they let nobody in besides".to_owned(),
                );
            }
            return Ok(access);
        }
        if needs.is_empty() {
            return Ok(Access::Public);
        }
        if needs.iter().any(|need| !need.is_empty()) {
            let texts = needs.iter().flat_map(|need| need.scopes.iter().chain(&need.roles)).collect::<Vec<_>>();
            let asked = if texts.is_empty() { String::new() } else { format!(" ({})", listed(&texts)) };
            notes.push(format!("a token is optional, so that nothing is asked of one but that it is good{asked}"));
        }
        Ok(Access::Optional)
    }

    /// What all of these schemes ask of a token. The inner error is why that can't be said.
    fn need(
        &self,
        schemes: &[(&str, Part<'_>)],
        notes: &mut Vec<String>,
    ) -> Result<Result<Need, String>, Box<Diagnostic>> {
        let mut need = None::<Need>;
        let (mut others, mut impossible) = (Vec::new(), None);
        for (name, list) in schemes {
            let texts = list.items().map(|items| items.into_iter().map(Part::text).collect::<Option<Vec<_>>>());
            let Some(Some(texts)) = texts else {
                return Err(list.error_at_name(format!("what `{name}` asks for is a list of texts"), "`[]` for none"));
            };
            let known = self.named.iter().find(|(known, _)| known == name).map(|(_, scheme)| scheme);
            let (issuer, names) = match known {
                Some(Scheme::Token { issuer, names }) => (*issuer, *names),
                Some(Scheme::Other(words)) => {
                    others.push(words.clone());
                    continue;
                }
                None => {
                    others.push(format!("`{name}`, which the document doesn't define"));
                    continue;
                }
            };
            let mut this = Need { issuer, ..Need::default() };
            let texts = texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
            match names {
                _ if texts.is_empty() => {}
                Names::Roles => {
                    notes.push(format!(
                        "`{name}` is no OAuth 2.0, so that OpenAPI 3.1 takes {} for roles",
                        listed(&texts)
                    ));
                    this.roles = texts;
                }
                Names::Scopes => this.scopes = texts,
                Names::Unknown => {
                    let given = listed(&texts);
                    notes.push(format!(
                        "OpenAPI 3.0 knows no names in a requirement of `{name}`: {given} are taken for scopes"
                    ));
                    this.scopes = texts;
                }
            }
            if let Some(bad) =
                this.scopes.iter().find(|scope| !is_scope(scope)).or(this.roles.iter().find(|role| role.is_empty()))
            {
                impossible = Some(format!("`{name}` with `{bad}`, which no token's scope or role can be"));
            }
            need = match need {
                None => Some(this),
                Some(before) => match before.and(&this) {
                    Some(both) => Some(both),
                    None => {
                        impossible = Some("tokens of two issuers at the same time".to_owned());
                        Some(before)
                    }
                },
            };
        }
        Ok(match (need, impossible) {
            (_, Some(why)) => Err(why),
            (None, None) => Err(others.join(" with ")),
            (Some(mut need), None) => {
                dedupe(&mut need.scopes);
                dedupe(&mut need.roles);
                if !others.is_empty() {
                    let others = others.join(" and ");
                    notes.push(format!(
                        "besides the token the document asks for {others}: not looked at here, the API must do it"
                    ));
                }
                Ok(need)
            }
        })
    }
}

fn dedupe(texts: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
}

/// RFC 6749, section 3.3: scope-token.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}
