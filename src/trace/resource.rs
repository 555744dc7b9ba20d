//! Who the spans are from: `service.name`, `service.version`, and what OpenTelemetry's own variables say.

use std::{collections::BTreeMap, env};

use super::otlp::Resource;
use crate::query;

const SERVICE_NAME: &str = "service.name";

/// As `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say, which count more than what is known here.
pub(super) fn of_environment() -> Resource {
    let variable = |name| env::var(name).unwrap_or_default();
    Resource::new(attributes(&variable("OTEL_RESOURCE_ATTRIBUTES"), &variable("OTEL_SERVICE_NAME")))
}

/// `list` is `key=value,key=value`, values percent-encoded. One that can't be read counts for nothing as a whole
/// (OpenTelemetry's specification, resource/sdk).
fn attributes(list: &str, service_name: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::from([
        (SERVICE_NAME.to_owned(), env!("CARGO_PKG_NAME").to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    match listed(list) {
        Some(listed) => attributes.extend(listed),
        None => tracing::warn!("OTEL_RESOURCE_ATTRIBUTES isn't a list of key=value, and is left out"),
    }
    if !service_name.is_empty() {
        attributes.insert(SERVICE_NAME.to_owned(), service_name.to_owned());
    }
    attributes
}

fn listed(list: &str) -> Option<Vec<(String, String)>> {
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let (key, value) = (query::decode(key.trim(), false)?, query::decode(value.trim(), false)?);
            (!key.is_empty()).then(|| (key.into_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn variables_count_more() {
        let version = env!("CARGO_PKG_VERSION");
        for (list, name, expected) in [
            ("", "", &[("service.name", "bearward")][..]),
            ("", "edge", &[("service.name", "edge")]),
            ("service.name=api", "", &[("service.name", "api")]),
            ("service.name=api", "edge", &[("service.name", "edge")]),
            (
                "deployment.environment.name=prod, team=a%20b%2C%3Dc,",
                "",
                &[("deployment.environment.name", "prod"), ("service.name", "bearward"), ("team", "a b,=c")],
            ),
            // As a whole or not at all.
            ("team=a,b", "", &[("service.name", "bearward")]),
            ("=a", "", &[("service.name", "bearward")]),
            ("team=%ff", "", &[("service.name", "bearward")]),
        ] {
            let mut got = attributes(list, name);
            assert_eq!(got.remove("service.version").as_deref(), Some(version), "{list}");
            let got: Vec<_> = got.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(got, expected, "{list}");
        }
    }
}
