//! An explanation as `explain --json` and the admin listener give it.

use serde_json::{Map, Value, json};

use super::{CallerPart, Explanation, RulePart, StepPart, StepResult, TokenPart};

impl Explanation {
    /// One object. Members that have nothing to say are null or empty, never left out.
    pub fn to_json(&self) -> Value {
        let headers = self.upstream.iter().flat_map(|upstream| &upstream.headers);
        let route = &self.route;
        let neighbours = route.neighbours.iter().map(|(route, why)| json!({"route": route, "why": why}));
        json!({
            "decision": if self.is_allowed { "allow" } else { "deny" },
            "status": self.status,
            "reason": self.reason,
            "detail": self.detail,
            "enforced": self.is_enforced,
            "request": self.request,
            "route": route.name,
            "place": route.place,
            "path": route.canonical,
            "readings": route.readings,
            "neighbours": neighbours.collect::<Vec<_>>(),
            "token": self.token.as_ref().map(TokenPart::to_json),
            "rules": self.rules.iter().map(RulePart::to_json).collect::<Vec<_>>(),
            "upstream": self.upstream.as_ref().map(|upstream| json!({"name": upstream.name, "target": upstream.target})),
            "upstream_headers": joined(headers),
            "to_allow": self.to_allow,
        })
    }
}

/// Lines of one name are joined by commas (RFC 9110, section 5.3).
fn joined<'h>(headers: impl Iterator<Item = &'h (String, String)>) -> Map<String, Value> {
    let mut joined = Map::new();
    for (name, value) in headers {
        let text = match joined.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        joined.insert(name.clone(), text.into());
    }
    joined
}

impl TokenPart {
    fn to_json(&self) -> Value {
        json!({
            "presented": if self.is_assumed { "claims" } else { "token" },
            "issuer": self.issuer,
            "steps": self.steps.iter().map(StepPart::to_json).collect::<Vec<_>>(),
            "principal": self.caller.as_ref().map(CallerPart::to_json),
        })
    }
}

impl CallerPart {
    fn to_json(&self) -> Value {
        json!({
            "subject": self.subject,
            "client": self.client,
            "kind": self.kind,
            "scopes": self.scopes,
            "roles": self.roles,
        })
    }
}

impl StepPart {
    fn to_json(&self) -> Value {
        let result = match self.result {
            StepResult::Held => "held",
            StepResult::Failed => "failed",
            StepResult::NotAsked => "not_asked",
        };
        json!({
            "step": self.name.replace(' ', "_"),
            "result": result,
            "detail": self.detail,
            "got": self.got,
            "wanted": self.wanted,
        })
    }
}

impl RulePart {
    fn to_json(&self) -> Value {
        let conditions = self
            .report
            .conditions
            .iter()
            .map(|condition| json!({"condition": condition.asks, "holds": condition.holds, "got": condition.got}));
        json!({
            "rule": self.number,
            "methods": self.methods,
            "takes_method": self.report.takes_method,
            "holds": self.report.admits(),
            "conditions": conditions.collect::<Vec<_>>(),
        })
    }
}
