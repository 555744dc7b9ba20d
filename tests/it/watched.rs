//! What is shipped for those who watch: the dashboard and the rules ask for what there is, each alert has its runbook, and a
//! real Prometheus takes all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bearward::observe::Observer;
use serde_json::Value;

use crate::support::{
    eventually,
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange},
    skipped,
    upstream::Upstream,
};

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&shipped("deploy/grafana/dashboard.json")).unwrap()
}

/// Each panel's title and what it asks.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let asked = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
    };
    panels.map(|panel| (panel["title"].as_str().unwrap().to_owned(), asked(panel))).collect()
}

/// Every metric with its labels. A histogram's series are three.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let observer = Observer::silent();
    let mut all = BTreeMap::new();
    for named in observer.metric_names() {
        let (name, labels) = named.split_once('{').unwrap_or((named, ""));
        let mut labels = labels.trim_end_matches('}').split(',').map(str::to_owned).collect::<BTreeSet<_>>();
        labels.extend(["job", "instance"].map(str::to_owned));
        if name.ends_with("_seconds") {
            for suffix in ["_count", "_sum"] {
                all.insert(format!("{name}{suffix}"), labels.clone());
            }
            let with_le = labels.iter().cloned().chain(["le".to_owned()]).collect();
            all.insert(format!("{name}_bucket"), with_le);
        }
        all.insert(name.to_owned(), labels);
    }
    all
}

/// The words of a text that can be names of metrics, and what follows each.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | ':');
    let begins = move |at: usize| !text[..at].ends_with(is_part);
    text.char_indices().filter(move |(at, char)| is_part(*char) && begins(*at)).map(move |(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|char| !is_part(char)).unwrap_or(rest.len()))
    })
}

/// What is between these brackets at the beginning of a text.
fn within(text: &str, open: char, close: char) -> Option<&str> {
    text.trim_start().strip_prefix(open)?.split_once(close).map(|(inside, _)| inside)
}

/// Metrics and labels of an expression must exist; recorded ones are in `recorded`.
fn check(expression: &str, recorded: &BTreeSet<String>) {
    let metrics = metrics();
    let known = metrics.values().flatten().map(String::as_str).collect::<BTreeSet<_>>();
    let mut found = 0;
    for (word, rest) in words(expression) {
        let is_own = ["bearward_", "process_"].iter().any(|prefix| word.starts_with(prefix));
        if word.starts_with("bearward:") {
            assert!(recorded.contains(word), "nobody records {word} in {expression}");
            found += 1;
        }
        if is_own {
            let labels = metrics.get(word).unwrap_or_else(|| panic!("there is no metric {word} in {expression}"));
            for asked in within(rest, '{', '}').into_iter().flat_map(|selector| selector.split(',')) {
                let label = asked.split(['=', '!']).next().unwrap().trim();
                assert!(labels.contains(label), "{word} has no label {label} in {expression}");
            }
            found += 1;
        }
        if ["by", "on", "group_left", "without"].contains(&word) {
            let labels = within(rest, '(', ')').unwrap_or_else(|| panic!("{word} without labels in {expression}"));
            for label in labels.split(',').map(str::trim).filter(|label| !label.is_empty()) {
                assert!(known.contains(label), "no metric has the label {label} in {expression}");
            }
        }
    }
    assert!(found > 0 || expression.starts_with("up{"), "{expression} asks for nothing of ours");
}

/// The rules by name, `record` or `alert`, with their expressions.
fn rules() -> Vec<(String, String)> {
    let text = shipped("deploy/prometheus/rules.yaml");
    let mut rules = Vec::<(String, String)>::new();
    let mut is_expression = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("- record: ").or_else(|| line.strip_prefix("- alert: ")) {
            rules.push((name.to_owned(), String::new()));
        } else if let Some(begin) = line.strip_prefix("expr:") {
            is_expression = true;
            rules.last_mut().unwrap().1 = begin.trim_matches([' ', '|']).to_owned();
        } else if ["for:", "labels:", "annotations:", "- name:"].iter().any(|key| line.starts_with(key)) {
            is_expression = false;
        } else if is_expression {
            let expression = &mut rules.last_mut().unwrap().1;
            expression.push(' ');
            expression.push_str(line);
        }
    }
    assert!(rules.len() > 10 && rules.iter().all(|(_, expression)| !expression.trim().is_empty()), "{rules:?}");
    rules.into_iter().map(|(name, expression)| (name, expression.trim().to_owned())).collect()
}

fn recorded() -> BTreeSet<String> {
    rules().into_iter().map(|(name, _)| name).filter(|name| name.contains(':')).collect()
}

#[test]
fn the_dashboard_and_the_rules_ask_for_what_there_is() {
    let recorded = recorded();
    for (_, expression) in rules() {
        check(&expression, &recorded);
    }
    let panels = panels();
    assert!(panels.len() > 20, "{panels:?}");
    for (title, asked) in &panels {
        assert!(!asked.is_empty(), "{title} asks for nothing");
        asked.iter().for_each(|expression| check(expression, &recorded));
    }
    let dashboard = dashboard();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let (metric, label) =
                within(query.strip_prefix("label_values").unwrap(), '(', ')').unwrap().rsplit_once(", ").unwrap();
            check(metric, &recorded);
            assert!(metrics().values().any(|labels| labels.contains(label)), "{query}");
        }
    }
    let ids = dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap());
    let (ids, number) = (ids.clone().collect::<BTreeSet<_>>(), ids.count());
    assert_eq!(ids.len(), number, "panels with the same id");
}

