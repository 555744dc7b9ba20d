//! A plan as a file.

use std::fmt::Write;

use super::{
    access::Need,
    notes::Notes,
    plan::{Allow, Plan, Route, Rule},
    template::{Pattern, Template},
    yaml_text::{block, comment, comments, flow, list},
};

/// The whole file, and how many notes are in it.
pub(super) fn configuration(plan: &Plan, document: &str) -> (String, usize) {
    let mut out = String::new();
    out += &comments(0, &format!("Made by `bearward import openapi` of {document}: {}", plan.title));
    let noted = plan.notes.texts().count() + plan.routes.iter().map(|route| route.notes.texts().count()).sum::<usize>();
    if noted > 0 {
        out += "# `Note:` marks what the document says and this file can't, and what was decided here.\n";
    }
    out += &notes(0, &plan.notes);
    issuers(&mut out, plan);
    upstreams(&mut out, plan);
    out += "\nroutes:\n";
    if plan.routes.iter().any(|route| route.host.is_some()) {
        out += "  # `hosts` is where the document says that the API is. Without it, a route takes any host.\n";
    } else if let Some(host) = &plan.host_left_out {
        out += &comments(
            2,
            &format!("For any host, not for {host} alone, where the document says that the API is (`--hosts`)."),
        );
    }
    for (place, route) in plan.routes.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        write_route(&mut out, route, plan);
    }
    (out, noted)
}

fn notes(indent: usize, notes: &Notes) -> String {
    notes.texts().map(|text| comments(indent, &format!("Note: {text}."))).collect()
}

fn issuers(out: &mut String, plan: &Plan) {
    if plan.issuers.is_empty() {
        return;
    }
    *out += "\n# Who issues the tokens. Their `iss` is `issuer`, to the letter (some end with a slash).\nissuers:\n";
    for (name, issuer) in &plan.issuers {
        let audiences = list(&plan.audiences);
        // Writing to a String can't fail.
        let _ = writeln!(out, "  {}:\n    issuer: {}\n    audiences: {audiences}", block(name), block(issuer));
    }
}

fn upstreams(out: &mut String, plan: &Plan) {
    *out += "\n";
    if plan.is_upstream_of_document {
        *out += &comments(
            0,
            "Where requests go, as the document's `servers` say. If this gateway is to be reached there itself, put the \
             API's own address here, or requests go round in a circle.",
        );
    } else {
        *out += "# Where requests go, with the path that they have here: see `strip_prefix` if the API's is shorter.\n";
    }
    *out += "upstreams:\n";
    for (name, url) in &plan.upstreams {
        let _ = writeln!(out, "  {}:\n    url: {}", block(name), block(url));
    }
}

fn write_route(out: &mut String, route: &Route, plan: &Plan) {
    route.about.iter().for_each(|line| *out += &comment(2, line));
    *out += &notes(2, &route.notes);
    let _ = writeln!(out, "  - name: {}", block(&route.name));
    if let Some(host) = &route.host {
        let _ = writeln!(out, "    hosts: [{}]", flow(host));
    }
    let _ = writeln!(out, "    path: {}", block(&route.template.to_string()));
    if !route.methods.is_empty() {
        let _ = writeln!(out, "    methods: {}", list(&route.methods));
    }
    let upstream = plan.upstreams.get(route.upstream).map_or("api", |(name, _)| name);
    let _ = writeln!(out, "    upstream: {}", block(upstream));
    match &route.allow {
        Allow::Public => *out += "    allow: public\n",
        Allow::Optional => *out += "    allow: optional\n",
        Allow::Authenticated => *out += "    allow: authenticated\n",
        Allow::Rules(rules) => {
            *out += "    allow:\n";
            rules.iter().for_each(|rule| write_rule(out, rule, &route.template, plan));
        }
    }
}

fn write_rule(out: &mut String, rule: &Rule, template: &Template, plan: &Plan) {
    rule.about.iter().for_each(|line| *out += &comment(6, line));
    let mut keys = Vec::new();
    if !rule.methods.is_empty() {
        keys.push(format!("methods: {}", list(&rule.methods)));
    }
    match &rule.need {
        None => keys.push("when: \"false\" # nobody".to_owned()),
        Some(need) => conditions(need, template, plan, &mut keys),
    }
    for (place, key) in keys.iter().enumerate() {
        let _ = writeln!(out, "      {} {key}", if place == 0 { "-" } else { " " });
    }
}

fn conditions(need: &Need, template: &Template, plan: &Plan, keys: &mut Vec<String>) {
    if let Some((name, _)) = need.issuer.and_then(|issuer| plan.issuers.get(issuer)) {
        keys.push(format!("issuers: [{}]", flow(name)));
    }
    if !need.scopes.is_empty() {
        keys.push(format!("scopes: {}", list(&need.scopes)));
    }
    if !need.roles.is_empty() {
        keys.push(format!("roles: {}", list(&need.roles)));
    }
    let looks = |(place, pattern): &Pattern| {
        // A raw text has no escapes, and no pattern has a double quote.
        format!("path[\"{}\"].matches(r\"{pattern}\")", template.param(*place))
    };
    let mut all = need.patterns.iter().map(looks).collect::<Vec<_>>();
    all.extend(need.unlike.iter().map(|patterns| match patterns.as_slice() {
        [one] => format!("!{}", looks(one)),
        several => format!("!({})", several.iter().map(looks).collect::<Vec<_>>().join(" && ")),
    }));
    if !all.is_empty() {
        keys.push(format!("when: {}", block(&all.join(" && "))));
    }
}
