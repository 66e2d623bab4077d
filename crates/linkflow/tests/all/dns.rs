//! Names and what stands in front of the edge, by the program itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::conversations::{Said, linkflow};
use crate::rehearsed::Stage;

const SHOP: &str = r#"
[stack]
name = "shop"
domain = "example.com"
[services.web]
image = "ghcr.io/acme/shop:1.0"
port = 8080
route = ["www.example.com", "example.com/shop"]
[edge]
listen = "127.0.0.1:8000"
address = "https://edge.example.com"
"#;

const CLOUDFLARE: &str = r#"
on = "cloudflare"
waf = true
bots = "challenge"
rate_limit = { requests = 100, per = "10s" }
cache_level = "standard"
browser_cache = "4h"
always_online = true
worker = true
tunnel = true
[dns]
on = "cloudflare"
also_on = ["desec"]
ttl = "2h"
proxied = true
records = [
  { name = "edge", type = "A", value = "192.0.2.1" },
  { name = "@", type = "MX", value = "mx.example.net", priority = 10 },
  { name = "@", type = "TXT", value = "v=spf1 -all" },
]
[providers.cloudflare]
kind = "cloudflare"
token = "${secret.CLOUDFLARE_TOKEN}"
[providers.desec]
kind = "desec"
token = "${secret.DESEC_TOKEN}"
"#;

pub(crate) fn at_cloudflare() -> Stage {
    Stage::of(&format!("{SHOP}{CLOUDFLARE}"))
}

