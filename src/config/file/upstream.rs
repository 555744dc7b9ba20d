//! `upstreams`.

use std::time::Duration;

use super::{count_or_none, flag, some_time, time_or_none};
use crate::config::reader::{At, Fields, Reader};

#[derive(Debug)]
pub(in crate::config) struct Upstream {
    pub(in crate::config) name: At<String>,
    pub(in crate::config) url: Option<At<String>>,
    pub(in crate::config) connect_timeout: Option<Duration>,
    pub(in crate::config) response_timeout: Option<Option<Duration>>,
    pub(in crate::config) idle_timeout: Option<Duration>,
    pub(in crate::config) max_connections: Option<Option<usize>>,
    pub(in crate::config) preserve_host: Option<bool>,
    pub(in crate::config) ignores_case: Option<bool>,
}

pub(super) fn upstream(name: At<String>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Upstream {
    // With `endpoints` the file is refused already: that `url` is missing besides would be no news.
    let url = match fields.has("endpoints") {
        true => r.field(fields, "url"),
        false => r.required(fields, "url", "where it is: `url: http://127.0.0.1:9000`"),
    };
    let paths = r.field(fields, "paths");
    Upstream {
        name,
        url: url.and_then(|field| r.text(&field)),
        connect_timeout: some_time(fields, "connect_timeout", r),
        response_timeout: time_or_none(fields, "response_timeout", r),
        idle_timeout: some_time(fields, "idle_timeout", r),
        max_connections: count_or_none(fields, "max_connections", r),
        preserve_host: flag(fields, "preserve_host", r),
        ignores_case: paths.and_then(|field| r.word(&field, &[("exact", false), ("case_insensitive", true)])),
    }
}
