//! Every way in which a configuration changes.

use std::os::unix::fs::symlink;

use super::*;
use crate::support::certificates::shown;
use crate::support::modern::Modern;

#[test]
fn in_place_by_renaming_at_a_signal_and_on_demand() {
    let scene = Scene::new();
    let begin = head(&scene.issuer, &scene.upstream);
    assert_eq!(scene.version(), "one");
    assert_eq!((scene.reloads("ok"), scene.metric("bearward_config_last_reload_success")), (0.0, 1.0));

    fs::write(scene.path("gateway.yaml"), begin.clone() + &routes("two")).unwrap();
    eventually("a save in place", || scene.version() == "two");
    fs::write(scene.path("next"), begin.clone() + &routes("three")).unwrap();
    fs::rename(scene.path("next"), scene.path("gateway.yaml")).unwrap();
    eventually("a save by renaming", || scene.version() == "three");
    eventually("both are counted", || scene.reloads("ok") == 2.0);

    fs::write(scene.path("gateway.yaml"), begin.clone() + &routes("four")).unwrap();
    scene.binary.signal("HUP");
    eventually("a signal", || scene.version() == "four");
    let told = scene.reload_with(&(begin + &routes("five")));
    assert_eq!(scene.version(), "five", "in force with the answer");
    assert_eq!((&told["ok"], &told["changed"]), (&Value::Bool(true), &Value::from("routes: ~version")));
    let hash = told["hash"].as_str().unwrap();
    assert_eq!(scene.metric(&format!("bearward_config_info{{hash=\"{hash}\"}}")), 1.0);
    assert_eq!(scene.readiness().1["config"], serde_json::json!({"hash": hash, "last_reload": "ok"}));
    let line = scene.binary.line_where("of the last one", |line| line["hash"] == hash);
    assert_eq!((&line["message"], &line["changed"]), (&"configuration reloaded".into(), &told["changed"]));

    let before = scene.reloads("ok");
    assert_eq!(scene.reload(200)["changed"], "nothing");
    assert_eq!(scene.reloads("ok"), before + 1.0, "it was asked for");
    assert_eq!(exchange(scene.binary.admin(), "GET", "/reload", "").status, 405);
}

/// As Kubernetes replaces a ConfigMap: `gateway.yaml -> ..data/gateway.yaml`, `..data -> ..1`.
#[test]
fn a_config_map() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["one", "two"] {
        fs::create_dir_all(at(version)).unwrap();
        let text = format!("include: [\"routes-*.yaml\"]\n{}", head(&issuer, &upstream));
        fs::write(at(version).join("gateway.yaml"), text).unwrap();
        fs::write(at(version).join("routes-a.yaml"), routes(version)).unwrap();
    }
    symlink("one", at("..data")).unwrap();
    for name in ["gateway.yaml", "routes-a.yaml"] {
        symlink(format!("..data/{name}"), at(name)).unwrap();
    }
    let binary = Binary::run(&at("gateway.yaml"));
    let version = || exchange(binary.address(), "GET", "/version", "").text();
    assert_eq!(version(), "one");
    symlink("two", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    eventually("the swap", || version() == "two");
}

#[test]
fn included_files_that_change_come_and_go() {
    let scene = Scene::with(|text, folder| {
        fs::create_dir(folder.join("routes")).unwrap();
        format!("include: [\"routes/*.yaml\"]\n{text}")
    });
    let extra = |body: &str| {
        format!("routes: [{{name: extra, path: /extra, respond: {{status: 200, body: {body}}}, allow: public}}]")
    };
    assert_eq!(scene.get("/extra").status, 404);
    fs::write(scene.path("routes/extra.yaml"), extra("first")).unwrap();
    eventually("a file that comes", || scene.get("/extra").text() == "first");
    fs::write(scene.path("routes/extra.yaml"), extra("second")).unwrap();
    eventually("a file that changes", || scene.get("/extra").text() == "second");
    fs::remove_file(scene.path("routes/extra.yaml")).unwrap();
    eventually("a file that goes", || scene.get("/extra").status == 404);
    assert_eq!(scene.version(), "one");
}

#[test]
fn secrets_in_files_of_their_own() {
    let scene = Scene::with(|text, folder| {
        fs::write(folder.join("token"), "sesame\n").unwrap();
        text.replace("admin: {", "admin: {token: \"${file:token}\", ")
    });
    let status = |token: &str| {
        let fields = format!("Authorization: Bearer {token}\r\n");
        exchange(scene.binary.admin(), "GET", "/revocations", &fields).status
    };
    assert_eq!((status("sesame"), status("opened")), (200, 401));
    let hash = scene.readiness().1["config"]["hash"].clone();
    fs::write(scene.path("token"), "opened\n").unwrap();
    eventually("the new secret", || status("opened") == 200);
    assert_eq!(status("sesame"), 401);
    assert_eq!(scene.readiness().1["config"]["hash"], hash, "its text is the same");
    eventually("it is counted", || scene.reloads("ok") == 1.0);
    assert!(!scene.binary.output().contains("sesame") && !scene.binary.output().contains("opened"));
}

