//! Why a request is let in or not, in words: the route and why not its neighbours, each step of the token's
//! verification, each rule, what goes upstream, and the smallest change that would let it in.
//!
//! All of it comes from `rehearsal`, which asks the code that decides live traffic. `Explanation::new` puts it into
//! words once; `json` and `text` write these down.

mod json;
mod neighbours;
mod remedy;
mod steps;
#[cfg(test)]
mod tests;
mod text;

use hyper::Method;

use crate::{
    confidential::Confidential,
    config::printable,
    policy::{Access, RuleReport, listed},
    rehearsal::{Answer, Question},
    route::{Destination, PathTemplate, RouteSettings},
    snapshot::Snapshot,
    token::{principal::Principal, rehearsal::Rehearsed},
};

/// A decision in words.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// `GET https://api.example.com/x`
    request: String,
    is_allowed: bool,
    /// Whether the decision would be carried out.
    is_enforced: bool,
    status: u16,
    reason: &'static str,
    /// In one clause.
    detail: String,
    route: RoutePart,
    token: Option<TokenPart>,
    rules: Vec<RulePart>,
    upstream: Option<UpstreamPart>,
    to_allow: Vec<String>,
}

#[derive(Clone, Debug)]
struct RoutePart {
    name: Option<String>,
    /// Where it is, and what it takes.
    place: Option<String>,
    /// The canonical path, where there is one, and whether it was written so.
    canonical: Option<String>,
    is_canonical: bool,
    /// Other readings of it, or why there are none.
    readings: Vec<String>,
    /// Routes that nearly fit, and why each isn't the one.
    neighbours: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct TokenPart {
    is_assumed: bool,
    /// Its issuer was asked, and said what it means.
    was_told: bool,
    issuer: Option<String>,
    steps: Vec<StepPart>,
    caller: Option<CallerPart>,
}

/// Whom the token speaks for, or would if it were good.
#[derive(Clone, Debug)]
struct CallerPart {
    subject: Option<String>,
    client: Option<String>,
    kind: &'static str,
    scopes: Vec<String>,
    roles: Vec<String>,
}

#[derive(Clone, Debug)]
struct StepPart {
    name: &'static str,
    result: StepResult,
    /// What there is to say of it.
    detail: String,
    got: Option<String>,
    wanted: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepResult {
    Held,
    Failed,
    NotAsked,
}

#[derive(Clone, Debug)]
struct RulePart {
    /// From 1.
    number: usize,
    methods: String,
    report: RuleReport,
}

#[derive(Clone, Debug)]
struct UpstreamPart {
    name: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Explanation {
    /// Puts an answer into words.
    pub fn new(snapshot: &Snapshot, question: &Question, answer: &Answer) -> Explanation {
        let route = answer.route(snapshot);
        let settings = route.map(|route| &route.settings);
        let neighbours = neighbours::of(snapshot, question, answer);
        let rules = match settings.map(|settings| &settings.allow) {
            Some(Access::Rules(rules)) => rules.as_slice(),
            _ => &[],
        };
        let parts = rules.iter().zip(&answer.decision.rules).enumerate().map(|(index, (rule, report))| RulePart {
            number: index + 1,
            methods: methods(&rule.methods),
            report: report.clone(),
        });
        let upstream = route.and_then(|route| {
            let target = answer.upstream_target.clone()?;
            let name = route.upstream.as_ref()?.settings().name.to_string();
            let headers = answer.upstream_headers.iter();
            let headers = headers.map(|(name, value)| (spelled(name), value.clone())).collect();
            Some(UpstreamPart { name, target: without_tokens(&target, snapshot), headers })
        });
        let mut explanation = Explanation {
            request: printable(&format!("{} {}", question.method(), without_tokens(&question.url(), snapshot))),
            is_allowed: answer.is_allowed(),
            is_enforced: answer.is_enforced(),
            status: answer.status(),
            reason: answer.reason(),
            detail: detail(answer, settings),
            route: RoutePart {
                name: settings.map(|settings| settings.name.to_string()),
                place: settings.map(place),
                canonical: answer.path.as_ref().map(|path| path.as_str().to_owned()),
                is_canonical: answer.path.as_ref().is_none_or(|path| question.is_for(path.as_str())),
                readings: readings(answer),
                neighbours,
            },
            token: answer.decision.token.as_ref().map(|token| TokenPart::of(snapshot, settings, token, question.now)),
            rules: parts.collect(),
            upstream,
            to_allow: remedy::of(snapshot, question, answer),
        };
        explanation.mask(&snapshot.confidential);
        explanation
    }

    /// Hides what the configuration has from files. What whoever asks has written stays: the request and its path.
    fn mask(&mut self, confidential: &Confidential) {
        let Explanation { detail, route, token, rules, upstream, to_allow, .. } = self;
        let mut texts = vec![detail];
        texts.extend(route.name.iter_mut().chain(&mut route.place));
        texts.extend(route.neighbours.iter_mut().flat_map(|(name, why)| [name, why]));
        if let Some(TokenPart { issuer, steps, caller, .. }) = token {
            texts.extend(issuer);
            for StepPart { detail, got, wanted, .. } in steps {
                texts.push(detail);
                texts.extend(got.iter_mut().chain(wanted));
            }
            if let Some(CallerPart { subject, client, scopes, roles, .. }) = caller {
                texts.extend(subject.iter_mut().chain(client).chain(scopes).chain(roles));
            }
        }
        for condition in rules.iter_mut().flat_map(|rule| &mut rule.report.conditions) {
            texts.extend([&mut condition.asks, &mut condition.wish]);
            texts.extend(&mut condition.got);
        }
        if let Some(UpstreamPart { name, target, headers }) = upstream {
            texts.extend([name, target]);
            texts.extend(headers.iter_mut().map(|(_, value)| value));
        }
        texts.extend(to_allow);
        texts.into_iter().for_each(|text| confidential.mask_text(text));
    }

    /// Whether the request is let in.
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }
}

fn detail(answer: &Answer, settings: Option<&RouteSettings>) -> String {
    if let Some(refusal) = answer.refusal() {
        return refusal.detail().to_owned();
    }
    match (answer.rule(), settings.map(|settings| &settings.allow)) {
        (Some(rule), _) => format!("rule {} lets it in", rule + 1),
        (None, _)
            if answer.status() == 204 && answer.decision.caller().is_none() && answer.upstream_target.is_none() =>
        {
            "the gateway answers, without a token".to_owned()
        }
        (None, Some(Access::Authenticated)) => "any good token is enough here".to_owned(),
        (None, Some(Access::Optional)) if answer.decision.caller().is_none() => {
            "no token is needed here, and none was sent".to_owned()
        }
        (None, Some(Access::Optional)) => "no token is needed here, and this one is good".to_owned(),
        (None, None) => "a document of the gateway's own, which everybody may read".to_owned(),
        _ => "the route is open to everybody".to_owned(),
    }
}

impl TokenPart {
    fn of(snapshot: &Snapshot, route: Option<&RouteSettings>, token: &Rehearsed, now: i64) -> TokenPart {
        let issuers = route.map_or(&[][..], |route| &route.issuers);
        let issuers = issuers.iter().filter_map(|issuer| snapshot.issuers.get(*issuer)).cloned().collect::<Vec<_>>();
        TokenPart {
            // A token that its issuer was asked about went through no steps here.
            is_assumed: token.header.is_none() && !token.claims.is_empty() && !token.steps.is_empty(),
            was_told: token.header.is_none() && !token.claims.is_empty() && token.steps.is_empty(),
            issuer: token.issuer.as_ref().map(|issuer| issuer.settings.name.to_string()),
            steps: steps::of(token, &issuers, now),
            caller: token.claimed.as_ref().map(|claimed| CallerPart::of(claimed.principal())),
        }
    }
}

impl CallerPart {
    fn of(principal: &Principal) -> CallerPart {
        CallerPart {
            subject: principal.subject().map(str::to_owned),
            client: principal.client().map(str::to_owned),
            kind: principal.kind().name(),
            scopes: principal.scopes().to_vec(),
            roles: principal.roles().to_vec(),
        }
    }
}

fn readings(answer: &Answer) -> Vec<String> {
    let readings = answer.path.iter().flat_map(|path| path.readings());
    readings.map(|reading| reading.as_ref().map_or_else(|why| format!("none: {why}"), Clone::clone)).collect()
}

/// `/rest/{id} on api.example.com, for GET and POST`
fn place(route: &RouteSettings) -> String {
    let paths = route.paths.iter().map(PathTemplate::to_string).collect::<Vec<_>>();
    let hosts = hosts(route).map(|hosts| format!(" on {hosts}")).unwrap_or_default();
    let leads = match route.destination {
        Destination::Upstream(_) => "",
        Destination::Answer(_) => ", answered by the gateway",
        Destination::Decision => ", decided and not sent on",
    };
    format!("{}{hosts}, for {}{leads}", listed(&paths, "or"), methods(&route.methods))
}

/// None: any.
fn hosts(route: &RouteSettings) -> Option<String> {
    let hosts = route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    (!hosts.is_empty()).then(|| listed(&hosts, "or"))
}

/// `GET and POST`; HEAD goes without saying where there is GET.
fn methods(set: &crate::method::MethodSet) -> String {
    if set.is_any() {
        return "every method".to_owned();
    }
    let takes_get = set.contains(&Method::GET);
    let named = set.named().filter(|method| !(takes_get && *method == Method::HEAD));
    listed(&named.map(Method::to_string).collect::<Vec<_>>(), "and")
}

/// A header's name as people write it.
fn spelled(name: &str) -> String {
    if ["traceparent", "tracestate", "baggage"].contains(&name) {
        return name.to_owned();
    }
    let mut begins = true;
    let spell = |letter: char| {
        let spelled = if begins { letter.to_ascii_uppercase() } else { letter };
        begins = letter == '-';
        spelled
    };
    name.chars().map(spell).collect()
}

/// An address without the values of its query's token parameters.
fn without_tokens(url: &str, snapshot: &Snapshot) -> String {
    match url.split_once('?') {
        Some((path, query)) => {
            format!("{path}?{}", crate::observe::without_tokens(query, [&snapshot.token_parameters, &[]]))
        }
        None => url.to_owned(),
    }
}
