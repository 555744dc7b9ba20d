//! `POST /reload`: the configuration is read now.

use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{AdminState, not_allowed, page};
use crate::{
    body::Body,
    config::Diagnostic,
    reload::{Outcome, ReloadHandle},
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
    let list = |diagnostics: &[Diagnostic]| diagnostics.iter().map(Diagnostic::to_json).collect::<Value>();
    let (status, answer) = match &outcome.result {
        Ok(changed) => {
            let diagnostics = list(&outcome.warnings);
            (StatusCode::OK, json!({"ok": true, "hash": hash, "changed": changed, "diagnostics": diagnostics}))
        }
        Err(wrong) => {
            (StatusCode::UNPROCESSABLE_ENTITY, json!({"ok": false, "hash": hash, "diagnostics": list(wrong)}))
        }
    };
    page(status, "application/json", format!("{answer}\n"))
}