#[test]
fn certificates_for_upstreams() {
    let (good, other) = (Authority::new(), Authority::new());
    let upstream = Modern::start(Some(good.sign(2090).server(&["http/1.1"], Some(&good))));
    let scene = Scene::with(|text, folder| {
        fs::write(folder.join("ca.pem"), other.pem()).unwrap();
        other.sign(2090).write(folder);
        let tls = "tls: {ca: ca.pem, certificate: tls.crt, key: tls.key}";
        let url = format!("https://localhost:{}", upstream.address.port());
        text.replace("upstreams:\n", &format!("upstreams:\n  secure: {{url: \"{url}\", {tls}}}\n"))
            + "- {name: secure, path: /secure, upstream: secure, allow: public}\n"
    });
    assert_eq!(scene.get("/secure").status, 502, "nobody that is trusted vouches for it");
    fs::write(scene.path("ca.pem"), good.pem()).unwrap();
    eventually("the authority is taken up", || scene.reloads("ok") >= 1.0);
    assert_eq!(scene.get("/secure").status, 502, "it trusts us as little");
    // In two steps, of which the first alone doesn't fit.
    let identity = good.sign(2090);
    fs::write(scene.path("tls.crt"), &identity.certificate).unwrap();
    fs::write(scene.path("tls.key"), &identity.key).unwrap();
    eventually("the identity is taken up", || scene.get("/secure").status == 200);
    eventually("and that is told", || scene.metric("bearward_config_last_reload_success") == 1.0);
}

#[test]
fn other_files_for_a_listener_s_certificate() {
    let authority = Authority::new();
    let (first, second) = (authority.sign(2090), authority.sign(2091));
    let scene = Scene::with(|text, folder| {
        first.write(folder);
        fs::create_dir(folder.join("new")).unwrap();
        second.write(&folder.join("new"));
        text.replace(
            "listen: [",
            "listen: [{address: \"127.0.0.1:0\", name: tls, tls: {certificate: tls.crt, key: tls.key}}, ",
        )
    });
    let line = scene.binary.line_where("the TLS listener", |line| line["listener"] == "tls");
    let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    let certificate = || shown(std::net::TcpStream::connect(address).unwrap(), authority.client(None, &[])).unwrap();
    assert_eq!(certificate(), first.der());
    scene.reload_with(&scene.text().replace("tls.crt, key: tls.key", "new/tls.crt, key: new/tls.key"));
    assert_eq!(certificate(), second.der());
    let metrics = exchange(scene.binary.admin(), "GET", "/metrics", "").text();
    let files: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("bearward_certificate_expiry_seconds{")).collect();
    assert!(files.len() == 1 && files[0].contains("new/tls.crt"), "{files:?}");
    // From now on the new ones are watched.
    first.write(&scene.path("new"));
    eventually("a change of the new files", || certificate() == first.der());
}

#[test]
fn a_listener_s_files_are_in_force_once_a_reload_is_answered() {
    let authority = Authority::new();
    let identities = [2090, 2091, 2092, 2093].map(|year| authority.sign(year));
    let scene = Scene::with(|text, folder| {
        identities[0].write(folder);
        let tls = "listen: [{address: \"127.0.0.1:0\", name: tls, tls: {certificate: tls.crt, key: tls.key}}, ";
        text.replace("listen: [", tls)
    });
    let line = scene.binary.line_where("the TLS listener", |line| line["listener"] == "tls");
    let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    let certificate = || shown(std::net::TcpStream::connect(address).unwrap(), authority.client(None, &[])).unwrap();
    for identity in &identities[1..] {
        identity.write(&scene.path(""));
        let answer = scene.reload(200);
        assert_eq!(certificate(), identity.der());
        // They may have been seen by themselves before.
        assert!(["listen: ~tls", "nothing"].contains(&answer["changed"].as_str().unwrap()), "{answer}");
    }
    fs::write(scene.path("tls.key"), "nonsense").unwrap();
    let answer = scene.reload(422);
    assert!(answer["diagnostics"][0]["message"].as_str().unwrap().contains("tls"), "{answer}");
    assert_eq!(certificate(), identities[3].der());
    fs::write(scene.path("tls.key"), &identities[3].key).unwrap();
    scene.reload(200);
}
