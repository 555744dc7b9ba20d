//! Configurations that can't be used change nothing.

use super::*;

#[test]
fn what_is_wrong_is_told_and_the_one_before_stays() {
    let scene = Scene::new();
    let good = scene.text();
    let hash = scene.readiness().1["config"]["hash"].clone();
    for (case, text) in [
        ("an unknown key", good.replace("audiences:", "audience:")),
        ("no YAML", "listen: [".to_owned()),
        ("an empty file, as in the middle of a save", String::new()),
        ("a route in conflict", format!("{good}- {{name: again, path: /version, upstream: echo, allow: public}}\n")),
    ] {
        scene.save(&text);
        let told = scene.reload(422);
        assert_eq!((&told["ok"], &told["hash"]), (&Value::Bool(false), &hash), "{case}");
        let problems = told["diagnostics"].as_array().unwrap();
        assert!(problems.iter().any(|problem| problem["severity"] == "error"), "{case}: {told}");
        assert_eq!(scene.version(), "one", "{case}");
        let (status, body) = scene.readiness();
        assert_eq!(status, 200, "{case}: it serves as before");
        assert_eq!(body["config"], serde_json::json!({"hash": hash, "last_reload": "error"}), "{case}");
        assert_eq!(scene.metric("bearward_config_last_reload_success"), 0.0, "{case}");
        assert_eq!(scene.metric(&format!("bearward_config_info{{hash={hash}}}")), 1.0, "{case}");
    }
    fs::remove_file(scene.path("gateway.yaml")).unwrap();
    scene.reload(422);
    assert_eq!(scene.version(), "one");

    scene.save(&good.replace("body: \"one\"", "body: \"two\""));
    eventually("a good one takes over", || scene.version() == "two");
    eventually("and that is told", || scene.metric("bearward_config_last_reload_success") == 1.0);
}

#[test]
fn it_is_told_once_with_its_place() {
    let scene = Scene::new();
    let good = scene.text();
    let line = good.lines().position(|line| line.contains("audiences")).unwrap() + 1;
    let bad = good.replace("audiences:", "audience:");
    let said = "the configuration can't be used; the one before stays in force";
    scene.save(&bad);
    scene.binary.line(said);
    let problem = scene.binary.line_where("the problem", |line| line["key"] == "issuers.main.audience");
    assert_eq!((&problem["level"], &problem["line"]), (&Value::from("error"), &Value::from(line)));
    assert_eq!(problem["hint"], "did you mean `audiences`?");
    assert_eq!(scene.reloads("error"), 1.0);

    // The same text, saved again: nothing new. Back to what is in force: good again.
    scene.save(&bad);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((scene.logged(said), scene.reloads("error")), (1, 1.0));
    scene.save(&good);
    eventually("good again", || scene.metric("bearward_config_last_reload_success") == 1.0);
    assert_eq!(scene.readiness().1["config"]["last_reload"], "ok");
}

#[test]
fn a_file_that_was_missing_is_looked_for() {
    let scene = Scene::new();
    let wants = scene.text().replace("admin: {", "admin: {token: \"${file:token}\", ").replace("\"one\"", "\"two\"");
    scene.save(&wants);
    eventually("it is missed", || scene.reloads("error") == 1.0);
    assert_eq!(scene.version(), "one");
    fs::write(scene.path("token"), "sesame").unwrap();
    eventually("it is there", || scene.version() == "two");
}

#[test]
fn some_changes_need_a_restart_and_nothing_else_takes_effect() {
    let scene = Scene::new();
    let good = scene.text();
    for (key, from, to) in [
        ("listen", "listen: [\"127.0.0.1:0\"]", "listen: [\"127.0.0.1:0\", \"127.0.0.2:0\"]"),
        ("listen", "listen: [\"127.0.0.1:0\"]", "listen: [{address: \"127.0.0.1:0\", name: other}]"),
        ("admin.address", "admin: {address: \"127.0.0.1:0\"}", "admin: off"),
        ("server.workers", "workers: 2", "workers: 3"),
        ("state.dir", "server:", "state: {dir: kept}\nserver:"),
    ] {
        scene.save(&good.replace(from, to).replace("\"one\"", "\"two\""));
        let told = scene.reload(422);
        let problem = &told["diagnostics"][0];
        assert_eq!(problem["path"], key);
        assert!(problem["message"].as_str().unwrap().contains("needs a restart"), "{told}");
        assert_eq!(scene.version(), "one");
    }
    assert_eq!(scene.reloads("error"), 5.0);
}