#[test]
fn the_dashboard_or_a_rule_shows_every_metric_of_the_gateway() {
    let shown = shipped("deploy/grafana/dashboard.json") + &shipped("deploy/prometheus/rules.yaml");
    let shown = words(&shown).map(|(word, _)| word).collect::<BTreeSet<_>>();
    let observer = Observer::silent();
    for named in observer.metric_names() {
        let name = named.split('{').next().unwrap();
        let is_shown = shown.contains(name) || shown.contains(&*format!("{name}_bucket"));
        // Of the process, what is telling.
        assert!(is_shown || name.starts_with("process_"), "nobody sees {name}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let (rules_text, runbooks) = (shipped("deploy/prometheus/rules.yaml"), shipped("docs/runbooks.md"));
    let headings =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect::<BTreeSet<_>>();
    let alerts = rules().into_iter().map(|(name, _)| name).filter(|name| !name.contains(':')).collect::<BTreeSet<_>>();
    assert_eq!(headings, alerts);
    for rule in rules_text.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let wanted = format!("runbook_url: docs/runbooks.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&wanted), "{name} has no {wanted}");
        for part in ["severity: ", "summary: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
    }
    for section in runbooks.split("\n## ").skip(1) {
        assert!(section.contains("- Look at: ") && section.contains("- Do: "), "{section}");
    }
    let anchors = runbooks.split("](#").skip(1).map(|link| link.split(')').next().unwrap());
    for anchor in anchors {
        assert!(alerts.iter().any(|alert| alert.to_lowercase() == anchor), "#{anchor} leads nowhere");
    }
}

/// A Prometheus in a folder of its own. Killed with its value.
struct Prometheus {
    process: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

/// Whether these of Debian's `prometheus` package are there.
fn is_installed() -> bool {
    let answers = |program: &str| {
        let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    let is_there = ["prometheus", "promtool"].into_iter().all(answers);
    if !is_there {
        skipped("there is no prometheus on this machine: rules and dashboard weren't tried");
    }
    is_there
}

impl Prometheus {
    /// One that goes by the files that are shipped, for this admin listener.
    fn start(admin: std::net::SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("rules.yaml"), shipped("deploy/prometheus/rules.yaml")).unwrap();
        let settings = shipped("deploy/prometheus/prometheus.yaml");
        let settings = settings.replace("127.0.0.1:9901", &admin.to_string()).replace("15s", "1s");
        assert!(settings.contains(&admin.to_string()), "{settings}");
        fs::write(file("prometheus.yaml"), settings).unwrap();
        let option = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let mut process = Command::new("prometheus")
            .arg(option("config.file", file("prometheus.yaml")))
            .arg(option("storage.tsdb.path", file("data")))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("address=").filter(|_| line.contains("\"Listening on\""))?;
            address.trim().parse().ok()
        });
        // Else it stops at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Prometheus { process, address: address.expect("an address"), _folder: folder }
    }

    fn get(&self, path: &str) -> Response {
        exchange(self.address, "GET", path, "")
    }

    /// What a query comes to.
    #[track_caller]
    fn ask(&self, query: &str) -> Vec<Value> {
        let encoded = query.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_real_prometheus_takes_the_metrics_the_rules_and_the_dashboard() {
    if !is_installed() {
        return;
    }
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = "  - {name: things, path: /things, upstream: echo, allow: [{scopes: [read]}]}\n";
    let gateway = Gateway::start(&configuration(&issuer, &upstream, routes));
    let token = issuer.token().scope("read").build();
    for _ in 0..5 {
        assert_eq!(gateway.get_with("/things", &token).status, 200);
        assert_eq!(gateway.get("/things").status, 401);
    }

    let mut lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lint.stdin.take().unwrap().write_all(&gateway.admin("/metrics").body).unwrap();
    let lint = lint.wait_with_output().unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));

    let prometheus = Prometheus::start(gateway.admin);
    eventually("it has scraped", || {
        prometheus.get("/-/ready").status == 200 && !prometheus.ask("bearward_requests_total > 0").is_empty()
    });
    for (query, value) in [
        ("up{job=\"bearward\"}", "1"),
        ("bearward_requests_total{route=\"things\",status=\"200\"}", "5"),
        ("bearward_decisions_total{reason=\"no_credential\"}", "5"),
        ("bearward_overhead_seconds_count{route=\"things\"}", "10"),
        ("bearward_jwks_keys{issuer=\"main\"}", "1"),
        ("bearward_build_info", "1"),
    ] {
        let result = prometheus.ask(query);
        assert!(result.len() == 1 && result[0]["value"][1] == value, "{query}: {result:?}");
    }
    for (title, asked) in panels() {
        for expression in asked {
            let of_all = ["$job", "$instance", "$route"].iter().fold(expression, |text, name| text.replace(name, ".*"));
            // One that can't be evaluated fails here; what has no sample is empty.
            let result = prometheus.ask(&of_all.replace("$__rate_interval", "1m"));
            assert!(result.len() < 100, "{title}: {result:?}");
        }
    }
    let health = || {
        let groups = prometheus.get("/api/v1/rules").json()["data"]["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    eventually("all rules were evaluated", || health().iter().all(|rule| rule["health"] != "unknown"));
    let health = health();
    assert_eq!(health.len(), rules().len());
    for rule in health {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
