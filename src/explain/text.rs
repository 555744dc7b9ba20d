//! An explanation for people, on a terminal of 80 to 100 columns.

use super::{CallerPart, Explanation, RulePart, StepPart, StepResult, TokenPart};
use crate::config::printable;

/// Where long sentences are broken.
const WIDTH: usize = 96;
/// What stands before the names of things.
const INDENT: usize = 6;
/// The column of the steps' names.
const NAMES: usize = 17;

impl Explanation {
    /// Paragraphs, with terminal colours if wanted. Ends with a line break.
    pub fn to_text(&self, colour: bool) -> String {
        let mut page = Page { text: String::new(), colour };
        page.line(&self.request);
        page.verdict(self);
        page.route(self);
        if let Some(token) = &self.token {
            page.token(token);
        }
        page.rules(&self.rules);
        if let Some(upstream) = &self.upstream {
            page.line("");
            page.heading("upstream", &format!("{}, asked for {}", upstream.name, upstream.target));
            for (name, value) in &upstream.headers {
                page.wrapped(INDENT, &format!("{name}: {value}"));
            }
        }
        if !self.to_allow.is_empty() {
            page.line("");
            page.heading("to let it in", "");
            for change in &self.to_allow {
                page.marked(Mark::None, change);
            }
        }
        page.text
    }
}

struct Page {
    text: String,
    colour: bool,
}

#[derive(Clone, Copy)]
enum Mark {
    Yes,
    No,
    None,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(printable(text).trim_end());
        self.text.push('\n');
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn verdict(&mut self, explanation: &Explanation) {
        let verdict = match (explanation.is_allowed, explanation.is_enforced) {
            (true, _) => self.painted("1;32", "ALLOWED"),
            (false, true) => self.painted("1;31", "DENIED"),
            (false, false) => self.painted("1;33", "WOULD BE DENIED"),
        };
        self.text.push_str(&verdict);
        if explanation.is_enforced {
            self.text.push_str(&format!(" {}", explanation.status));
        }
        self.line(&format!(" {}: {}", explanation.reason, explanation.detail));
        if !explanation.is_enforced {
            self.line("The route has `enforce: false`: the request goes on all the same.");
        }
    }

    fn heading(&mut self, name: &str, rest: &str) {
        let name = self.painted("1", name);
        self.text.push_str(&name);
        self.line(&if rest.is_empty() { String::new() } else { format!("  {rest}") });
    }

    /// A line with a mark before it; what is long goes on below.
    fn marked(&mut self, mark: Mark, text: &str) {
        self.named(mark, "", text);
    }

    /// The same with a name in a column of its own.
    fn named(&mut self, mark: Mark, name: &str, text: &str) {
        let mark = match mark {
            Mark::Yes => self.painted("32", "ok"),
            Mark::No => self.painted("31", "NO"),
            Mark::None => " -".to_owned(),
        };
        self.text.push_str("  ");
        self.text.push_str(&mark);
        self.text.push_str("  ");
        let column = if name.is_empty() { 0 } else { NAMES };
        let indent = INDENT + column;
        let broken = broken(&printable(text), WIDTH - indent).join(&format!("\n{}", " ".repeat(indent)));
        self.text.push_str(format!("{name:<column$}{broken}").trim_end());
        self.text.push('\n');
    }

    fn wrapped(&mut self, indent: usize, text: &str) {
        for (number, line) in broken(&printable(text), WIDTH - indent).into_iter().enumerate() {
            let more = if number > 0 { 2 } else { 0 };
            self.text.push_str(&" ".repeat(indent + more));
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    fn route(&mut self, explanation: &Explanation) {
        let route = &explanation.route;
        self.line("");
        match (&route.name, &route.place) {
            (Some(name), Some(place)) => self.heading("route", &format!("{name}: {place}")),
            _ => self.heading("route", "none"),
        }
        if let Some(path) = route.canonical.as_ref().filter(|_| !route.is_canonical) {
            self.marked(Mark::None, &format!("the path is read as {path}"));
        }
        for reading in &route.readings {
            self.marked(Mark::None, &format!("some servers would read it as {reading}"));
        }
        for (name, why) in &route.neighbours {
            self.marked(Mark::None, &format!("not {name}: it {why}"));
        }
    }

    fn token(&mut self, token: &TokenPart) {
        self.line("");
        let issuer = token
            .issuer
            .as_ref()
            .map_or_else(|| "of none of the route's issuers".to_owned(), |name| format!("of {name}"));
        let how = match token {
            TokenPart { is_assumed: true, .. } => ", assumed: claims without a signature",
            TokenPart { was_told: true, .. } => ", which was asked about it",
            _ => "",
        };
        self.heading("token", &format!("{issuer}{how}"));
        for steps in token.steps.chunk_by(|one, next| one.is_left_out_like(next)) {
            let [step, more @ ..] = steps else { continue };
            match (step.result, more) {
                (StepResult::NotAsked, [_, ..]) => {
                    let names = steps.iter().map(|step| step.name).collect::<Vec<_>>();
                    self.marked(Mark::None, &format!("{}: {}", names.join(", "), step.detail));
                }
                (StepResult::NotAsked, []) => self.named(Mark::None, step.name, &step.detail),
                (StepResult::Held, _) => self.named(Mark::Yes, step.name, &step.detail),
                (StepResult::Failed, _) => self.named(Mark::No, step.name, &step.detail),
            }
        }
        if let Some(caller) = &token.caller {
            self.wrapped(INDENT, &caller.words());
        }
    }

    fn rules(&mut self, rules: &[RulePart]) {
        if rules.is_empty() {
            return;
        }
        self.line("");
        self.heading("rules", if rules.len() == 1 { "" } else { "one that holds is enough" });
        for rule in rules {
            let name = format!("rule {}, for {}", rule.number, rule.methods);
            if !rule.report.takes_method {
                self.marked(Mark::None, &format!("{name}: not for this method"));
                continue;
            }
            self.marked(if rule.report.admits() { Mark::Yes } else { Mark::No }, &name);
            for condition in &rule.report.conditions {
                let got = condition.got.as_ref().map(|got| format!("; got {got}")).unwrap_or_default();
                self.marked(if condition.holds { Mark::Yes } else { Mark::No }, &format!("  {}{got}", condition.asks));
            }
        }
    }
}

impl StepPart {
    /// Both weren't asked, for one reason.
    fn is_left_out_like(&self, next: &StepPart) -> bool {
        self.result == StepResult::NotAsked && next.result == StepResult::NotAsked && self.detail == next.detail
    }
}

impl CallerPart {
    fn words(&self) -> String {
        let who = match (self.kind, &self.subject, &self.client) {
            ("client", _, Some(client)) => format!("client {client}, for itself"),
            ("client", _, None) => "a client, for itself".to_owned(),
            (_, Some(subject), Some(client)) => format!("user {subject}, through client {client}"),
            (_, Some(subject), None) => format!("user {subject}"),
            (_, None, _) => "a user".to_owned(),
        };
        let named = |what: &str, names: &[String]| match names {
            [] => format!("no {what}"),
            names => format!("{what} {}", names.join(" ")),
        };
        format!("= {who}; {}; {}", named("scopes", &self.scopes), named("roles", &self.roles))
    }
}

/// A text in lines of so many characters, broken at spaces where it has any.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for piece in text.split_inclusive(' ') {
        let long = piece.chars().count();
        if length > 0 && length + piece.trim_end().chars().count() > width {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            length = 0;
        }
        line.push_str(piece);
        length += long;
    }
    lines.push(line.trim_end().to_owned());
    lines
}
