//! Where a route leads: an upstream and the path there, or an answer of the gateway's own.

use std::sync::Arc;

use hyper::StatusCode;

use super::Compiler;
use crate::{
    answer::{FixedAnswer, OwnAnswer},
    config::{
        file::{ConfigFile, Mode, Redirect, Respond, Route},
        reader::At,
    },
    route::{Destination, PathRewrite, PathTemplate},
    upstream::UpstreamSettings,
};

impl Compiler<'_> {
    /// One of `upstream`, `respond` and `redirect`. `paths` is None where one of them is wrong.
    pub(super) fn destination(
        &mut self,
        written: &Route,
        name: Option<&Arc<str>>,
        paths: Option<&[PathTemplate]>,
        file: &ConfigFile,
        upstreams: &mut Vec<Option<UpstreamSettings>>,
    ) -> Option<Destination> {
        let upstream = written.upstream.as_ref().map(|at| ("upstream", at.with(())));
        let respond = written.respond.as_ref().map(|respond| ("respond", respond.at.clone()));
        let redirect = written.redirect.as_ref().map(|redirect| ("redirect", redirect.at.clone()));
        let mut all = [upstream, respond, redirect].into_iter().flatten();
        let Some((first, place)) = all.next() else { return self.nowhere(written, file) };
        if let Some((second, at)) = all.next() {
            let message = format!("`{second}` beside `{first}` (at {})", self.source.place(place.span));
            return self.fail(at.error(message).hint("a route has one of `upstream`, `respond` and `redirect`"));
        }
        if let Some(at) = &written.upstream {
            return self.route_upstream(at, name, file, upstreams).map(Destination::Upstream);
        }
        self.nothing_for_an_upstream(written, &format!("`{first}`"));
        let answer = match (&written.respond, &written.redirect) {
            (Some(respond), _) => self.respond(respond),
            (None, Some(redirect)) => self.redirect(redirect, paths?),
            (None, None) => None,
        };
        answer.map(Destination::Answer)
    }

    /// A route whose listeners all only decide leads nowhere; any other must say where.
    fn nowhere(&mut self, written: &Route, file: &ConfigFile) -> Option<Destination> {
        if !written.leads_nowhere {
            return None;
        }
        let mut listeners = written.listeners_in(file).peekable();
        if listeners.peek().is_some() && listeners.all(|listener| listener.mode != Mode::Proxy) {
            // Fields of the request are said to whoever forwards it.
            let paths = [written.strip_prefix.as_ref(), written.rewrite.as_ref()];
            self.nothing_of(paths, "a listener that only decides");
            return Some(Destination::Decision);
        }
        let message = format!("`upstream` is missing in {}", written.at.path);
        self.fail(written.at.error(message).hint("the name of one of `upstreams`, or a URL"))
    }

    /// Keys that say what goes upstream contradict an answer of the gateway's own.
    fn nothing_for_an_upstream(&mut self, written: &Route, answer: &str) {
        let request = &written.headers.request;
        let header = request.set.first().map(|(name, _)| name).or(request.remove.first());
        self.nothing_of([written.strip_prefix.as_ref(), written.rewrite.as_ref(), header], answer);
    }

    fn nothing_of<const N: usize>(&mut self, keys: [Option<&At<String>>; N], answer: &str) {
        for at in keys.into_iter().flatten() {
            self.findings.push(at.error(format!("with {answer} nothing goes upstream that this could change")));
        }
    }

    fn respond(&mut self, written: &Respond) -> Option<OwnAnswer> {
        let status = match &written.status {
            None => Some(StatusCode::OK),
            Some(at) => {
                match StatusCode::from_u16(at.value).ok().filter(|status| at.value < 600 && !status.is_informational())
                {
                    None => self.fail(at.error("the status of an answer is a number from 200 to 599")),
                    status => status,
                }
            }
        };
        let headers = self.header_list(&written.headers)?;
        let body = written.body.as_ref().map(|body| body.value.clone()).unwrap_or_default();
        let at = written.body.as_ref().map_or_else(|| written.at.clone(), |body| body.with(()));
        let fixed = FixedAnswer::new(status?, headers, body);
        fixed.map(OwnAnswer::Respond).map_err(|words| self.findings.push(at.error(words))).ok()
    }

    fn redirect(&mut self, written: &Redirect, paths: &[PathTemplate]) -> Option<OwnAnswer> {
        let status = match &written.status {
            None => Some(StatusCode::PERMANENT_REDIRECT),
            Some(at) => match at.value {
                301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(at.value).ok(),
                _ => self.fail(at.error("the status of a redirect is 301, 302, 303, 307 or 308")),
            },
        };
        let to = written.to.as_ref()?;
        let answer = OwnAnswer::redirect(status?, &to.value, paths);
        answer.map_err(|words| self.findings.push(to.error_about(&words))).ok()
    }

    /// Outer None: an error was found. `paths` is None where one of them is wrong.
    pub(super) fn rewrite(&mut self, written: &Route, paths: Option<&[PathTemplate]>) -> Option<Option<PathRewrite>> {
        let (at, made) = match (&written.strip_prefix, &written.rewrite) {
            (None, None) => return Some(None),
            (Some(prefix), Some(rewrite)) => {
                let message = format!("`rewrite` beside `strip_prefix` (at {})", self.source.place(prefix.span));
                return self.fail(rewrite.error(message).hint("keep one; `rewrite` can say both"));
            }
            (Some(prefix), None) => (prefix, PathRewrite::strip(&prefix.value, paths?)),
            (None, Some(rewrite)) => (rewrite, PathRewrite::write(&rewrite.value, paths?)),
        };
        made.map(Some).map_err(|words| self.findings.push(at.error_about(&words))).ok()
    }

    fn route_upstream(
        &mut self,
        written: &At<String>,
        route: Option<&Arc<str>>,
        file: &ConfigFile,
        upstreams: &mut Vec<Option<UpstreamSettings>>,
    ) -> Option<usize> {
        if written.value.contains("://") || written.value.starts_with("unix:") {
            let upstream = self.upstream_in_place(route.cloned().unwrap_or_default(), written)?;
            upstreams.push(Some(upstream));
            return Some(upstreams.len() - 1);
        }
        let names = file.upstreams.iter().map(|upstream| &upstream.name).collect::<Vec<_>>();
        if written.value.contains([':', '/']) && !names.iter().any(|name| name.value == written.value) {
            let hint = if written.foreign { String::new() } else { format!(": `http://{}`", written.value) };
            let finding = written.error(format!("{} is no upstream's name, nor a URL", written.shown()));
            return self.fail(finding.hint(format!("a URL begins with `http://` or `https://`{hint}")));
        }
        self.resolve("upstream", written, &names)
    }
}