#[test]
fn names_are_planned_applied_found_unchanged_and_taken_along() {
    let stage = at_cloudflare();
    let plan = stage.expect(&["dns", "plan", "--exit-code"], 3);
    for part in [
        "names at cloudflare\n",
        "  + edge.example.com A 192.0.2.1 (7200 s, proxied)\n",
        "in front: cloudflare\n",
        "  ~ setting ssl  full -> strict\n",
        "  + rule linkflow_shop_rate_1  block if starts_with(http.request.uri.path, \"/\"), linkflow:shop: 100 requests in 10 s\n",
        "  + tunnel linkflow-shop  made\n",
        "names at desec\n",
        "  + www.example.com CNAME edge.example.com (7200 s)\n",
        "waits: www.example.com: there is no tunnel yet; `dns apply` makes it first\n",
    ] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    assert_eq!(stage.expect(&["dns", "apply", "--dry-run"], 0).out, plan.out);

    let applied = stage.expect(&["dns", "apply", "--json"], 0).value();
    assert_eq!(applied["result"]["changed"], true);
    assert_eq!(applied["result"]["left_out"], Value::Array(Vec::new()), "{applied}");
    let nothing = "nothing to do: names and what stands in front are as the config asks\n";
    assert_eq!(stage.expect(&["dns", "apply"], 0).out, nothing);
    assert_eq!(stage.expect(&["dns", "plan", "--exit-code"], 0).out, nothing);
    let drift = stage.expect(&["dns", "drift"], 0);
    assert!(drift.out.starts_with("no drift"), "{}", drift.out);

    let zone = stage.expect(&["dns", "export"], 0).out;
    let through =
        zone.lines().filter(|line| line.contains(".cfargotunnel.com. ; linkflow:shop, proxied"));
    assert_eq!(through.count(), 2, "{zone}");
    let way_out = stage.expect(&["dns", "export", "--from", "desec"], 0).out;
    for line in [
        "example.com. 3600 IN NS ns1.desec.io.",
        "example.com. 7200 IN A 192.0.2.1 ; linkflow:shop",
        "example.com. 7200 IN MX 10 mx.example.net. ; linkflow:shop",
        "example.com. 7200 IN TXT \"v=spf1 -all\" ; linkflow:shop",
        "www.example.com. 7200 IN CNAME edge.example.com. ; linkflow:shop",
    ] {
        assert!(way_out.lines().any(|own| own == line), "{line}: {way_out}");
    }

    let config = stage.folder().join("linkflow.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("192.0.2.1", "192.0.2.2")).unwrap();
    let drift = stage.expect(&["dns", "drift", "--json"], 2).value();
    assert_eq!(drift["result"]["zones"][0]["change"][0]["to"]["value"], "192.0.2.2");
}

#[test]
fn a_cloudflare_that_is_away_keeps_the_other_provider_from_nothing() {
    let stage = at_cloudflare();
    stage.expect(&["drill", "set", "cloudflare", "api-down"], 0);
    let said = stage.expect(&["dns", "apply"], 6);
    assert!(said.err.contains("error: cloudflare could not"), "{}", said.err);
    assert!(said.out.contains("names at desec") && said.out.contains("done\n"), "{}", said.out);
    stage.expect(&["dns", "plan"], 1);
    stage.expect(&["drill", "clear"], 0);
    stage.expect(&["dns", "apply"], 0);
}

#[test]
fn the_tunnels_files_are_what_cloudflared_and_systemd_read_and_its_key_is_the_owners_alone() {
    let stage = at_cloudflare();
    let said = stage.expect(&["tunnel", "--print"], 1);
    assert!(said.err.contains("`linkflow dns apply` makes it"), "{}", said.err);
    stage.expect(&["dns", "apply"], 0);
    let printed = stage.expect(&["tunnel", "--print"], 0);
    assert!(!printed.out.contains("TunnelSecret"), "{}", printed.out);
    let out = stage.folder().join("tunnel");
    let words = ["tunnel", "--program", "/bin/true", "--out", out.to_str().unwrap()];
    for _ in 0..2 {
        stage.expect(&words, 0);
    }
    let config = std::fs::read_to_string(out.join("config.yml")).unwrap();
    let ways: Vec<&str> = config.lines().skip(3).map(str::trim).collect();
    assert_eq!(
        ways,
        [
            "- hostname: \"example.com\"",
            "service: \"http://localhost:8000\"",
            "- hostname: \"www.example.com\"",
            "service: \"http://localhost:8000\"",
            "- service: http_status:404",
        ]
    );
    let credentials = out.join("credentials.json");
    assert_eq!(credentials.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let held: Value = serde_json::from_slice(&std::fs::read(&credentials).unwrap()).unwrap();
    assert!(config.contains(held["TunnelID"].as_str().unwrap()), "{config}");
    verified(&out.join("linkflow-tunnel.service"));
}

/// Has systemd's own check read the unit, where it is installed.
fn verified(unit: &Path) {
    let check = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output();
    let Ok(check) = check else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("linkflow-tunnel")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn without_any_account_the_zone_is_a_file_and_what_stands_in_front_is_told_as_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let front = "on = \"embedded\"\nwaf = true\n";
    let text = format!("{SHOP}{front}[dns]\non = \"embedded\"\n");
    std::fs::write(dir.path().join("linkflow.toml"), text).unwrap();
    let run = |words: &[&str]| linkflow(dir.path(), words);
    let said = run(&["dns", "apply"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.out.contains("! firewall  on is left out: nobody stands in front"),
        "{}",
        said.out
    );
    assert!(said.out.contains("! example.com CNAME edge.example.com"), "{}", said.out);
    let zone =
        std::fs::read_to_string(dir.path().join(".linkflow/zones/example.com.zone")).unwrap();
    assert!(
        zone.contains("www.example.com. 300 IN CNAME edge.example.com. ; linkflow:shop\n"),
        "{zone}"
    );
    assert_eq!(run(&["dns", "drift"]).code, 2);
    std::fs::write(dir.path().join("linkflow.toml"), SHOP).unwrap();
    let said = run(&["dns", "plan"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("neither `[dns]` nor `edge.on`"), "{}", said.err);
}

/// `linkflow up`, which ends with the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

const FOLLOWING: &str = r#"
[stack]
name = "shop"
domain = "example.com"
[providers.a]
kind = "embedded"
[providers.b]
kind = "embedded"
[services.api]
image = "ghcr.io/acme/linkflow/api:1.0"
port = 8000
health = "/api/v1/health"
route = "api.example.com"
runs_on = ["a", "b"]
start_within = "10s"
env = { LINKFLOW_SECRET = "${secret.SHARED}", FRONTEND_ADDR = "127.0.0.1:1" }
[failover]
probe_every = "200ms"
probe_timeout = "200ms"
probe_in_doubt = "50ms"
look_every = "500ms"
confirm = "500ms"
[dns]
on = "embedded"
leads_to = "placement"
ttl = "1m"
"#;

#[test]
fn a_name_follows_its_service_when_its_placement_dies() {
    let stage = Stage::of(FOLLOWING);
    stage.expect(&["apply"], 0);
    let said: Said = stage.expect(&["dns", "apply"], 0);
    assert!(said.err.contains("within 60 s") && said.err.contains("PAM 2023"), "{}", said.err);
    let file = stage.folder().join(".linkflow/rehearsal/zones/example.com.zone");
    let leads = || {
        let text = std::fs::read_to_string(&file).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("api.example.com. 60 IN CNAME "))
            .unwrap()
            .to_owned();
        line.split(' ').nth(4).unwrap().to_owned()
    };
    assert!(leads().ends_with(".a.rehearsal."), "{}", leads());
    let up = Command::new(env!("CARGO_BIN_EXE_linkflow"))
        .args(["up", "--listen", "127.0.0.1:0", "--cloud", &stage.control])
        .current_dir(stage.folder())
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let up = Up(up);
    stage.expect(&["drill", "set", "a", "killed"], 0);
    let moved = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        leads().ends_with(".b.rehearsal.")
    });
    assert!(moved, "{}", leads());
    drop(up);
}
