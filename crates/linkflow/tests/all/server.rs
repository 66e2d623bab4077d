//! A machine at Hetzner, rented and given up by the program itself, against the simulated API.

use std::path::Path;
use std::process::Command;

use linkflow_providers::machines::keys::host_key;
use linkflow_rehearsal::cloud::{Cloud, CloudOptions, ProviderEndpoint};
use serde_json::Value;

/// What the program says to `words`, and its exit code.
fn said(dir: &Path, endpoint: &ProviderEndpoint, words: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(dir).env_clear().args(["server"]).args(words).arg("--json");
    command.env("HETZNER_TOKEN", &endpoint.token);
    command.env("SSH_KEY", host_key(&[9; 32]).unwrap().private.expose());
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    (output.status.code().unwrap(), answer, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_rented_known_by_its_key_sized_and_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(CloudOptions {
        program: env!("CARGO_BIN_EXE_linkflow").into(),
        folder: dir.path().join("cloud"),
        stack: "shop".parse().unwrap(),
        providers: vec![("hetzner".parse().unwrap(), "hetzner".to_owned())],
        seed: 1,
    });
    let cloud = cloud.await.unwrap();
    let endpoint = cloud.endpoints().providers[&"hetzner".parse().unwrap()].clone();
    let config = format!(
        "[stack]\nname = \"shop\"\n\n[providers.hetzner]\nkind = \"server\"\naddress = \"192.0.2.1\" # to be\n\
         server_type = \"cx23\"\nlocation = \"nbg1\"\nkey = \"${{secret.SSH_KEY}}\"\n\
         token = \"${{secret.HETZNER_TOKEN}}\"\napi = \"{}\"\n",
        endpoint.api
    );
    std::fs::write(dir.path().join("linkflow.toml"), config).unwrap();
    let folder = dir.path().to_owned();
    let work = move || {
        let ask = |words: &[&str]| said(&folder, &endpoint, words);
        assert_eq!(ask(&["status", "hetzner"]).0, 1, "there is none yet");
        let (code, made, _) = ask(&["create", "hetzner"]);
        assert_eq!(code, 0, "{made}");
        let text = std::fs::read_to_string(folder.join("linkflow.toml")).unwrap();
        assert!(text.contains("address = \"127.0.0.1\" # to be\n"), "{text}");
        let pinned = folder.join(".linkflow/host-keys/127.0.0.1_22");
        let pinned = std::fs::read_to_string(pinned).unwrap();
        assert_eq!(made["result"]["host_key"], pinned.trim(), "the first login knows the machine");

        let (_, sizes, _) = ask(&["sizes", "hetzner"]);
        assert_eq!(sizes["result"]["sizes"][0]["name"], "cx23");
        assert_eq!(ask(&["resize", "hetzner", "cx33"]).0, 0);
        let (_, status, _) = ask(&["status", "hetzner"]);
        assert_eq!(status["result"]["machine"]["size"], "cx33");
        assert_eq!(status["result"]["machine"]["state"], "running");

        assert_eq!(ask(&["delete", "hetzner"]).0, 5, "not without a word");
        assert_eq!(ask(&["delete", "hetzner", "--yes"]).0, 0);
        assert_eq!(ask(&["status", "hetzner"]).0, 1, "it is gone");
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    cloud.stop().await;
}
