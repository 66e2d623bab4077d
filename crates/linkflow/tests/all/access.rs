//! Who may come in, as its users meet it: the link that `up` prints, the commands, and the host that the edge leads on.

use std::net::SocketAddr;
use std::path::Path;

use crate::conversations::{Said, linkflow};
use crate::hooked::until;
use crate::page::{ask, start};

const STACK: &str = "[stack]\nname = \"shop\"\n[dashboard]\nhost = \"ops.shop.example\"\n[edge]\naccess_log = \"access.log\"\n";

fn stack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("linkflow.toml"), STACK).unwrap();
    dir
}

#[track_caller]
fn expect(folder: &Path, arguments: &[&str], code: i32) -> Said {
    let said = linkflow(folder, arguments);
    assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.out, said.err);
    said
}

/// `/setup/SECRET` of a link.
fn path(link: &str) -> String {
    link[link.find("/setup/").unwrap()..].to_owned()
}

#[test]
fn up_prints_the_first_link_and_the_edge_leads_the_host_to_the_dashboard() {
    let dir = stack();
    let (_running, said) = start(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    let result = &said["result"];
    let links: Vec<&str> =
        result["setup"].as_array().unwrap().iter().map(|link| link.as_str().unwrap()).collect();
    let dashboard = result["dashboard"].as_str().unwrap().trim_start_matches("http://");
    let here = dashboard.replace("127.0.0.1", "http://localhost");
    assert!(links[0].starts_with("https://ops.shop.example/setup/"), "{links:?}");
    assert!(links[1].starts_with(&format!("{here}/setup/")), "{links:?}");
    let edge: SocketAddr = result["public"].as_str().unwrap().parse().unwrap();
    let secret = path(links[0]);
    let page = ask(edge, "GET", "ops.shop.example", &secret);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Welcome"), "{page}");
    let page = ask(dashboard.parse().unwrap(), "GET", dashboard, &secret);
    assert!(page.starts_with("HTTP/1.1 200"), "the same link, on this machine: {page}");
    let away = ask(edge, "GET", "ops.shop.example", "/people");
    assert!(away.contains("location: /sign-in?next=/people"), "{away}");
    assert!(ask(edge, "GET", "else.example", "/people").starts_with("HTTP/1.1 404"));
    let none = expect(dir.path(), &["access", "people", "list"], 0);
    assert!(none.out.contains("nobody may come in yet"), "{}", none.out);
    let made = expect(dir.path(), &["access", "invite", "--name", "ann", "--json"], 0).value();
    let link = made["result"]["links"][0].as_str().unwrap();
    let page = ask(edge, "GET", "ops.shop.example", &path(link));
    assert!(page.contains("value=\"ann\""), "{page}");
    let said = expect(dir.path(), &["access", "token", "create", "ci", "--json"], 0).value();
    let token = said["result"]["token"].as_str().unwrap();
    let bearer = format!("ops.shop.example\r\nauthorization: Bearer {token}");
    let refused = ask(edge, "GET", &bearer, "/people");
    assert!(refused.contains("this takes the scope `admin`; `ci` has `read`"), "{refused}");
    // What lets people in, and what jobs and vendors report at, is in no log.
    for keyed in ["/hooks/sentry/a-key", "/ping/a-uuid", "/p/a-key/backup", "/a-key/backup"] {
        ask(edge, "GET", "ops.shop.example", keyed);
    }
    ask(edge, "GET", "ops.shop.example", "/certificates");
    let log = until("the last request is in the log", || {
        let log = std::fs::read_to_string(dir.path().join("access.log")).unwrap();
        log.contains("\"/certificates\"").then_some(log)
    });
    for shown in ["/people", "/setup/***", "/hooks/***", "/ping/***", "/p/***", "/***"] {
        assert!(log.contains(&format!("\"path\":\"{shown}\"")), "{shown}: {log}");
    }
    let setup = secret.rsplit_once('/').unwrap().1;
    assert!(!log.contains(setup) && !log.contains("a-key") && !log.contains("a-uuid"), "{log}");
}

#[test]
fn tokens_are_made_listed_and_revoked_and_the_audit_has_it() {
    let dir = stack();
    let at = dir.path();
    let made =
        expect(at, &["access", "token", "create", "ci", "--scope", "operate", "--days", "9"], 0);
    assert!(made.out.starts_with("lf_") && made.out.lines().count() == 1, "{}", made.out);
    assert!(made.err.contains("it is not shown again"), "{}", made.err);
    let list = expect(at, &["access", "token", "list", "--json"], 0);
    assert!(!list.out.contains(made.out.trim()), "{}", list.out);
    let id = list.value()["result"]["tokens"][0]["id"].as_str().unwrap().to_owned();
    expect(at, &["access", "token", "revoke", &id, "--why", "it leaked"], 0);
    let none = expect(at, &["access", "token", "revoke", &id], 5);
    assert!(none.err.contains("there is no token"), "{}", none.err);
    let nobody = expect(at, &["access", "people", "remove", "bob"], 5);
    assert!(nobody.err.contains("nobody is called `bob`"), "{}", nobody.err);
    expect(at, &["access", "token", "create", "x", "--days", "0"], 2);
    expect(at, &["access", "invite", "--name", "a/b"], 5);
    let audit = expect(at, &["access", "audit"], 0).out;
    for part in
        ["made the token ci with `operate`", "revoked the token ci", "it leaked", "terminal"]
    {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}
