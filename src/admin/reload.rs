//! `POST /reload`: the configuration is read now.

use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{AdminState, not_allowed, page};
use crate::{
    body::Body,
    config::Diagnostic,
    reload::{Outcome, ReloadHandle, ShadowOutcome},
    respond::problem,
};

/// 200 once it is in force; 422 with all that is wrong with it, and the one before stays.
pub(super) async fn answer<B>(request: &Request<B>, state: &AdminState) -> Response<Body> {
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let Some(reloads) = &state.reloads else {
        let words = "the configuration is not from a file: there is nothing to be read again";
        return problem(StatusCode::UNPROCESSABLE_ENTITY, words, None, false);
    };
    match ReloadHandle::reload(reloads).await {
        Some(outcome) => told(&outcome),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "other reloads are under way", None, false),
    }
}

fn told(outcome: &Outcome) -> Response<Body> {
    let hash = &*outcome.hash;
    let (status, mut answer) = match &outcome.result {
        Ok(changed) => {
            let diagnostics = list(&outcome.warnings);
            (StatusCode::OK, json!({"ok": true, "hash": hash, "changed": changed, "diagnostics": diagnostics}))
        }
        Err(wrong) => {
            (StatusCode::UNPROCESSABLE_ENTITY, json!({"ok": false, "hash": hash, "diagnostics": list(wrong)}))
        }
    };
    if let (Some(shadow), Value::Object(members)) = (&outcome.shadow, &mut answer) {
        members.insert("shadow".to_owned(), told_of_shadow(shadow));
    }
    page(status, "application/json", format!("{answer}\n"))
}

/// A shadow that can't be used is no failure of the reload: the one before goes on.
fn told_of_shadow(ShadowOutcome { hash, result, warnings }: &ShadowOutcome) -> Value {
    match result {
        Ok(changed) => json!({"ok": true, "hash": &**hash, "changed": changed, "diagnostics": list(warnings)}),
        Err(wrong) => json!({"ok": false, "hash": &**hash, "diagnostics": list(wrong)}),
    }
}

fn list(diagnostics: &[Diagnostic]) -> Value {
    diagnostics.iter().map(Diagnostic::to_json).collect()
}
