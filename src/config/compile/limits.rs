//! `rate_limit` of a route.

use super::Compiler;
use crate::{
    config::{
        file::{Allow, RateLimit as Written, Route},
        reader::At,
    },
    limit::{LimitKey, RateLimit},
    token::claims::ClaimPath,
};

impl Compiler<'_> {
    pub(super) fn rate_limits(&mut self, route: &Route) -> Option<Vec<RateLimit>> {
        let limits = route.rate_limits.iter().map(|written| self.rate_limit(written, route)).collect::<Vec<_>>();
        limits.into_iter().collect()
    }

    fn rate_limit(&mut self, written: &Written, route: &Route) -> Option<RateLimit> {
        let is_public = matches!(route.allow, Some(Allow::Public));
        let per = match &written.per {
            None if is_public => Some(LimitKey::Ip),
            None => Some(LimitKey::Client),
            Some(per) => self.limit_key(per, is_public),
        };
        let rate = written.rate?;
        Some(RateLimit { rate, burst: written.burst.unwrap_or(rate.requests), per: per? })
    }

    fn limit_key(&mut self, written: &At<String>, is_public: bool) -> Option<LimitKey> {
        let key = match written.value.as_str() {
            "client" => LimitKey::Client,
            "subject" => LimitKey::Subject,
            "ip" => LimitKey::Ip,
            "route" => LimitKey::Route,
            text => match text.strip_prefix("claims.").map(ClaimPath::parse) {
                Some(Ok(path)) => LimitKey::Claim(path),
                Some(Err(words)) => return self.fail(written.error_about(&words)),
                None => {
                    let finding = written.error(format!("{} is nothing that requests are counted by", written.shown()));
                    return self.fail(finding.hint("`client`, `subject`, `claims.<path>`, `ip` or `route`"));
                }
            },
        };
        if is_public && !matches!(key, LimitKey::Ip | LimitKey::Route) {
            let finding =
                written.error(format!("on a public route nobody looks at the token: no {} is known", written.shown()));
            return self.fail(finding.hint("`ip` or `route`"));
        }
        Some(key)
    }
}
